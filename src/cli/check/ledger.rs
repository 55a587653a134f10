//! Which logins were refused lately, over runs of `check`, and whether one more may be tried.
//!
//! Pure: the entries and `now` go in, a decision comes out. An entry tells again what it is about, but not what that is: it
//! holds keyed hashes of the role, of the credential and of the connection.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::jiff::Timestamp;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    auth::LoginFault,
    names::ConnectionRef,
    session::account::{Confidence, Limits, ends, spent_until},
    spec::Target,
    verify::observation::Fault,
};

/// The format of the file. Another one is left alone.
const FORMAT: u32 = 1;

/// How many entries are kept, the latest of them: four for each of hundreds of roles.
const MAX_ENTRIES: usize = 1024;

/// How much of a hash is kept. Nobody meets one of 128 bits by chance.
const PRINT_BYTES: usize = 16;

/// The key of the hashes.
pub(super) type Key = [u8; 32];

/// A keyed hash, in base64.
type Fingerprint = String;

/// The refused logins that are remembered.
#[derive(Debug)]
pub(super) struct Ledger {
    key: Key,
    entries: Vec<Entry>,
}

/// A login, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    role: Fingerprint,
    credential: Fingerprint,
    connection: Fingerprint,
}

/// One login that was not accepted, or whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    /// Tells the entries from each other.
    id: u64,
    role: Fingerprint,
    credential: Fingerprint,
    connection: Fingerprint,
    at: Timestamp,
    outcome: Outcome,
}

/// How a login went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Outcome {
    /// A process tries it now.
    #[serde(rename_all = "camelCase")]
    Pending { process: u32, until: Timestamp },
    /// The process that tried it ended before it knew.
    Unknown,
    /// Vault does not accept the credential.
    InvalidCredentials,
    /// Vault denies the login.
    Denied,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    format: u32,
    key: String,
    entries: Vec<Entry>,
}

/// Why the content of a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is damaged.
    Corrupt,
    /// Another version of this program wrote it.
    OtherFormat,
}

/// Whether a login may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may, and is noted under this id as being tried.
    Try(u64),
    /// Others try one of the same role.
    Wait,
    /// It may not.
    Hold(Held),
}

/// Why a login may not be tried, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The same was refused at this time.
    Refused { fault: Fault, at: Timestamp, until: Timestamp },
    /// Enough of the role were refused.
    Spent { until: Timestamp },
}

/// What Vault counts a login by.
pub(super) struct Counted {
    /// By what it locks somebody out.
    pub(super) alias: SecretString,
    /// The credential.
    pub(super) proof: SecretString,
}

/// How a login went that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginResult {
    /// Vault accepted it.
    Accepted,
    /// Vault does not accept the credential.
    InvalidCredentials,
    /// Vault denies the login.
    Denied,
    /// It was not made.
    NotMade,
}

/// What a decision depends on, beside the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    /// When this login will be over at the latest.
    pub(super) until: Timestamp,
    /// Refused logins before this time do not count: a person says so.
    pub(super) forgiven_before: Option<Timestamp>,
    /// Whether to wait for others no longer.
    pub(super) impatient: bool,
    /// The process that asks.
    pub(super) process: u32,
}

// === impl Ledger ===

impl Ledger {
    /// An empty one.
    pub(super) fn new(key: Key) -> Self {
        Self { key, entries: Vec::new() }
    }

