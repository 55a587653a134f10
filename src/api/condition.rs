//! The words of our conditions: their types and reasons, and what each reason implies.
//!
//! One list; the status, the documentation, the metrics and the waiting times are derived from it.

use super::status::State;

/// The condition types of our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The sum of the steps: the login works and may do what is required.
    Ready,
    /// The spec makes sense, and every object that it names is there and usable.
    ReferencesResolved,
    /// Something answers at the address, with a certificate that is trusted.
    Reachable,
    /// What answers is a Vault that can serve requests.
    ServerReady,
    /// Vault accepts the login, and the login can be used.
    Authenticated,
    /// The login may do what `spec.require` asks for.
    Authorized,
    /// Set only while the operator is working or trying again (kstatus).
    Reconciling,
    /// Set only while nothing but a person can mend it (kstatus).
    Stalled,
    /// Set only while the login works but its token ends soon, and nothing but a person can replace it.
    CredentialsExpiring,
    /// Set only while the instance answers but its TLS certificate ends soon.
    CertificateExpiring,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

/// What a reason means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Nothing to fix.
    None,
    /// It may pass by itself in seconds: a connection that was Ready gets a short grace.
    Transient,
    /// It is certain, and may be fixed by software or people elsewhere: tried again.
    Persistent,
    /// Only a person can fix it: `Stalled`, so that waiting tools end at once.
    Terminal,
}

