//! A Vault, as its administrator sees it.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::bed::{self, hack_bed, unique, variable};

/// A Vault of the bed, or one that belongs to a test.
pub struct Vault {
    pub address: String,
    pub tls_address: String,
    pub audit: PathBuf,
    token: String,
    unseal_key: String,
    folder: PathBuf,
    owned: bool,
    http: reqwest::Client,
}

/// An AppRole at a mount of its own, so that its logins and its tokens can be told from those of other tests.
pub struct AppRole {
    pub mount: String,
    pub role_id: String,
}

/// The role of every mount.
const ROLE: &str = "role";

/// What somebody who guesses takes for a secret id.
pub const GUESS: &str = "a guess";

// === impl Vault ===

impl Vault {
    /// The one that the bed brought, for all tests.
    pub fn shared() -> Self {
        let folder = PathBuf::from(variable("BED_VAULT_DIR"));
        Self::new(&folder, false, variable)
    }

    /// One that belongs to a test, and ends with it. `state` is empty, `--sealed` or `--uninitialized`.
    pub fn own(prefix: &str, state: &str) -> Self {
        let folder = bed::folder("it").join(unique(prefix));
        let path = folder.to_str().expect("the bed's folder has a name in UTF-8");
        let arguments: Vec<_> =
            ["vault-up", path, state].into_iter().filter(|word| !word.is_empty()).collect();
        hack_bed(&arguments);
        let env = env_of(&folder);
        Self::new(&folder, true, |name| env.get(name).cloned().unwrap_or_default())
    }

    fn new(folder: &Path, owned: bool, variable: impl Fn(&str) -> String) -> Self {
        Self {
            address: variable("BED_VAULT_ADDR"),
            tls_address: variable("BED_VAULT_TLS_ADDR"),
            audit: PathBuf::from(variable("BED_VAULT_AUDIT")),
            token: variable("BED_VAULT_TOKEN"),
            unseal_key: variable("BED_VAULT_UNSEAL_KEY"),
            folder: folder.to_owned(),
            owned,
            http: http(),
        }
    }

    /// Mounts an AppRole method with one role, whose tokens live as `settings` say.
    pub async fn app_role(&self, prefix: &str, settings: Value) -> AppRole {
        let mount = unique(prefix);
        self.write(&format!("sys/auth/{mount}"), &json!({"type": "approle"})).await;
        let role_id = self.role(&mount, ROLE, settings).await;
        AppRole { mount, role_id }
    }

    /// Adds a role to a mount, and returns its role id.
    pub async fn role(&self, mount: &str, role: &str, mut settings: Value) -> String {
        if settings["token_policies"].is_null() {
            settings["token_policies"] = json!("vault-connection");
        }
        let path = format!("auth/{mount}/role/{role}");
        self.write(&path, &settings).await;
        let answer = self.read(&format!("{path}/role-id")).await;
        answer["data"]["role_id"].as_str().expect("a role has a role id").to_owned()
    }

    /// A new secret id of the role of a mount.
    pub async fn secret_id(&self, role: &AppRole) -> String {
        self.secret_id_of(&role.mount, ROLE).await
    }

    pub async fn secret_id_of(&self, mount: &str, role: &str) -> String {
        let answer = self.write(&format!("auth/{mount}/role/{role}/secret-id"), &json!({})).await;
        answer["data"]["secret_id"].as_str().expect("a secret id is issued").to_owned()
    }

    /// Destroys every secret id of the role of a mount. What was logged in with them lives on.
    pub async fn destroy_secret_ids(&self, role: &AppRole) {
        let path = format!("auth/{}/role/{ROLE}/secret-id", role.mount);
        let listed = self.read(&format!("{path}?list=true")).await;
        for accessor in listed["data"]["keys"].as_array().into_iter().flatten() {
            let body = json!({"secret_id_accessor": accessor});
            self.write(&format!("{path}-accessor/destroy"), &body).await;
        }
    }

    /// Locks the role of a mount for everybody, as somebody who guesses does.
    pub async fn lock(&self, role: &AppRole) {
        let url = format!("{}/v1/auth/{}/login", self.address, role.mount);
        let guess = json!({"role_id": role.role_id, "secret_id": GUESS}).to_string();
        // A login that is accepted meanwhile makes Vault forget some of them.
        for _ in 0..20 {
            let answer = self.http.post(&url).body(guess.clone()).send().await.expect("Vault answers");
            if answer.status().as_u16() == 403 {
                return;
            }
        }
        panic!("{} is not locked", role.mount);
    }

    /// Whether a login from outside, with a new secret id that is right, is accepted.
    pub async fn lets_in(&self, role: &AppRole) -> bool {
        let secret_id = self.secret_id(role).await;
        let url = format!("{}/v1/auth/{}/login", self.address, role.mount);
        let body = json!({"role_id": role.role_id, "secret_id": secret_id}).to_string();
        let answer = self.http.post(url).body(body).send().await.expect("Vault answers");
        answer.status().is_success()
    }

    /// The token of its administrator.
    pub fn root_token(&self) -> &str {
        &self.token
    }

    /// Lifts a lock.
    pub async fn unlock(&self, role: &AppRole) {
        let method = self.read(&format!("sys/auth/{}", role.mount)).await;
        let accessor = method["data"]["accessor"].as_str().expect("a mount has an accessor");
        self.write(&format!("sys/locked-users/{accessor}/unlock/{}", role.role_id), &json!({})).await;
    }