    /// Reads the content of a file. What it says is taken for true as far as it can be: an entry from the future is from now.
    pub(super) fn read(text: &str, now: Timestamp) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(text).map_err(|_| Unusable::Corrupt)?;
        if format != FORMAT {
            return Err(Unusable::OtherFormat);
        }
        let Content { key, mut entries, .. } = serde_json::from_str(text).map_err(|_| Unusable::Corrupt)?;
        let key = STANDARD.decode(key).ok().and_then(|key| Key::try_from(key).ok());
        let Some(key) = key else { return Err(Unusable::Corrupt) };
        for entry in &mut entries {
            entry.at = entry.at.min(now);
        }
        let mut ledger = Self { key, entries };
        ledger.prune(now);
        Ok(ledger)
    }

    /// The content for a file.
    pub(super) fn write(&self) -> String {
        let content =
            Content { format: FORMAT, key: STANDARD.encode(self.key), entries: self.entries.clone() };
        serde_json::to_string(&content).expect("a ledger serializes")
    }

    /// What a login is known by.
    pub(super) fn login(&self, connection: &ConnectionRef, target: &Target, counted: &Counted) -> Login {
        let namespace = target.namespace.as_ref().map_or("", |namespace| namespace.as_str());
        let mount = target.method.mount().map_or("", |mount| mount.as_str());
        let instance = target.instance.as_str();
        let role = self.print(&["role", instance, namespace, mount, secret(&counted.alias)]);
        let credential = self.print(&["credential", &role, secret(&counted.proof)]);
        let connection = self.print(&["connection", &connection.namespace, &connection.name]);
        Login { role, credential, connection }
    }

    /// Whether a login may be tried. If so, it is noted.
    pub(super) fn decide(&mut self, login: &Login, around: &Circumstances, id: u64) -> Decision {
        self.prune(around.now);
        let of_role: Vec<_> = self.entries.iter().filter(|entry| entry.role == login.role).collect();
        let counts = |entry: &&Entry| {
            matches!(entry.outcome, Outcome::Pending { .. })
                || around.forgiven_before.is_none_or(|time| entry.at >= time)
        };
        let of_role: Vec<_> = of_role.into_iter().filter(counts).collect();
        if let Some((at, fault)) = of_role.iter().find_map(|entry| entry.refusal_of(login)) {
            return Decision::Hold(Held::Refused { fault, at, until: ends(at) });
        }
        if !around.impatient && of_role.iter().any(|entry| entry.is_pending(around.now)) {
            return Decision::Wait;
        }
        let changed = of_role
            .iter()
            .any(|entry| entry.connection == login.connection && entry.credential != login.credential);
        let confidence = if changed { Confidence::Changed } else { Confidence::Unproven };
        let times: Vec<_> = of_role.iter().map(|entry| entry.at).collect();
        if let Some(until) = spent_until(&times, Limits::default().of(confidence)) {
            return Decision::Hold(Held::Spent { until });
        }
        let Login { role, credential, connection } = login.clone();
        let outcome = Outcome::Pending { process: around.process, until: around.until };
        self.entries.push(Entry { id, role, credential, connection, at: around.now, outcome });
        let excess = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.entries.drain(..excess);
        Decision::Try(id)
    }

    /// Notes how a login went.
    pub(super) fn settle(&mut self, id: u64, login: &Login, result: LoginResult, now: Timestamp) {
        let outcome = match result {
            LoginResult::Accepted => {
                // Vault then forgets the refused ones, and so do we. What others try now is theirs to tell.
                self.entries
                    .retain(|entry| entry.role != login.role || (entry.is_pending(now) && entry.id != id));
                return;
            }
            LoginResult::NotMade => {
                self.entries.retain(|entry| entry.id != id);
                return;
            }
            LoginResult::InvalidCredentials => Outcome::InvalidCredentials,
            LoginResult::Denied => Outcome::Denied,
        };
        // A login that others waited for in vain may have been forgotten meanwhile.
        self.entries.retain(|entry| entry.id != id);
        let Login { role, credential, connection } = login.clone();
        self.entries.push(Entry { id, role, credential, connection, at: now, outcome });
    }

    /// Gives up waiting for processes that are no more.
    pub(super) fn bury(&mut self, is_alive: impl Fn(u32) -> bool) {
        for entry in &mut self.entries {
            if matches!(entry.outcome, Outcome::Pending { process, .. } if !is_alive(process)) {
                entry.outcome = Outcome::Unknown;
            }
        }
    }

    fn prune(&mut self, now: Timestamp) {
        self.entries.retain(|entry| now < ends(entry.at));
        self.entries.sort_by_key(|entry| entry.at);
        let excess = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.entries.drain(..excess);
    }

    fn print(&self, parts: &[&str]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.key));
        for part in parts {
            // With their lengths, no two lists of parts are one text.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        STANDARD.encode(&context.sign().as_ref()[..PRINT_BYTES])
    }
}

// === impl Entry ===

impl Entry {
    /// When this login was refused, and how, if it is that one.
    fn refusal_of(&self, login: &Login) -> Option<(Timestamp, Fault)> {
        let fault = match self.outcome {
            Outcome::Pending { .. } | Outcome::Unknown => None,
            Outcome::InvalidCredentials => Some(LoginFault::InvalidCredentials),
            Outcome::Denied => Some(LoginFault::Denied),
        }?;
        (self.role == login.role && self.credential == login.credential).then(|| (self.at, fault.into()))
    }

    fn is_pending(&self, now: Timestamp) -> bool {
        matches!(self.outcome, Outcome::Pending { until, .. } if now < until)
    }
}

