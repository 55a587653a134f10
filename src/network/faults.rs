//! Why no answer came.
//!
//! Pure: the client tells these apart, the judge gives them their words.

use std::fmt;

use crate::{
    network::{address_policy::Refusal, chain::ChainPart},
    references::certificate::Weakness,
};

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
    /// The operator itself lacks file descriptors, memory or local ports for another connection.
    OutOfResources,
    /// The TLS handshake failed.
    Tls(TlsFault),
    /// No endpoint of the gateway connected to the instance.
    Gateway(EndpointFault),
}

/// Why the TLS handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is signed by a CA that is not trusted.
    UnknownAuthority,
    /// The certificate is signed by nobody else, and is not in the bundle.
    SelfSigned {
        /// Whose it is.
        subject: String,
    },
    /// The CA in the bundle is out of its time.
    AuthorityOutOfTime {
        /// Whose certificate that is.
        subject: String,
        /// Whether its time is over, or has not begun.
        is_over: bool,
    },
    /// A certificate that the server shows is out of its time.
    Expired {
        /// Which one.
        part: ChainPart,
        /// Whose it is.
        subject: String,
    },
    /// The certificate is for other names.
    WrongName {
        /// The names that it lists.
        listed: Vec<String>,
    },
    /// A certificate that is shown or trusted cannot be accepted.
    Flawed {
        /// Whose it is; empty if that cannot be read.
        subject: String,
        /// Why.
        flaw: Flaw,
    },
    /// The server wants a client certificate: it got none, or does not take the one that it got.
    ClientCertificate,
    /// The client certificate is out of its time.
    ClientCertificateExpired,
    /// The server speaks only versions of TLS that are too old.
    OldVersion,
    /// There is no cipher suite, key exchange or signature that both sides accept.
    NothingInCommon,
    /// The server has no certificate for the name that it was asked for.
    UnknownName,
    /// The port does not speak TLS.
    NotTls,
    /// Another reason.
    Other,
}

/// Why a certificate cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is that of a CA, shown as a server's own.
    Authority,
    /// Its extended key usage is not for servers.
    Usage,
    /// The CA that signed it may not sign for this name.
    NameConstraint,
    /// Its key or the signature on it is not accepted.
    Weak(Weakness),
    /// It does not parse, or has a critical extension that is not known.
    Malformed,
}

/// Why an endpoint of a gateway did not connect to the instance.
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
    /// The proxy takes a login by other schemes than `Basic` only: the names of those that are known.
    LoginSchemes(Vec<&'static str>),
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
            Self::OutOfResources => f.write_str("failed to connect: the operator lacks resources"),
            Self::Tls(_) => f.write_str("failed to agree on TLS"),
            Self::Gateway(fault) => write!(f, "failed to go through {}", fault.endpoint),
        }
    }
}

impl std::error::Error for TransportFault {}

impl TransportFault {
    /// The texts in it that come from certificates.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Tls(fault) => fault.texts_mut(),
            Self::Gateway(EndpointFault { problem: EndpointProblem::Unreachable(fault), .. }) => {
                fault.texts_mut()
            }
            Self::NotAllowed(_)
            | Self::PlainHttp
            | Self::NameNotResolved
            | Self::Refused
            | Self::Failed
            | Self::TimedOut
            | Self::OutOfResources
            | Self::Gateway(_) => Vec::new(),
        }
    }

    /// The same without the texts that come from certificates: a log may show it, whatever a server writes into them.
    #[must_use]
    pub fn without_texts(&self) -> Self {
        let mut fault = self.clone();
        fault.texts_mut().into_iter().for_each(String::clear);
        fault
    }
}

// === impl TlsFault ===

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to trust the certificate")
    }
}

impl std::error::Error for TlsFault {}

impl TlsFault {
    /// The texts in it that come from certificates.
    pub fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::SelfSigned { subject }
            | Self::AuthorityOutOfTime { subject, .. }
            | Self::Expired { subject, .. }
            | Self::Flawed { subject, .. } => vec![subject],
            Self::WrongName { listed } => listed.iter_mut().collect(),
            Self::UnknownAuthority
            | Self::ClientCertificate
            | Self::ClientCertificateExpired
            | Self::OldVersion
            | Self::NothingInCommon
            | Self::UnknownName
            | Self::NotTls
            | Self::Other => Vec::new(),
        }
    }
}

// === impl EndpointProblem ===

impl EndpointProblem {
    /// Whether another try of the same may succeed soon, by itself.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(fault) => match &**fault {
                TransportFault::NameNotResolved
                | TransportFault::Refused
                | TransportFault::Failed
                | TransportFault::TimedOut
                | TransportFault::OutOfResources => true,
                TransportFault::NotAllowed(_)
                | TransportFault::PlainHttp
                | TransportFault::Tls(_)
                | TransportFault::Gateway(_) => false,
            },
            Self::TargetRefused => true,
            Self::LoginRefused | Self::LoginSchemes(_) | Self::NotProxy => false,
        }
    }
}
