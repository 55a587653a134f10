//! Why no answer came.
//!
//! Pure: the client tells these apart, the judge gives them their words.

use std::fmt;

use crate::gateway::route::Refusal;

/// Why no answer came. As an error it travels through the HTTP client, and is taken out of its chain of causes.
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
    /// No endpoint of the gateway gave a way to the instance.
    Gateway(EndpointFault),
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
    /// The server wants a client certificate: it got none, or does not take the one that it got.
    ClientCertificate,
    /// The port does not speak TLS.
    NotTls,
    /// Another reason.
    Other,
}

/// Why an endpoint of a gateway gave no way to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFault {
    /// The endpoint.
    pub endpoint: String,
    /// What happened there.
    pub problem: EndpointProblem,
}

/// What happened at an endpoint of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointProblem {
    /// The proxy could not be reached.
    Unreachable(Box<TransportFault>),
    /// The proxy does not take the login, or wants one.
    LoginRefused,
    /// The proxy takes the login, but gives no connection to the instance: it is denied or cannot be made.
    TargetRefused,
    /// What answers does not speak the protocol of the endpoint's scheme.
    NotProxy,
}

// === impl TransportFault ===

impl fmt::Display for TransportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed(refusal) => write!(f, "failed to find an allowed address: {refusal}"),
            Self::PlainHttp => f.write_str("failed to dial, since plain http is not allowed"),
            Self::NameNotResolved => f.write_str("failed to resolve the host name"),
            Self::Refused => f.write_str("failed to connect: the connection was refused"),
            Self::Failed => f.write_str("failed to connect"),
            Self::TimedOut => f.write_str("failed to connect in time"),
            Self::Tls(_) => f.write_str("failed to agree on TLS"),
            Self::Gateway(fault) => write!(f, "failed to go through {}", fault.endpoint),
        }
    }
}

impl std::error::Error for TransportFault {}

// === impl EndpointProblem ===

impl EndpointProblem {
    /// Whether another try of the same may succeed soon, by itself.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(fault) => match &**fault {
                TransportFault::NameNotResolved
                | TransportFault::Refused
                | TransportFault::Failed
                | TransportFault::TimedOut => true,
                TransportFault::NotAllowed(_)
                | TransportFault::PlainHttp
                | TransportFault::Tls(_)
                | TransportFault::Gateway(_) => false,
            },
            Self::TargetRefused => true,
            Self::LoginRefused | Self::NotProxy => false,
        }
    }
}