fn secret(text: &SecretString) -> &str {
    text.expose_secret()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Desired;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn target(mount: &str) -> Target {
        let spec = json!({
            "instanceUrl": "https://vault.example.com",
            "auth": {"appRole": {
                "mount": mount,
                "roleId": {"value": "role"}, "secretId": {"secretRef": {"name": "s", "key": "secretId"}},
            }},
        });
        let spec = serde_json::from_value(spec).expect("it is a spec");
        Desired::parse(&spec).expect("it is valid").target
    }

    fn ledger() -> Ledger {
        Ledger::new([7; 32])
    }

    /// A login of a connection with a role and a secret id.
    fn login(ledger: &Ledger, connection: &str, role_id: &str, secret_id: &str) -> Login {
        let counted = Counted { alias: role_id.into(), proof: secret_id.into() };
        let connection = ConnectionRef { namespace: "team-a".into(), name: connection.into() };
        ledger.login(&connection, &target("approle"), &counted)
    }

    fn around(second: i64) -> Circumstances {
        let (now, until) = (at(second), at(second + 20));
        Circumstances { now, until, forgiven_before: None, impatient: false, process: 1 }
    }

    /// Tries, and is refused if it may be tried.
    fn refused(ledger: &mut Ledger, login: &Login, second: i64) -> Decision {
        let id = u64::try_from(second).expect("positive");
        let decision = ledger.decide(login, &around(second), id);
        if let Decision::Try(id) = decision {
            ledger.settle(id, login, LoginResult::InvalidCredentials, at(second));
        }
        decision
    }

    fn is_tried(decision: &Decision) -> bool {
        matches!(decision, Decision::Try(_))
    }

    #[test]
    fn the_same_credential_is_not_tried_again_in_the_window() {
        let mut ledger = ledger();
        let wrong = login(&ledger, "a", "role", "wrong");
        assert!(is_tried(&refused(&mut ledger, &wrong, 0)));
        let fault = Fault::from(LoginFault::InvalidCredentials);
        let expected = Decision::Hold(Held::Refused { fault, at: at(0), until: at(900) });
        assert_eq!(refused(&mut ledger, &wrong, 1), expected);
        let elsewhere = login(&ledger, "b", "role", "wrong");
        assert_eq!(refused(&mut ledger, &elsewhere, 899), expected, "for whatever connection");
        assert!(is_tried(&refused(&mut ledger, &wrong, 900)));
    }

    #[test]
    fn a_role_is_not_locked_whatever_credentials_come() {
        let mut ledger = ledger();
        let tried = (0..10).filter(|second| {
            let wrong = login(&ledger, &format!("c{second}"), "role", &format!("wrong-{second}"));
            is_tried(&refused(&mut ledger, &wrong, *second))
        });
        assert_eq!(tried.count(), 2, "nobody changed a credential");
        let tried = (10..20).filter(|second| {
            let wrong = login(&ledger, "c0", "role", &format!("wrong-{second}"));
            is_tried(&refused(&mut ledger, &wrong, *second))
        });
        assert_eq!(tried.count(), 2, "a changed one may be tried; the fifth is never ours");
        let other = login(&ledger, "c0", "other-role", "wrong-0");
        assert!(is_tried(&refused(&mut ledger, &other, 20)), "another role has another account");
    }

    #[test]
    fn an_accepted_login_clears_the_account_of_its_role() {
        let mut ledger = ledger();
        let (wrong, right) = (login(&ledger, "a", "role", "wrong"), login(&ledger, "a", "role", "right"));
        let other = login(&ledger, "a", "other-role", "wrong");
        refused(&mut ledger, &wrong, 0);
        refused(&mut ledger, &other, 0);
        assert_eq!(ledger.decide(&right, &around(1), 42), Decision::Try(42));
        ledger.settle(42, &right, LoginResult::Accepted, at(1));
        assert!(is_tried(&refused(&mut ledger, &wrong, 2)));
        assert!(!is_tried(&refused(&mut ledger, &other, 2)));
    }

    #[test]
    fn a_login_that_was_not_made_does_not_count() {
        let mut ledger = ledger();
        let unsure = login(&ledger, "a", "role", "unsure");
        for id in 0..10 {
            assert_eq!(ledger.decide(&unsure, &around(1), id), Decision::Try(id));
            ledger.settle(id, &unsure, LoginResult::NotMade, at(1));
        }
    }

    #[test]
    fn a_person_can_have_it_tried_all_the_same_but_not_twice_in_a_run() {
        let mut ledger = ledger();
        let wrong = login(&ledger, "a", "role", "wrong");
        refused(&mut ledger, &wrong, 0);
        let forced = |second| Circumstances { forgiven_before: Some(at(10)), ..around(second) };
        assert_eq!(ledger.decide(&wrong, &forced(10), 10), Decision::Try(10));
        ledger.settle(10, &wrong, LoginResult::Denied, at(10));
        let again = ledger.decide(&wrong, &forced(11), 11);
        assert!(matches!(again, Decision::Hold(Held::Refused { .. })), "{again:?}");
    }

    #[test]
    fn logins_of_one_role_are_tried_one_after_another() {
        let mut ledger = ledger();
        let (one, two) = (login(&ledger, "a", "role", "1"), login(&ledger, "b", "role", "2"));
        assert_eq!(ledger.decide(&one, &around(0), 1), Decision::Try(1));
        assert_eq!(ledger.decide(&two, &around(1), 2), Decision::Wait);
        let other = login(&ledger, "c", "other-role", "1");
        assert_eq!(ledger.decide(&other, &around(1), 3), Decision::Try(3));
        let impatient = Circumstances { impatient: true, ..around(1) };
        assert_eq!(ledger.decide(&two, &impatient, 2), Decision::Try(2), "it counts as refused");
        let third = login(&ledger, "d", "role", "3");
        let spent = Decision::Hold(Held::Spent { until: at(900) });
        assert_eq!(ledger.decide(&third, &impatient, 4), spent);
        ledger.bury(|_| false);
        assert_eq!(ledger.decide(&third, &around(2), 4), spent, "it does so when its process died");
    }

    #[test]
    fn what_is_written_is_read_again_and_tells_no_credential() {
        let mut ledger = ledger();
        let wrong = login(&ledger, "my-name", "my-role-id", "my-secret-id");
        refused(&mut ledger, &wrong, 0);
        let text = ledger.write();
        for hidden in ["my-name", "my-role-id", "my-secret-id", "vault", "approle"] {
            assert!(!text.contains(hidden), "{text}");
        }
        let mut read = Ledger::read(&text, at(1)).expect("it was written so");
        assert!(!is_tried(&refused(&mut read, &wrong, 2)));
        assert!(Ledger::read(&text, at(900)).expect("it was written so").entries.is_empty());
        let past = Ledger::read(&text, at(-50)).expect("it was written so");
        assert_eq!(past.entries[0].at, at(-50), "no entry is from the future");
    }

    #[test]
    fn what_cannot_be_read_is_reported() {
        let text = ledger().write();
        let table = [
            ("nothing", String::new(), Unusable::Corrupt),
            ("half", text[..text.len() / 2].to_owned(), Unusable::Corrupt),
            ("no JSON", "a: b".to_owned(), Unusable::Corrupt),
            ("a short key", text.replacen("BwcH", "", 1), Unusable::Corrupt),
            ("another format", text.replace("\"format\":1", "\"format\":2"), Unusable::OtherFormat),
        ];
        for (name, text, expected) in table {
            assert_eq!(Ledger::read(&text, at(0)).err(), Some(expected), "{name}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut ledger = ledger();
        for second in 0..1_100 {
            let wrong = login(&ledger, "a", &format!("role-{second}"), "wrong");
            refused(&mut ledger, &wrong, second / 2);
        }
        assert!(ledger.entries.len() <= MAX_ENTRIES);
        assert!(ledger.write().len() < 512 * 1024);
    }

    #[test]
    fn a_login_is_distinguished_from_others_by_each_of_its_parts() {
        let ledger = ledger();
        let one = login(&ledger, "a", "role", "id");
        assert_eq!(one, login(&ledger, "a", "role", "id"));
        assert_ne!(one.role, login(&ledger, "a", "rolei", "d").role);
        assert_ne!(one.credential, login(&ledger, "a", "role", "other").credential);
        let role = |mount: &str, namespace: &str| {
            let mut target = target(mount);
            target.namespace = crate::names::VaultNamespace::parse(namespace).expect("valid");
            let counted = Counted { alias: "role".into(), proof: "id".into() };
            let connection = ConnectionRef { namespace: "team-a".into(), name: "a".into() };
            ledger.login(&connection, &target, &counted).role
        };
        assert_eq!(role("approle", ""), one.role);
        assert_ne!(role("other", ""), one.role);
        assert_ne!(role("approle", "team"), one.role);
    }
}