    /// A new secret id of the role of a mount, in a wrapping token.
    pub async fn wrapped_secret_id(&self, role: &AppRole) -> String {
        let url = format!("{}/v1/auth/{}/role/{ROLE}/secret-id", self.address, role.mount);
        let request = self.http.post(url).header("x-vault-wrap-ttl", "3600").body("{}");
        let answer = request.header("x-vault-token", &self.token).send().await.expect("Vault answers");
        let bytes = answer.bytes().await.expect("Vault answers whole");
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        answer["wrap_info"]["token"].as_str().expect("a secret id is wrapped").to_owned()
    }

    /// How its audit log writes a value that it must not tell.
    pub async fn audited(&self, value: &str) -> String {
        let answer = self.write("sys/audit-hash/file", &json!({"input": value})).await;
        answer["data"]["hash"].as_str().expect("a value has a hash").to_owned()
    }

    /// The process of a Vault of a test's own.
    pub fn pid(&self) -> u32 {
        assert!(self.owned, "other tests use this Vault");
        let text =
            fs::read_to_string(self.folder.join("pids/openbao.pid")).expect("hack/bed notes the process");
        text.trim().parse().expect("a process has a number")
    }

    /// A new token.
    pub async fn issue_token(&self, settings: &Value) -> String {
        let answer = self.write("auth/token/create", settings).await;
        answer["auth"]["client_token"].as_str().expect("a token is issued").to_owned()
    }

    /// Whether a token works.
    pub async fn accepts(&self, token: &str) -> bool {
        let request = self.http.get(format!("{}/v1/auth/token/lookup-self", self.address));
        let answer = request.header("x-vault-token", token).send().await.expect("Vault answers");
        answer.status().is_success()
    }

    /// How many living tokens came from logins at a mount, by their leases. (A look at each accessor would end tokens of other
    /// tests: Vault revokes one that it finds before its lease is stored.)
    pub async fn sessions(&self, mount: &str) -> usize {
        let (_, answer) =
            self.trigger(&format!("sys/leases/lookup/auth/{mount}/login?list=true"), None).await;
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    pub async fn seal(&self) {
        self.write("sys/seal", &json!({})).await;
    }

    pub async fn unseal(&self) {
        let (status, answer) = self.trigger("sys/unseal", Some(&json!({"key": self.unseal_key}))).await;
        assert!(status == 200 && answer["sealed"] == false, "it is not unsealed: {status} {answer}");
    }

    /// Stops the server; its data stays.
    pub fn stop(&self) {
        assert!(self.owned, "other tests use this Vault");
        self.bed("vault-down");
    }

    /// Starts it again at the same address.
    pub fn start(&self) {
        self.bed("vault-up");
    }

    /// Reads something that is not there.
    pub async fn read_missing(&self, path: &str) {
        let (status, answer) = self.trigger(path, None).await;
        assert_eq!(status, 404, "{path}: {answer}");
    }

    pub async fn read(&self, path: &str) -> Value {
        self.expect(path, None).await
    }

    pub async fn write(&self, path: &str, body: &Value) -> Value {
        self.expect(path, Some(body)).await
    }

    async fn expect(&self, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.trigger(path, body).await;
        assert!((200..300).contains(&status), "{path} as root: {status} {answer}");
        answer
    }

    async fn trigger(&self, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.address);
        let request = match body {
            Some(body) => self.http.post(url).body(body.to_string()),
            None => self.http.get(url),
        };
        let answer = request.header("x-vault-token", &self.token).send().await.expect("Vault answers");
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.expect("Vault answers whole");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn bed(&self, command: &str) {
        hack_bed(&[command, self.folder.to_str().expect("the bed's folder has a name in UTF-8")]);
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if self.owned {
            self.bed("vault-down");
        }
    }
}

/// Whether the Vault of the bed has namespaces, for a test that holds on either.
pub fn knows_namespaces() -> bool {
    env::var("BED_VAULT_NAMESPACES").is_ok_and(|value| !value.is_empty())
}

/// An engine that is not KV. The HashiCorp Vault of `hack/test-vault` is built without transit.
pub fn other_engine() -> &'static str {
    if knows_namespaces() { "transit" } else { "totp" }
}

/// Whether a secret id is refused once its TTL is over. HashiCorp Vault 1.14 goes on taking it until it tidies up, so the login
/// works, and a connection is Ready rightly. If not, it says aloud what the running test skips.
pub fn ends_secret_ids() -> bool {
    let ends = knows_namespaces();
    if !ends {
        let _ =
            writeln!(io::stderr(), "skipped in {}: this Vault takes expired secret ids", bed::test_name());
    }
    ends
}

/// Whether the Vault of the bed has namespaces; the community edition of HashiCorp Vault (`BED_VAULT`) has none. If not, it
/// says aloud that the running test is skipped: in the output, which shows nothing else of a test that passes.
pub fn has_namespaces() -> bool {
    let has = knows_namespaces();
    if !has {
        let _ = writeln!(io::stderr(), "skipped: {}: this Vault has no namespaces", bed::test_name());
    }
    has
}

/// An HTTP client for loopback, which no proxy of the environment is in the way of.
pub fn http() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client with these fixed settings builds")
}

/// The `export NAME=value` lines that `hack/bed vault-up` leaves.
fn env_of(folder: &Path) -> HashMap<String, String> {
    let text = fs::read_to_string(folder.join("env")).expect("hack/bed wrote an env file");
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}
