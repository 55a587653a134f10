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
    /// A server responds at the address, with a trusted certificate.
    Reachable,
    /// What answers is a Vault that can serve requests.
    ServerReady,
    /// Vault accepts the login, and the login can be used.
    Authenticated,
    /// The login may do what `spec.require` asks for.
    Authorized,
    /// Set only while the operator is working or trying again (kstatus).
    Reconciling,
    /// Set only while nothing but a person can fix it (kstatus).
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
    /// The login works and has the required permissions.
    Connected: Ready True, None, Connected;
    /// Every endpoint of the gateway works.
    EndpointsHealthy: Ready True, None, Connected;
    /// Some endpoints of the gateway work, and others do not.
    EndpointsDegraded: Ready True, None, Connected;
    /// `spec.suspend` is true, so checks are disabled.
    Suspended: Ready Unknown, None, Suspended;
    /// The check ended before this step.
    NotChecked: Ready Unknown, None, Pending;
    /// The last check failed; the operator retries, because the cause can go away or be fixed elsewhere.
    Retrying: Reconciling True, Persistent, Unknown;

    /// The spec is valid, and every object that it names was read.
    Resolved: ReferencesResolved True, None, Connected;
    /// No check completed within two intervals after the last one that passed.
    CheckOverdue: ReferencesResolved Unknown, Persistent, Unknown;
    /// The check of this object failed because of a bug in the operator. It retries, and other objects are not affected.
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
    /// Kubernetes does not allow the operator to read the ServiceAccount or to request tokens for it.
    TokenForbidden: ReferencesResolved False, Persistent, Misconfigured;
    /// An audience of the ServiceAccount's token is one of the Kubernetes API server: Vault could use the token there.
    AudienceOfApiServer: ReferencesResolved False, Terminal, Misconfigured;
    /// A ConfigMap that the connection names does not exist in its namespace.
    ConfigMapNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The object exists but does not have this key.
    KeyNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The value under the key is empty.
    EmptyValue: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key is not UTF-8 text.
    NotUtf8: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key starts or ends with white space, usually a trailing newline.
    WhitespaceInValue: ReferencesResolved False, Terminal, Misconfigured;
    /// The value under the key is longer than 16 KiB.
    CredentialTooLong: ReferencesResolved False, Terminal, Misconfigured;
    /// The value is not the credential itself, but contains it in another form: in quotes, encoded twice, or inside a document.
    MalformedCredential: ReferencesResolved False, Terminal, Misconfigured;
    /// The CA bundle contains no certificate, or one that cannot be parsed.
    InvalidCertificate: ReferencesResolved False, Terminal, Misconfigured;
    /// The Secret of a client certificate does not contain a certificate and its private key, or the key is encrypted.
    InvalidKeyPair: ReferencesResolved False, Terminal, Misconfigured;
    /// The gateway that the connection names does not exist in its namespace.
    GatewayNotFound: ReferencesResolved False, Persistent, Misconfigured;
    /// The spec of the gateway breaks a rule that the installed CRD did not enforce.
    InvalidGateway: ReferencesResolved False, Terminal, Misconfigured;
    /// Kubernetes does not allow the operator to read the object.
    ReadForbidden: ReferencesResolved False, Persistent, Misconfigured;

    /// A server responds at the address, with a trusted certificate.
    Answered: Reachable True, None, Connected;
    /// The operator's address policy does not allow this address.
    AddressNotAllowed: Reachable False, Terminal, Misconfigured;
    /// The URL is http://, and the operator was not started with --allow-plain-http.
    PlainHttpNotAllowed: Reachable False, Terminal, Misconfigured;
    /// The host name does not resolve to an address.
    NameNotResolved: Reachable False, Transient, Unreachable;
    /// Nothing listens on the port.
    ConnectionRefused: Reachable False, Transient, Unreachable;
    /// The connection failed, or was closed before a response.
    ConnectionFailed: Reachable False, Transient, Unreachable;
    /// There was no response within `spec.check.timeout`.
    Timeout: Reachable False, Transient, Unreachable;
    /// The operator itself lacks file descriptors, memory or local ports for another connection.
    OperatorOutOfResources: Reachable Unknown, Transient, Unknown;
    /// The certificate is signed by a CA that the connection does not trust, or is self-signed.
    UnknownAuthority: Reachable False, Persistent, Unreachable;
    /// The CA certificate in the connection's CA bundle has expired or is not valid yet.
    AuthorityExpired: Reachable False, Persistent, Unreachable;
    /// The server's certificate, or that of an intermediate CA, has expired or is not valid yet.
    CertificateExpired: Reachable False, Persistent, Unreachable;
    /// A certificate has a weak or unknown key or signature, is not for servers, or breaks a rule of its CA.
    CertificateNotAcceptable: Reachable False, Persistent, Unreachable;
    /// The certificate is for a different name.
    CertificateNameMismatch: Reachable False, Persistent, Unreachable;
    /// The server does not speak TLS, for example because it is a plain HTTP port.
    NotTls: Reachable False, Persistent, Unreachable;
    /// The server requires a client certificate, and the connection names none.
    ClientCertificateRequired: Reachable False, Terminal, Misconfigured;
    /// The server rejected the client certificate.
    ClientCertificateRejected: Reachable False, Terminal, Rejected;
    /// The client certificate has expired or is not valid yet.
    ClientCertificateExpired: Reachable False, Terminal, Rejected;
    /// The TLS handshake failed for another reason, such as a version that is too old, or no shared cipher suite.
    TlsFailed: Reachable False, Persistent, Unreachable;
    /// No endpoint of the gateway can be reached.
    GatewayUnreachable: Reachable False, Transient, Unreachable;
    /// The server at the endpoint is not a proxy of its scheme.
    NotProxy: Reachable False, Persistent, Misconfigured;
    /// The proxy rejected the login, or requires one.
    GatewayLoginRefused: Reachable False, Terminal, Misconfigured;
    /// The proxy did not connect to the instance: it does not allow it, or could not.
    GatewayRefusesTarget: Reachable False, Transient, Unreachable;

    /// An active node responds.
    Active: ServerReady True, None, Connected;
    /// A standby node responds. It forwards requests to the active node.
    Standby: ServerReady True, None, Connected;
    /// A performance standby responds.
    PerformanceStandby: ServerReady True, None, Connected;
    /// `sys/health` is blocked for the operator, but Vault answers other requests.
    HealthNotReadable: ServerReady True, None, Connected;
    /// The instance is sealed.
    Sealed: ServerReady False, Persistent, Sealed;
    /// The instance is not initialized.
    NotInitialized: ServerReady False, Persistent, Sealed;
    /// The node belongs to a disaster recovery secondary, which serves no logins.
    DisasterRecoverySecondary: ServerReady False, Persistent, Unreachable;
    /// The standby node has lost its active node.
    StandbyDisconnected: ServerReady False, Transient, Unreachable;
    /// The node is a standby that could not forward the request to an active node.
    NoActiveNode: ServerReady False, Transient, Unreachable;
    /// The node was removed from its cluster.
    NodeRemoved: ServerReady False, Persistent, Unreachable;
    /// The server is not Vault.
    NotVault: ServerReady False, Persistent, Misconfigured;
    /// The URL is http://, and the port speaks TLS or redirects to https.
    HttpsRequired: ServerReady False, Persistent, Misconfigured;
    /// Vault's listener accepts only requests with the header `X-Forwarded-For`, which a proxy in front of it must add.
    ForwardedForRequired: ServerReady False, Persistent, Misconfigured;
    /// The server redirects to another address. The operator does not follow redirects.
    Redirected: ServerReady False, Persistent, Misconfigured;
    /// The server reports an internal error.
    ServerError: ServerReady False, Transient, Unreachable;
    /// The server limits requests: a rate limit or a quota.
    RateLimited: ServerReady Unknown, Transient, Unknown;

    /// Vault accepted the login, and a request with its token succeeded.
    SelfCheckPassed: Authenticated True, None, Connected;
    /// Vault rejected the credentials: role ID and secret ID, user name and password, or client certificate.
    InvalidCredentials: Authenticated False, Terminal, Rejected;
    /// The wrapping token cannot be unwrapped: it was already unwrapped, has expired, or is not a wrapping token.
    WrappingTokenSpent: Authenticated False, Terminal, Rejected;
    /// The wrapping token does not contain a secret ID of this mount. It was not unwrapped.
    WrappingTokenForeign: Authenticated False, Terminal, Rejected;
    /// A firewall or proxy in front of Vault answered the request in its place.
    RequestBlocked: Authenticated False, Persistent, Misconfigured;
    /// The role or the secret ID is bound to other source addresses.
    SourceAddressDenied: Authenticated False, Terminal, Rejected;
    /// Vault denied the login: no such mount, a locked role or user, or a source address that is not allowed.
    LoginDenied: Authenticated False, Terminal, Rejected;
    /// Vault denied the login without a reason, possibly because it could not verify the token.
    LoginUnverified: Authenticated False, Persistent, Rejected;
    /// The auth method has no such role.
    RoleNotFound: Authenticated False, Terminal, Misconfigured;
    /// The role is for another kind of login.
    RoleTypeMismatch: Authenticated False, Terminal, Misconfigured;
    /// The role is not for this ServiceAccount, these claims or this certificate.
    IdentityNotAuthorized: Authenticated False, Terminal, Rejected;
    /// The token is not for an audience that the role accepts.
    AudienceMismatch: Authenticated False, Terminal, Rejected;
    /// The JWT has expired or is not valid yet.
    JwtExpired: Authenticated False, Terminal, Rejected;
    /// None of Vault's keys verifies the JWT.
    JwtRejected: Authenticated False, Terminal, Rejected;
    /// The auth method is mounted, but has no configuration.
    AuthMethodNotConfigured: Authenticated False, Persistent, Misconfigured;
    /// Vault received no client certificate.
    ClientCertificateNotSeen: Authenticated False, Terminal, Misconfigured;
    /// Vault cannot reach its LDAP directory.
    DirectoryUnavailable: Authenticated False, Transient, Unreachable;
    /// There is no auth method at the mount.
    MountNotFound: Authenticated False, Terminal, Misconfigured;
    /// The Vault namespace does not exist.
    NamespaceNotFound: Authenticated False, Terminal, Misconfigured;
    /// The token belongs to a Vault namespace other than `spec.namespace`, and has no permissions there.
    TokenNamespaceMismatch: Authenticated False, Terminal, Misconfigured;
    /// The login requires a second factor, which the operator cannot provide.
    MfaRequired: Authenticated False, Terminal, Rejected;
    /// Vault rejected the token: it is wrong, expired, revoked, or used up.
    TokenRejected: Authenticated False, Terminal, Rejected;
    /// The token has too few uses for a check. Looking it up may have consumed the last one.
    TokenUsesSpent: Authenticated False, Terminal, Rejected;
    /// Vault accepted the login, but the token may not even look itself up.
    TokenUnusable: Authenticated False, Terminal, Rejected;
    /// Vault recently rejected logins of this role; the operator waits so that Vault does not lock it.
    LoginBudgetSpent: Authenticated Unknown, Persistent, Unknown;
    /// The login waited for other logins at the instance until `spec.check.timeout` had passed.
    LoginQueued: Authenticated Unknown, Transient, Unknown;
    /// Vault gave an undocumented response.
    UnexpectedAnswer: Authenticated Unknown, Persistent, Unknown;

    /// The login has all capabilities that `spec.require` lists.
    CapabilitiesGranted: Authorized True, None, Connected;
    /// `spec.require` is not set, so no permissions are required.
    NothingRequired: Authorized True, None, Connected;
    /// The login lacks capabilities that `spec.require` lists.
    MissingCapabilities: Authorized False, Terminal, Denied;
    /// No secrets engine is mounted at `spec.require.secretSync.mount`.
    SecretsMountNotFound: Authorized False, Terminal, Misconfigured;
    /// The secrets engine that `spec.require.secretSync` names is not a KV engine.
    NotKv: Authorized False, Terminal, Misconfigured;
    /// The KV engine that `spec.require.secretSync` names has another version.
    KvVersionMismatch: Authorized False, Terminal, Misconfigured;

    /// The token that you provided expires within 7 days, or within the last third of a shorter lifetime, and cannot be renewed further.
    TokenExpiring: CredentialsExpiring True, None, Connected;
    /// The secret ID expires within 7 days, or within the last third of a shorter lifetime.
    SecretIdExpiring: CredentialsExpiring True, None, Connected;
    /// A certificate in the TLS chain of the instance, its own or that of a CA, expires within 14 days.
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
