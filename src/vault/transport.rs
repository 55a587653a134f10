//! Why no answer came.
//!
//! Pure: the client tells these apart, the judge gives them their words.

use crate::gateway::route::Refusal;

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The address policy does not allow it.
    NotAllowed(Refusal),
    /// The URL is plain http, which the operator was not told to allow.
    PlainHttp,
    /// The host name has no address.
    NameNotResolved,
    /// Nothing listens on the port.
    Refused,
    /// The connection could not be made, or broke.
    Failed,
    /// No answer came in time.
    TimedOut,
    /// The TLS handshake failed.
    Tls(TlsFault),
}

/// Why the TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is signed by a CA that is not trusted.
    UnknownAuthority,
    /// The certificate is out of its time.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// The port does not speak TLS.
    NotTls,
    /// Another reason.
    Other,
}
