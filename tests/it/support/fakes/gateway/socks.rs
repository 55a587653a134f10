//! SOCKS 5, RFC 1928, with a login by user and password, RFC 1929.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Reach, Shared, Target, Tunnel};

const VERSION: u8 = 5;

/// Ways to log in.
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_WAY: u8 = 0xff;

const LOGIN_VERSION: u8 = 1;

const CONNECT: u8 = 1;

/// Forms of a target.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Answers.
const STANDS: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;
const CONNECTION_REFUSED: u8 = 5;

/// Agrees on a login and a target, and answers. None: there is no tunnel.
pub async fn negotiate<S>(stream: &mut S, visit: usize, shared: &Shared) -> io::Result<Option<Tunnel>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let version = stream.read_u8().await?;
    let ways = read_counted(stream).await?;
    if version != VERSION {
        shared.is_unexpected(format!("SOCKS version {version}"));
        return Ok(None);
    }
    if let Some(bytes) = shared.garbage() {
        stream.write_all(bytes).await?;
        return Ok(None);
    }
    if !log_in(stream, &ways, visit, shared).await? {
        return Ok(None);
    }
    let Some(target) = read_target(stream, shared).await? else { return Ok(None) };
    let (answer, tunnel) = match shared.reach(visit, target).await {
        Reach::Target(target) => (STANDS, Some(Tunnel::To(target))),
        Reach::Evil(config) => (STANDS, Some(Tunnel::Evil(config))),
        Reach::Denied => (NOT_ALLOWED, None),
        Reach::Unreachable => (HOST_UNREACHABLE, None),
        Reach::Refused => (CONNECTION_REFUSED, None),
        Reach::Redirected(_) => unreachable!("`behave` refuses it"),
    };
    shared.note(visit, |visit| visit.stood = tunnel.is_some());
    // The address that the tunnel comes from is nobody's business: all zero.
    stream.write_all(&[VERSION, answer, 0, IPV4, 0, 0, 0, 0, 0, 0]).await?;
    Ok(tunnel)
}

/// Whether the client is let in.
async fn log_in<S>(stream: &mut S, ways: &[u8], visit: usize, shared: &Shared) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let way = if shared.demands_login() { USER_AND_PASSWORD } else { NO_LOGIN };
    if !ways.contains(&way) {
        stream.write_all(&[VERSION, NO_ACCEPTABLE_WAY]).await?;
        return Ok(false);
    }
    stream.write_all(&[VERSION, way]).await?;
    if way == NO_LOGIN {
        return Ok(shared.admits(visit, None));
    }
    let version = stream.read_u8().await?;
    if version != LOGIN_VERSION {
        shared.is_unexpected(format!("version {version} of a login"));
        return Ok(false);
    }
    let user = read_text(stream).await?;
    let password = read_text(stream).await?;
    let admitted = shared.admits(visit, Some((&user, &password)));
    stream.write_all(&[LOGIN_VERSION, u8::from(!admitted)]).await?;
    Ok(admitted)
}

async fn read_target(stream: &mut (impl AsyncRead + Unpin), shared: &Shared) -> io::Result<Option<Target>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, command, _, form] = head;
    let host = match form {
        NAME => read_text(stream).await?,
        IPV4 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
        IPV6 => Ipv6Addr::from(stream.read_u128().await?).to_string(),
        form => format!("form {form}"),
    };
    let known = [IPV4, NAME, IPV6].contains(&form);
    if version != VERSION || command != CONNECT || !known {
        shared.is_unexpected(format!("version {version}, command {command} for {host}"));
        return Ok(None);
    }
    Ok(Some(Target { host, port: stream.read_u16().await?, is_name: form == NAME }))
}

async fn read_text(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_counted(stream).await?).into_owned())
}

/// Reads a byte, and as many bytes as it says.
async fn read_counted(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
