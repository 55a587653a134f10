//! What Vault says of a login, and of the token that it gave.

use super::{login_path, request};
use crate::{
    api::condition::Reason,
    auth::{LoginFault, Purpose},
    spec::Desired,
    vault::{Operation, token::SelfFault, wrapping::WrapFault},
    verify::observation::Asked,
};

/// The reason and the message of a login.
pub(super) fn of_login(fault: &LoginFault, desired: &Desired) -> (Reason, String) {
    let at = request(Operation::Login, desired);
    let method = &desired.target.method;
    match fault {
        LoginFault::InvalidCredentials => (Reason::InvalidCredentials, method.invalid_credentials(&at)),
        LoginFault::SourceAddress => (Reason::SourceAddressDenied, method.source_address(&at)),
        LoginFault::Denied => (Reason::LoginDenied, method.denied(&at)),
        LoginFault::Unverified => (Reason::LoginUnverified, method.unverified(&at)),
        LoginFault::NotAccepted => (Reason::JwtRejected, method.invalid_credentials(&at)),
        LoginFault::RoleNotFound
        | LoginFault::RoleTypeMismatch
        | LoginFault::NotAuthorized
        | LoginFault::AudienceMismatch
        | LoginFault::Expired
        | LoginFault::NotConfigured
        | LoginFault::CertificateNotSeen
        | LoginFault::CertificateExpired
        | LoginFault::DirectoryUnavailable => of_role(fault, &at, desired),
        LoginFault::MountNotFound => (
            Reason::MountNotFound,
            format!(
                "there is no {} method at {}: correct {}.mount (vault auth list)",
                method.title(),
                login_path(desired),
                method.field()
            ),
        ),
        LoginFault::NamespaceNotFound => namespace_not_found(desired),
        LoginFault::MfaRequired => (
            Reason::MfaRequired,
            format!("{at} asks for a second factor, which the operator cannot give: exempt this role"),
        ),
        LoginFault::Unexpected { status } => unexpected(Operation::Login, *status, desired),
    }
}

/// The reason and the message of a login that fails by its role, its identity or its method.
fn of_role(fault: &LoginFault, at: &str, desired: &Desired) -> (Reason, String) {
    let method = &desired.target.method;
    let (title, field) = (method.title(), method.field());
    let role = method.role().map_or_else(|| "the role".to_owned(), |role| format!("the role {role:?}"));
    match fault {
        LoginFault::RoleNotFound => (
            Reason::RoleNotFound,
            format!("{role} does not exist at {at}: correct {field}.role, or create it at that mount"),
        ),
        LoginFault::RoleTypeMismatch => (
            Reason::RoleTypeMismatch,
            format!("{role} at {at} is for logins by a browser: create one with role_type=jwt, and name it in {field}.role"),
        ),
        LoginFault::AudienceMismatch => (
            Reason::AudienceMismatch,
            format!("the token is not for an audience that {role} at {at} expects: make {field}.serviceAccountRef.audiences, or the JWT's `aud`, and the role's `audience` (Kubernetes) or `bound_audiences` (JWT) the same"),
        ),
        LoginFault::Expired => (
            Reason::JwtExpired,
            format!("Vault takes the JWT at {at} for expired or not valid yet: put a new one into what {field} names; if it is a token of a ServiceAccount, compare the clocks of Vault and of the cluster"),
        ),
        LoginFault::NotConfigured => (
            Reason::AuthMethodNotConfigured,
            format!("the {title} method at {at} is mounted but not configured: write its `config` (vault write auth/MOUNT/config ...)"),
        ),
        LoginFault::CertificateNotSeen => (
            Reason::ClientCertificateNotSeen,
            format!("Vault got no client certificate at {at}: its listener must not have tls_disable_client_certs, nothing between may end TLS (such as a load balancer), and spec.instanceUrl must begin with https://"),
        ),
        LoginFault::CertificateExpired => (
            Reason::ClientCertificateExpired,
            "the client certificate that spec.tls.clientCertificate names has expired or is not valid yet: renew it; if it is valid, compare the clocks of the operator and Vault".to_owned(),
        ),
        LoginFault::DirectoryUnavailable => (
            Reason::DirectoryUnavailable,
            format!("Vault cannot reach its directory at {at}: check `url` in the configuration of the {title} method, and the directory"),
        ),
        LoginFault::NotAuthorized
        | LoginFault::Unverified
        | LoginFault::NotAccepted
        | LoginFault::InvalidCredentials
        | LoginFault::Denied
        | LoginFault::SourceAddress
        | LoginFault::MountNotFound
        | LoginFault::NamespaceNotFound
        | LoginFault::MfaRequired
        | LoginFault::Unexpected { .. } => (
            Reason::IdentityNotAuthorized,
            format!("{role} at {at} is not for this identity: {}", method.not_authorized()),
        ),
    }
}

