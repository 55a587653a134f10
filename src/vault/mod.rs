//! What to ask Vault, and how to read its answer.
//!
//! ```text
//!   login::request ──┐                        ┌── login::read
//!   token::lookup ───┤                        ├── token::read_lookup
//!   capabilities ────┼─▶ Request ─▶ client ─▶ Answer
//!   health::REQUEST ─┘     pure       I/O     └── health::read
//! ```
//!
//! Everything but [`client`] and [`tls`] is pure: a request and an answer are values.

pub mod answer;
pub mod capabilities;
pub mod client;
pub mod health;
pub mod login;
pub mod tls;
pub mod token;
pub mod transport;
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
    /// Log in.
    Login,
    /// Look at our own token.
    LookupSelf,
    /// Ask what our own token may do.
    CapabilitiesSelf,
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
            Self::Login => "login",
            Self::LookupSelf => "lookup_self",
            Self::CapabilitiesSelf => "capabilities_self",
            Self::RenewSelf => "renew_self",
            Self::RevokeSelf => "revoke_self",
            Self::WrappingLookup => "wrapping_lookup",
            Self::Unwrap => "unwrap",
        }
    }

    /// Whether the path exists only in the root namespace, so that no namespace header may be sent.
    pub fn is_root_only(self) -> bool {
        match self {
            Self::Health => true,
            Self::Login
            | Self::LookupSelf
            | Self::CapabilitiesSelf
            | Self::RenewSelf
            | Self::RevokeSelf
            | Self::WrappingLookup
            | Self::Unwrap => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Answers for the tables of the readers.

    use super::answer::Answer;

    /// An answer with a JSON body.
    pub(crate) fn json(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, location: None, body: body.as_bytes().to_vec().into() }
    }
}
