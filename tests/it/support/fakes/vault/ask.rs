//! What may be asked of a fake Vault, and what it does badly.

use super::super::{
    echo::Echo,
    http::{Answer, Request},
    openbao::MOUNT,
};

/// What the operator may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    Health,
    Login,
    LookupSelf,
    CapabilitiesSelf,
    MountLookup,
    RevokeSelf,
    WrappingLookup,
    Unwrap,
}

/// What it does in the place of a good answer.
#[derive(Clone, Debug)]
pub enum Misdeed {
    /// Gives this answer.
    Answer(Answer),
    /// Says back what it knows, somewhere in its answer.
    Echo(Echo),
    /// Reads the request and resets the connection.
    Reset,
    /// Reads the request and says nothing more.
    Silence,
    /// Gives the good answer, a byte a second.
    Drip,
    /// Breaks off in the middle of the good answer.
    Cut,
}

// === impl Ask ===

impl Ask {
    pub(super) fn of(request: &Request) -> Option<Self> {
        let login = format!("/v1/auth/{MOUNT}/login");
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/v1/sys/health") => Some(Self::Health),
            ("POST", path) if path == login => Some(Self::Login),
            ("GET", "/v1/auth/token/lookup-self") => Some(Self::LookupSelf),
            ("POST", "/v1/sys/capabilities-self") => Some(Self::CapabilitiesSelf),
            ("GET", path) if path.starts_with("/v1/sys/internal/ui/mounts/") => Some(Self::MountLookup),
            ("POST", "/v1/auth/token/revoke-self") => Some(Self::RevokeSelf),
            ("POST", "/v1/sys/wrapping/lookup") => Some(Self::WrappingLookup),
            ("POST", "/v1/sys/wrapping/unwrap") => Some(Self::Unwrap),
            _ => None,
        }
    }
}
