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
        LoginFault::Denied => (Reason::LoginDenied, slip(desired).unwrap_or_default() + &method.denied(&at)),
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
                "There is no {} auth method at {}. Correct {}.mount; `vault auth list` shows the mounts.",
                method.title(),
                login_path(desired),
                method.field()
            ),
        ),
        LoginFault::NamespaceNotFound => namespace_not_found(desired),
        LoginFault::MfaRequired => (
            Reason::MfaRequired,
            format!(
                "Vault requires a second factor at {at}, which the operator cannot provide. Exempt this role from MFA."
            ),
        ),
        LoginFault::Unexpected { status } => unexpected(Operation::Login, *status, desired),
    }
}

/// What becomes of a token that may not even revoke itself.
const LEFT_IN_VAULT: &str = " The token cannot be revoked and stays in Vault until its TTL ends.";

/// A slip in the spec that Vault answers as it answers a locked role: a path that leads to nothing.
fn slip(desired: &Desired) -> Option<String> {
    let method = &desired.target.method;
    if desired.target.instance.as_str().ends_with("/v1") {
        return Some(
            "Remove /v1 from the end of spec.instanceUrl, since it is added to every request. ".to_owned(),
        );
    }
    let mount = method.mount()?.as_str();
    mount.starts_with("auth/").then(|| {
        let field = method.field();
        format!("Remove auth/ from {field}.mount, unless the mount is really at auth/{mount}. ")
    })
}

/// The reason and the message of a login that fails by its role, its identity or its method.
fn of_role(fault: &LoginFault, at: &str, desired: &Desired) -> (Reason, String) {
    let method = &desired.target.method;
    let (title, field) = (method.title(), method.field());
    let role = method.role().map_or_else(|| "the role".to_owned(), |role| format!("the role {role:?}"));
    match fault {
        LoginFault::RoleNotFound => (
            Reason::RoleNotFound,
            format!("Vault found no such role at {at}: {role}. Correct {field}.role, or create the role at that mount."),
        ),
        LoginFault::RoleTypeMismatch => (
            Reason::RoleTypeMismatch,
            format!("Vault accepts only browser logins for {role} at {at}. Create a role with role_type=jwt, and name it in {field}.role."),
        ),
        LoginFault::AudienceMismatch => (
            Reason::AudienceMismatch,
            format!("Vault rejected the token at {at}, because {role} expects another audience. Use the same audience in {field}.serviceAccountRef.audiences (or the JWT's `aud`) and in the role's `audience` (Kubernetes) or `bound_audiences` (JWT)."),
        ),
        LoginFault::Expired => (
            Reason::JwtExpired,
            format!("Vault rejected the JWT at {at}, because it has expired or is not valid yet. Store a new one in the Secret named in {field}; if it is a ServiceAccount's token, compare the clocks of Vault and the cluster."),
        ),
        LoginFault::NotConfigured => (
            Reason::AuthMethodNotConfigured,
            format!("The {title} auth method at {at} is mounted but not configured. Configure it with `vault write auth/MOUNT/config ...`."),
        ),
        LoginFault::CertificateNotSeen => (
            Reason::ClientCertificateNotSeen,
            format!("Vault received no client certificate at {at}. Use https:// in spec.instanceUrl, remove tls_disable_client_certs from Vault's listener, and do not terminate TLS in between, for example at a load balancer."),
        ),
        LoginFault::CertificateExpired => (
            Reason::ClientCertificateExpired,
            "The client certificate named in spec.tls.clientCertificate has expired or is not valid yet. Renew it; if it is valid, compare the clocks of the operator and Vault.".to_owned(),
        ),
        LoginFault::DirectoryUnavailable => (
            Reason::DirectoryUnavailable,
            format!("Vault could not reach the directory server for {at}. Check the directory server, and `url` in the configuration of the {title} auth method."),
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
            format!("Vault does not allow this identity to log in with {role} at {at}. {}", method.not_authorized()),
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
                "Vault cannot unwrap the wrapping token named in {field}: it has expired, or was already unwrapped. Store a new wrapping token there. If neither you nor this operator (before a restart) unwrapped it, this is a security incident."
            ),
        ),
        WrapFault::OtherOrigin => (
            Reason::WrappingTokenForeign,
            format!(
                "The wrapping token named in {field} was not created by generating a secret ID at this mount, so it was not unwrapped. Store the right one there, and find out who stored this one."
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
                "The login may not use {}. Add the policy `default` to its role or token; Vault denied {}.{}",
                at.path(&login_path(desired)),
                request(*at, desired),
                // A user's own token is never revoked, whatever it may do.
                if method.given_token().is_none() { LEFT_IN_VAULT } else { "" }
            ),
        ),
        SelfFault::NamespaceNotFound => namespace_not_found(desired),
        SelfFault::NamespacesUnsupported => (
            Reason::NamespaceNotFound,
            format!(
                "The Vault at {} has no namespaces (Vault Enterprise and OpenBao have) and ignores the one in spec.namespace. Remove spec.namespace, or correct spec.instanceUrl.",
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
            "The instance has no Vault namespace {:?}. Correct spec.namespace; `vault namespace list` shows the namespaces.",
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
        "The token belongs to {own} and has no permissions in the namespace {:?}, which this connection uses. To fix it, {correct}, or use a token of that namespace.",
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
            "Vault answered {} with HTTP {status} and an undocumented response. Check Vault's log.",
            request(at, desired)
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slip_that_vault_answers_like_a_lock_is_named_first() {
        let table = [
            ("https://vault.example.com", "approle", "Vault "),
            ("https://vault.example.com/v1", "approle", "Remove /v1 from the end of spec.instanceUrl"),
            ("https://vault.example.com/proxy/v1/", "approle", "Remove /v1 from the end of spec.instanceUrl"),
            (
                "https://vault.example.com",
                "auth/approle",
                "Remove auth/ from spec.auth.appRole.mount, unless",
            ),
            ("https://vault.example.com", "authentic", "Vault "),
        ];
        for (url, mount, begin) in table {
            let spec = json!({
                "instanceUrl": url,
                "auth": {"appRole": {
                    "mount": mount, "roleId": {"value": "role"}, "secretId": {"secretRef": {"name": "a", "key": "b"}},
                }},
            });
            let desired =
                Desired::parse(&serde_json::from_value(spec).expect("a spec")).expect("a valid one");
            let (reason, message) = of_login(&LoginFault::Denied, &desired);
            assert_eq!(reason, Reason::LoginDenied);
            assert!(message.starts_with(begin), "{url} {mount}: {message}");
            assert!(message.len() <= 512, "{message}");
        }
    }
}