/// The reason and the message of a wrapping token.
pub(super) fn of_wrapping(fault: &WrapFault, asked: Asked, desired: &Desired) -> (Reason, String) {
    let field = desired.target.method.input(Purpose::WrappingToken).map_or("spec.auth", |input| input.field);
    match fault {
        WrapFault::Spent => (
            Reason::WrappingTokenSpent,
            format!(
                "the wrapping token that {field} names cannot be opened: it was opened before (by this operator until it restarted; by anybody else, that is a security incident) or has expired; put a new one there"
            ),
        ),
        WrapFault::OtherOrigin => (
            Reason::WrappingTokenForeign,
            format!(
                "the wrapping token that {field} names was not made by generating a secret id at this mount, and is not opened: find out who put it there, and put the right one there"
            ),
        ),
        WrapFault::NamespaceNotFound => namespace_not_found(desired),
        WrapFault::Server(fault) => super::server::of_server(fault, asked, desired),
        WrapFault::Unexpected { status } => {
            unexpected(asked.last.unwrap_or(Operation::WrappingLookup), *status, desired)
        }
    }
}

/// The reason and the message of a token.
pub(super) fn of_own_token(fault: &SelfFault, asked: Asked, desired: &Desired) -> (Reason, String) {
    let method = &desired.target.method;
    let (rejected, used_up) = match method.given_token() {
        Some(_) => (Reason::TokenRejected, Reason::TokenUsesSpent),
        None => (Reason::TokenUnusable, Reason::TokenUnusable),
    };
    match fault {
        SelfFault::Rejected => (rejected, method.rejected_token()),
        SelfFault::UsedUp => (used_up, method.used_up_token(2 + usize::from(!desired.require.is_empty()))),
        SelfFault::NotPermitted { at } => (
            Reason::TokenUnusable,
            format!(
                "the login may not use {}: give its role or token the policy `default` (Vault refused {})",
                at.path(&login_path(desired)),
                request(*at, desired)
            ),
        ),
        SelfFault::NamespaceNotFound => namespace_not_found(desired),
        SelfFault::NamespacesUnsupported => (
            Reason::NamespaceNotFound,
            format!(
                "the Vault at {} has no namespaces (they are in Vault Enterprise and OpenBao) and ignores the one that is named: remove spec.namespace, or correct spec.instanceUrl",
                desired.target.instance
            ),
        ),
        SelfFault::NamespaceMismatch { of } => namespace_mismatch(of.as_deref(), desired),
        SelfFault::Server(fault) => super::server::of_server(fault, asked, desired),
        SelfFault::Unexpected { at, status } => unexpected(*at, *status, desired),
    }
}

fn namespace_not_found(desired: &Desired) -> (Reason, String) {
    (
        Reason::NamespaceNotFound,
        format!(
            "the instance has no Vault namespace {:?}: correct spec.namespace (vault namespace list)",
            namespace(desired)
        ),
    )
}

/// `of` is the namespace of the token: none for the root namespace, empty for one that is not shown.
fn namespace_mismatch(of: Option<&str>, desired: &Desired) -> (Reason, String) {
    let (own, correct) = match of {
        None => ("the root namespace".to_owned(), "remove spec.namespace".to_owned()),
        Some("") => ("another Vault namespace".to_owned(), "correct spec.namespace".to_owned()),
        Some(own) => (format!("the Vault namespace {own:?}"), format!("set spec.namespace to {own:?}")),
    };
    let message = format!(
        "the token belongs to {own} and may do nothing in {:?}, which this connection is about: {correct}, or use a token of that namespace",
        namespace(desired)
    );
    (Reason::TokenNamespaceMismatch, message)
}

/// The namespace that the connection names.
fn namespace(desired: &Desired) -> &str {
    desired.target.namespace.as_ref().map_or("root", |namespace| namespace.as_str())
}

fn unexpected(at: Operation, status: u16, desired: &Desired) -> (Reason, String) {
    (
        Reason::UnexpectedAnswer,
        format!(
            "Vault answers {} with HTTP {status} and something that its documentation does not name: look at its log",
            request(at, desired)
        ),
    )
}