/// Defines [`Reason`] and everything that hangs on a reason from one table.
macro_rules! reasons {
    ($( $(#[doc = $meaning:literal])+ $name:ident: $condition:ident $truth:ident, $class:ident, $state:ident; )+) => {
        /// Why a condition has its status. The texts are the contract; the comments are its documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $( $(#[doc = $meaning])+ $name, )+ }

        impl Reason {
            /// Every reason, in the order of the steps.
            pub const ALL: &[Self] = &[$( Self::$name, )+];

            /// The text in the condition.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// The step that gives this reason.
            pub fn condition(self) -> ConditionType {
                match self { $( Self::$name => ConditionType::$condition, )+ }
            }

            /// The status that it gives to that step.
            pub fn truth(self) -> Truth {
                match self { $( Self::$name => Truth::$truth, )+ }
            }

            /// What it means for what comes next.
            pub fn failure_class(self) -> FailureClass {
                match self { $( Self::$name => FailureClass::$class, )+ }
            }

            /// The word for `status.state` when this is the first step that is not True.
            pub fn state(self) -> State {
                match self { $( Self::$name => State::$state, )+ }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $( Self::$name => concat!($($meaning),+), )+ }
            }
        }
    };
}

reasons! {
    /// The login works and may do what is required.
    Connected: Ready True, None, Connected;
    /// Every endpoint of the gateway works.
    EndpointsHealthy: Ready True, None, Connected;
    /// Some endpoints of the gateway work, and others do not.
    EndpointsDegraded: Ready True, None, Connected;
    /// `spec.suspend` is true: nothing is checked.
    Suspended: Ready Unknown, None, Suspended;
    /// The check ended before this step.
    NotChecked: Ready Unknown, None, Pending;
    /// The last check failed in a way that can pass or be mended elsewhere; the operator tries again.
    Retrying: Reconciling True, Persistent, Unknown;

    /// The spec makes sense, and every object that it names was read.
    Resolved: ReferencesResolved True, None, Connected;
    /// No check could be made before the last one that passed was two intervals old.
    CheckOverdue: ReferencesResolved Unknown, Persistent, Unknown;
    /// The operator failed by a defect of its own while it looked at this object. It tries again, and goes on with the others.
    InternalError: ReferencesResolved Unknown, Persistent, Unknown;
    /// The spec breaks a rule that the installed CRD did not enforce.
    InvalidSpec: ReferencesResolved False, Terminal, Misconfigured;
    /// A Secret that the connection names does not exist in its namespace.
    SecretNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// A Secret that the connection names lacks the label `appconnections.dev/credentials: "true"`.
    SecretNotLabelled: ReferencesResolved False, Terminal, Misconfigured;
    /// The ServiceAccount that the connection names does not exist in its namespace.
    ServiceAccountNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The ServiceAccount that the connection names lacks the label `appconnections.dev/credentials: "true"`.
    ServiceAccountNotLabelled: ReferencesResolved False, Terminal, Misconfigured;
    /// Kubernetes does not let the operator read the ServiceAccount, or request tokens for it.
    TokenForbidden: ReferencesResolved False, Persistent, Misconfigured;
    /// An audience of the ServiceAccount's token is one of the Kubernetes API server: Vault could use the token there.
    AudienceOfApiServer: ReferencesResolved False, Terminal, Misconfigured;
    /// A ConfigMap that the connection names does not exist in its namespace.
    ConfigMapNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The object is there but has no such key.
    KeyNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The value under the key is empty.
    EmptyValue: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key is not UTF-8 text.
    NotUtf8: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key starts or ends with white space, most often a trailing newline.
    WhitespaceInValue: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key is longer than 16 KiB.
    CredentialTooLong: ReferencesResolved False, Terminal, Misconfigured;
    /// The value cannot be the credential, but holds it in another form: in quotes, encoded once more, within a document.
    MalformedCredential: ReferencesResolved False, Terminal, Misconfigured;
    /// The CA bundle holds no certificate, or one that does not parse.
    InvalidCertificate: ReferencesResolved False, Terminal, Misconfigured;
    /// The Secret of a client certificate holds no certificate with the private key that belongs to it, or an encrypted key.
    InvalidKeyPair: ReferencesResolved False, Terminal, Misconfigured;
    /// The gateway that the connection names does not exist in its namespace.
    GatewayNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The spec of the gateway breaks a rule that the installed CRD did not enforce.
    InvalidGateway: ReferencesResolved False, Terminal, Misconfigured;
    /// Kubernetes does not let the operator read the object.
    ReadForbidden: ReferencesResolved False, Persistent, Misconfigured;

    /// Something answers at the address, with a certificate that is trusted.
    Answered: Reachable True, None, Connected;
    /// The operator's address policy does not allow this address.
    AddressNotAllowed: Reachable False, Terminal, Misconfigured;
    /// The URL is http://, and the operator was not started with --allow-plain-http.
    PlainHttpNotAllowed: Reachable False, Terminal, Misconfigured;
    /// The host name has no address.
    NameNotResolved: Reachable False, Transient, Unreachable;
    /// Nothing listens on the port.
    ConnectionRefused: Reachable False, Transient, Unreachable;
    /// The connection could not be made, or broke before an answer came.
    ConnectionFailed: Reachable False, Transient, Unreachable;
    /// No answer came within `spec.check.timeout`.
    Timeout: Reachable False, Transient, Unreachable;
    /// The operator itself lacks file descriptors, memory or local ports for another connection.
    OperatorOutOfResources: Reachable Unknown, Transient, Unknown;
    /// The certificate is signed by a CA that the connection does not trust, or by nobody else (self-signed).
    UnknownAuthority: Reachable False, Persistent, Unreachable;
    /// The CA certificate in the bundle of the connection is out of its time.
    AuthorityExpired: Reachable False, Persistent, Unreachable;
    /// A certificate that the server shows, its own or that of an intermediate CA, is out of its time.
    CertificateExpired: Reachable False, Persistent, Unreachable;
    /// A certificate has a weak or unknown key or signature, is not for servers, or breaks a rule of its CA.
    CertificateNotAcceptable: Reachable False, Persistent, Unreachable;
    /// The certificate is for another name.
    CertificateNameMismatch: Reachable False, Persistent, Unreachable;
    /// What answers does not speak TLS, such as a plain HTTP port.
    NotTls: Reachable False, Persistent, Unreachable;
    /// The server asks for a client certificate, and the connection names none.
    ClientCertificateRequired: Reachable False, Terminal, Misconfigured;
    /// The server does not accept the client certificate.
    ClientCertificateRejected: Reachable False, Terminal, Rejected;
    /// The client certificate is out of its time.
    ClientCertificateExpired: Reachable False, Terminal, Rejected;
    /// The TLS handshake failed for another reason, such as a version that is too old, or no shared cipher suite.
    TlsFailed: Reachable False, Persistent, Unreachable;
    /// No endpoint of the gateway can be reached.
    GatewayUnreachable: Reachable False, Transient, Unreachable;
    /// What answers at the endpoint is no proxy of its scheme.
    NotProxy: Reachable False, Persistent, Misconfigured;
    /// The proxy does not accept the login, or asks for one.
    GatewayLoginRefused: Reachable False, Terminal, Misconfigured;
    /// The proxy makes no connection to the instance: it is not allowed there, or cannot be made.
    GatewayRefusesTarget: Reachable False, Transient, Unreachable;

    /// An active node answers.
    Active: ServerReady True, None, Connected;
    /// A standby node answers; it forwards requests to the active one.
    Standby: ServerReady True, None, Connected;
    /// A performance standby answers.
    PerformanceStandby: ServerReady True, None, Connected;
    /// Something keeps `sys/health` from the operator, but Vault answers other requests.
    HealthNotReadable: ServerReady True, None, Connected;
    /// The instance is sealed.
    Sealed: ServerReady False, Persistent, Sealed;
    /// The instance is not initialized.
    NotInitialized: ServerReady False, Persistent, Sealed;
    /// The node belongs to a disaster recovery secondary, which serves no logins.
    DisasterRecoverySecondary: ServerReady False, Persistent, Unreachable;
    /// The standby node has lost its active node.
    StandbyDisconnected: ServerReady False, Transient, Unreachable;
    /// The node is a standby without an active node that it could hand the request on to, or it does not forward requests.
    NoActiveNode: ServerReady False, Transient, Unreachable;
    /// The node was removed from its cluster.
    NodeRemoved: ServerReady False, Persistent, Unreachable;
    /// What answers does not speak Vault's protocol.
    NotVault: ServerReady False, Persistent, Misconfigured;
    /// The URL is http://, and the port speaks TLS or redirects to https.
    HttpsRequired: ServerReady False, Persistent, Misconfigured;
    /// Vault's listener takes only requests with the header `X-Forwarded-For`, which a proxy before it must add.
    ForwardedForRequired: ServerReady False, Persistent, Misconfigured;
    /// The server redirects elsewhere. Credentials are never sent after a redirect.
    Redirected: ServerReady False, Persistent, Misconfigured;
    /// The server reports a failure of its own.
    ServerError: ServerReady False, Transient, Unreachable;
    /// The server asks to wait: a rate limit or a quota.
    RateLimited: ServerReady Unknown, Transient, Unknown;

    /// The login was accepted and a request with it succeeded.
    SelfCheckPassed: Authenticated True, None, Connected;
    /// Vault does not accept the credential: role id and secret id, user name and password, or client certificate.
    InvalidCredentials: Authenticated False, Terminal, Rejected;
    /// The wrapping token cannot be opened: it was opened before, has expired, or is none.
    WrappingTokenSpent: Authenticated False, Terminal, Rejected;
    /// The wrapping token holds something else than a secret id of this mount. It was not opened.
    WrappingTokenForeign: Authenticated False, Terminal, Rejected;
    /// Something that stands before Vault, such as a firewall or a proxy, answered the request in its place.
    RequestBlocked: Authenticated False, Persistent, Misconfigured;
    /// The role or the secret id is bound to other source addresses.
    SourceAddressDenied: Authenticated False, Terminal, Rejected;
    /// Vault denies the login: no such mount, a locked role or user, or a source address that is not allowed.
    LoginDenied: Authenticated False, Terminal, Rejected;
    /// Vault denies the login without a reason, and the cause may be its own: it cannot have the token verified now.
    LoginUnverified: Authenticated False, Persistent, Rejected;
    /// The auth method has no such role.
    RoleNotFound: Authenticated False, Terminal, Misconfigured;
    /// The role is for another kind of login.
    RoleTypeMismatch: Authenticated False, Terminal, Misconfigured;
    /// The role is not for this ServiceAccount, these claims or this certificate.
    IdentityNotAuthorized: Authenticated False, Terminal, Rejected;
    /// The token is not for an audience that the role expects.
    AudienceMismatch: Authenticated False, Terminal, Rejected;
    /// The JWT is out of its time.
    JwtExpired: Authenticated False, Terminal, Rejected;
    /// None of the keys that Vault has verifies the JWT.
    JwtRejected: Authenticated False, Terminal, Rejected;
    /// The auth method is mounted, but has no configuration.
    AuthMethodNotConfigured: Authenticated False, Persistent, Misconfigured;
    /// No client certificate arrives at Vault.
    ClientCertificateNotSeen: Authenticated False, Terminal, Misconfigured;
    /// Vault cannot ask its LDAP directory.
    DirectoryUnavailable: Authenticated False, Transient, Unreachable;
    /// There is no auth method at the mount.
    MountNotFound: Authenticated False, Terminal, Misconfigured;
    /// The Vault namespace does not exist.
    NamespaceNotFound: Authenticated False, Terminal, Misconfigured;
    /// The token belongs to another Vault namespace than `spec.namespace`, where it is refused everything.
    TokenNamespaceMismatch: Authenticated False, Terminal, Misconfigured;
    /// The login asks for a second factor, which software cannot give.
    MfaRequired: Authenticated False, Terminal, Rejected;
    /// Vault does not accept the token: wrong, expired, revoked, or used up.
    TokenRejected: Authenticated False, Terminal, Rejected;
    /// The user's token had so few uses that the check has none to spend; looking it up may have spent the last.
    TokenUsesSpent: Authenticated False, Terminal, Rejected;
    /// The login was accepted, but its token may not even look itself up.
    TokenUnusable: Authenticated False, Terminal, Rejected;
    /// Logins of this role failed lately; the operator waits so that Vault does not lock it.
    LoginBudgetSpent: Authenticated Unknown, Persistent, Unknown;
    /// Other logins at the instance were before this one until `spec.check.timeout` was up.
    LoginQueued: Authenticated Unknown, Transient, Unknown;
    /// The server gave an answer that Vault's documentation does not name.
    UnexpectedAnswer: Authenticated Unknown, Persistent, Unknown;

    /// The login may do everything that `spec.require` asks for.
    CapabilitiesGranted: Authorized True, None, Connected;
    /// `spec.require` is not set: a login that works is enough.
    NothingRequired: Authorized True, None, Connected;
    /// The login lacks capabilities that `spec.require` asks for.
    MissingCapabilities: Authorized False, Terminal, Denied;
    /// No secrets engine is mounted where `spec.require.secretSync` says.
    SecretsMountNotFound: Authorized False, Terminal, Misconfigured;
    /// The secrets engine that `spec.require.secretSync` names is not a KV engine.
    NotKv: Authorized False, Terminal, Misconfigured;
    /// The KV engine that `spec.require.secretSync` names has another version.
    KvVersionMismatch: Authorized False, Terminal, Misconfigured;

    /// The user's token ends within 7 days, or within the last third of a shorter life, and cannot be renewed further.
    TokenExpiring: CredentialsExpiring True, None, Connected;
    /// The secret id ends within 7 days, or within the last third of a shorter life.
    SecretIdExpiring: CredentialsExpiring True, None, Connected;
    /// A TLS certificate that the instance is trusted by, its own or that of a CA, ends within 14 days.
    ServerCertificateExpiring: CertificateExpiring True, None, Connected;
}

// === impl ConditionType ===

impl ConditionType {
    /// The steps of a check, in their order. `Ready` is their sum.
    pub const STEPS: [Self; 5] =
        [Self::ReferencesResolved, Self::Reachable, Self::ServerReady, Self::Authenticated, Self::Authorized];

    /// All of them.
    const ALL: [Self; 10] = [
        Self::Ready,
        Self::ReferencesResolved,
        Self::Reachable,
        Self::ServerReady,
        Self::Authenticated,
        Self::Authorized,
        Self::Reconciling,
        Self::Stalled,
        Self::CredentialsExpiring,
        Self::CertificateExpiring,
    ];

    /// Whether a condition of this type is the operator's. Those of other types are left alone.
    pub fn is_ours(text: &str) -> bool {
        Self::ALL.iter().any(|own| own.as_str() == text)
    }

    /// The text in the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ReferencesResolved => "ReferencesResolved",
            Self::Reachable => "Reachable",
            Self::ServerReady => "ServerReady",
            Self::Authenticated => "Authenticated",
            Self::Authorized => "Authorized",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::CredentialsExpiring => "CredentialsExpiring",
            Self::CertificateExpiring => "CertificateExpiring",
        }
    }
}

// === impl Truth ===

impl Truth {
    /// The text in the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
