//! What to ask Vault, and how to read its answer.
//!
//! ```text
//!   login::request ──┐                        ┌── login::read
//!   token::lookup ───┤                        ├── token::read_lookup
//!   capabilities ────┼─▶ Request ─▶ client ─▶ Answer
//!   health::REQUEST ─┘     pure       I/O     └── health::read
//! ```
//!
//! Everything but [`client`] is pure: a request and an answer are values.

pub mod answer;
pub mod capabilities;
pub mod client;
pub mod fields;
pub mod health;
pub mod login;
pub mod mounts;
pub mod namespace;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod wrapping;

use secrecy::zeroize::Zeroizing;

/// One request to Vault's HTTP API, without address, namespace and token.
pub struct Request {
    /// What it is for: the label in metrics and logs.
    pub operation: Operation,
    /// Path below `/v1/`.
    pub path: String,
    /// The JSON body; a request with a body is a POST. It may hold credentials and is wiped after use.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Ask the instance how it is.
    Health,
    /// Ask the instance for anything, where its health is kept from us.
    Probe,
    /// Log in.
    Login,
    /// Look at our own token.
    LookupSelf,
    /// Ask whether a token with few uses is alive.
    WatchToken,
    /// Ask what our own token may do.
    CapabilitiesSelf,
    /// Ask which secrets engine is mounted at a path.
    MountLookup,
    /// Extend the life of our own token.
    RenewSelf,
    /// End our own token.
    RevokeSelf,
    /// Ask where a wrapping token comes from.
    WrappingLookup,
    /// Open a wrapping token.
    Unwrap,
}

// === impl Operation ===

impl Operation {
    /// The metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Probe => "probe",
            Self::Login => "login",
            Self::LookupSelf => "lookup_self",
            Self::WatchToken => "watch_token",
            Self::CapabilitiesSelf => "capabilities_self",
            Self::MountLookup => "mount_lookup",
            Self::RenewSelf => "renew_self",
            Self::RevokeSelf => "revoke_self",
            Self::WrappingLookup => "wrapping_lookup",
            Self::Unwrap => "unwrap",
        }
    }

    /// The method and the path of the request, as people find them in logs. `login` is the path of the login.
    pub fn request(self, login: &str) -> String {
        let method = match self {
            Self::Health | Self::Probe | Self::LookupSelf | Self::WatchToken | Self::MountLookup => "GET",
            Self::Login
            | Self::CapabilitiesSelf
            | Self::RenewSelf
            | Self::RevokeSelf
            | Self::WrappingLookup
            | Self::Unwrap => "POST",
        };
        format!("{method} {}", self.path(login))
    }

    /// The path of the request, below `/v1/`. `login` is that of the login.
    pub fn path(self, login: &str) -> &str {
        match self {
            Self::Health => "sys/health",
            Self::Login => login,
            Self::Probe | Self::LookupSelf => "auth/token/lookup-self",
            Self::CapabilitiesSelf => "sys/capabilities-self",
            Self::WatchToken => "sys/internal/ui/mounts/cubbyhole",
            Self::MountLookup => "sys/internal/ui/mounts",
            Self::RenewSelf => "auth/token/renew-self",
            Self::RevokeSelf => "auth/token/revoke-self",
            Self::WrappingLookup => "sys/wrapping/lookup",
            Self::Unwrap => "sys/wrapping/unwrap",
        }
    }

    /// Whether a secret id, or a token that holds one, goes over the connection, which must not outlive that.
    pub fn carries_a_secret_id(self) -> bool {
        match self {
            Self::Login | Self::WrappingLookup | Self::Unwrap => true,
            Self::Health
            | Self::Probe
            | Self::LookupSelf
            | Self::WatchToken
            | Self::CapabilitiesSelf
            | Self::MountLookup
            | Self::RenewSelf
            | Self::RevokeSelf => false,
        }
    }

    /// Longest answer that is read. The longest that Vault gives, a login's or a look-up's with thousands of policies or much
    /// metadata, has less; what is longer is not Vault's.
    pub fn max_answer_bytes(self) -> usize {
        match self {
            Self::Health
            | Self::Probe
            | Self::Login
            | Self::LookupSelf
            | Self::WatchToken
            | Self::CapabilitiesSelf
            | Self::RenewSelf
            | Self::RevokeSelf
            | Self::WrappingLookup
            | Self::Unwrap => 256 << 10,
            // An instance may have hundreds of engines, and each is in the answer twice.
            Self::MountLookup => 1 << 20,
        }
    }

    /// Whether the path exists only in the root namespace, so that no namespace header may be sent.
    pub fn is_root_only(self) -> bool {
        match self {
            Self::Health | Self::Probe => true,
            Self::Login
            | Self::LookupSelf
            | Self::WatchToken
            | Self::CapabilitiesSelf
            | Self::MountLookup
            | Self::RenewSelf
            | Self::RevokeSelf
            | Self::WrappingLookup
            | Self::Unwrap => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{answer::Answer, capabilities, health, login, token, wrapping};
    use crate::{api::connection::Verb, names::MountPath};

    /// Bodies that are nothing, nearly JSON, or nearly what Vault answers.
    fn any_body() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("errors"),
            Just("data"),
            Just("auth"),
            Just("client_token"),
            Just("ttl"),
            Just("keys"),
            Just("sealed"),
            Just("initialized"),
            Just("creation_path"),
            Just("lease_duration"),
        ];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            ".{0,16}".prop_map(serde_json::Value::from),
        ];
        let tree = leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::vec((word.clone(), inner), 0..4).prop_map(|fields| fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()),
            ]
        });
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            tree.prop_map(|value| value.to_string().into_bytes()),
        ]
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reader_panic_or_a_login_out_of_nothing(status in 100_u16..600, body in any_body()) {
            let answer = Answer {
                status,
                retry_after: None,
                location: None,
                certificate_end: None,
                body: body.into(),
            };
            let mount = MountPath::parse("approle").expect("valid");
            let require = BTreeMap::from([("a".to_owned(), vec![Verb::Read])]);
            let read = health::read(&answer);
            prop_assert!(read.is_err() || matches!(status, 200 | 429 | 473), "{read:?}");
            let granted = capabilities::read_missing(&answer, &require).is_ok_and(|missing| missing.is_empty());
            prop_assert!(!granted, "no answer here grants what was asked for");
            prop_assert!(login::read(&super::testing::app_role(), &answer).is_err() || status == 200);
            prop_assert!(token::read_lookup(&answer).is_err() || status == 200);
            prop_assert!(token::read_renew(&answer).is_err() || status == 200);
            prop_assert!(wrapping::read_lookup(&answer, &mount, None).is_err(), "no path here is of our mount");
            prop_assert!(wrapping::read_unwrap(&answer).is_err(), "no secret id is in here");
        }
    }
}
