//! A tunnel out of a private network, by OpenSSH, as docs/howto/ssh-tunnel.md describes it.
//!
//! ```text
//!   cluster side                                private side
//!   sshd, a SOCKS port on it  ◀── connects ───  ssh -N -R PORT  ──▶ PrivateDoor ──▶ Vault
//!                                               resolves names by a hosts file of its own
//! ```

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::{
    net::TcpStream,
    process::{Child, Command as AsyncCommand},
};

use super::{
    bed::{self, program, run, unique},
    endpoint::show_end_of_failed,
    operator::free_address,
    private::PrivateDoor,
    wait::{PATIENCE, eventually},
};

/// Where the private side connects from.
const PRIVATE_ADDRESS: &str = "127.0.0.77";

/// A tunnel to a door that lets nobody else through.
pub struct Tunnel {
    /// The SOCKS port, which stays the same.
    pub socks: SocketAddr,
    pub door: PrivateDoor,
    sshd: SocketAddr,
    user: String,
    folder: PathBuf,
    private: Option<Child>,
    /// It ends when this is dropped.
    _server: Child,
}

// === impl Tunnel ===

impl Tunnel {
    /// Opens a tunnel to a server, which only the private side knows by the name `host`, and waits until it stands.
    pub async fn to(server: &str, host: &str) -> Self {
        let door = PrivateDoor::to(server).await;
        let folder = bed::folder("it").join(unique("tunnel"));
        fs::create_dir(&folder).expect("the bed's folder can be written");
        let address = || free_address().parse::<SocketAddr>().expect("it is an address");
        let (socks, sshd) = (address(), address());
        let hosts = format!("{} {host}\n", door.address.ip());
        fs::write(folder.join("hosts"), hosts).expect("the bed's folder can be written");
        let user = write_keys(&folder, socks, sshd);
        let server = start_server(&folder, sshd);
        let mut tunnel = Self { socks, door, sshd, user, folder, private: None, _server: server };
        eventually("sshd listens", PATIENCE, async || TcpStream::connect(sshd).await.ok()).await;
        tunnel.restore().await;
        tunnel
    }

    /// The URL of the SOCKS port, as `spec.endpoints[].url` of a `VaultGateway` takes it.
    pub fn url(&self) -> String {
        format!("socks5h://{}", self.socks)
    }

    /// A URL of the server, of which only the private side can make sense.
    pub fn url_of(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}", self.door.address.port())
    }

    /// What the private side has to say about what it did.
    pub fn private_log(&self) -> String {
        fs::read_to_string(self.folder.join("ssh.log")).expect("the private side keeps a log")
    }

    /// Kills the private side, and waits until nobody listens at the SOCKS port.
    pub async fn cut(&mut self) {
        let mut private = self.private.take().expect("it stands");
        private.kill().await.expect("it is ours");
        let gone = async || TcpStream::connect(self.socks).await.is_err().then_some(());
        eventually("the tunnel is gone", PATIENCE, gone).await;
    }

    /// Starts the private side again, and waits until the SOCKS port accepts.
    pub async fn restore(&mut self) {
        assert!(self.private.is_none(), "it stands");
        let private = self.start_private();
        self.door.admit(private.id().expect("it has not been waited for"));
        self.private = Some(private);
        let accepts = async || TcpStream::connect(self.socks).await.ok();
        eventually("the tunnel stands", PATIENCE, accepts).await;
    }

    fn start_private(&self) -> Child {
        let (file, port) = (|name: &str| self.folder.join(name), self.sshd.port().to_string());
        let log = File::create(file("ssh.log")).expect("the bed's folder can be written");
        let mut command = AsyncCommand::from(program("openssh/ssh"));
        command
            .env("LD_PRELOAD", program("openssh/libnss_wrapper.so").get_program())
            .env("NSS_WRAPPER_HOSTS", file("hosts"))
            .args(["-v", "-N", "-T", "-F", "none", "-b", PRIVATE_ADDRESS, "-p", &port, "-i"])
            .arg(file("client"))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", file("known_hosts").display()))
            .args([
                "-o",
                "GlobalKnownHostsFile=none",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "BatchMode=yes",
            ])
            .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "ExitOnForwardFailure=yes"])
            .args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"])
            .args(["-R", &self.socks.to_string()])
            .arg(format!("{}@{}", self.user, self.sshd.ip()))
            .stdin(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().expect("the bed has brought ssh")
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        show_end_of_failed(&self.folder.join("ssh.log"));
        show_end_of_failed(&self.folder.join("sshd.log"));
    }
}

/// Writes the keys of both sides and who trusts which, and tells whom the private side has to log in as. The server does
/// not stay root, and can let in only who it is itself.
fn write_keys(folder: &Path, socks: SocketAddr, sshd: SocketAddr) -> String {
    for name in ["client", "host"] {
        let mut keygen = program("openssh/ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name)));
    }
    let public = |name: &str| {
        let text =
            fs::read_to_string(folder.join(name).with_extension("pub")).expect("there is a public key");
        text.trim().to_owned()
    };
    let authorized = format!("restrict,port-forwarding,permitlisten=\"{socks}\" {}\n", public("client"));
    let known = format!("[{}]:{} {}\n", sshd.ip(), sshd.port(), public("host"));
    for (name, text) in [("authorized_keys", authorized), ("known_hosts", known)] {
        fs::write(folder.join(name), text).expect("the bed's folder can be written");
    }
    let user = run(Command::new("id").arg("-un"));
    if user.trim() == "root" { "nobody".to_owned() } else { user.trim().to_owned() }
}

fn start_server(folder: &Path, sshd: SocketAddr) -> Child {
    let text = format!(
        "ListenAddress {sshd}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         DisableForwarding no\nAllowTcpForwarding remote\nGatewayPorts no\nPermitListen 127.0.0.1:*\nPermitOpen none\n\
         PermitTTY no\nX11Forwarding no\nAllowAgentForwarding no\nAllowStreamLocalForwarding no\nMaxSessions 0\n\
         LogLevel VERBOSE\n",
        folder = folder.display(),
    );
    let config = folder.join("sshd_config");
    fs::write(&config, text).expect("the bed's folder can be written");
    let log = File::create(folder.join("sshd.log")).expect("the bed's folder can be written");
    let mut command = AsyncCommand::from(program("openssh/sshd"));
    command.args(["-D", "-e", "-f"]).arg(config).stdin(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().expect("the bed has brought sshd")
}
