//! What Vault says of a login, and of the token that it gave.

use super::{login_path, request};
use crate::{
    api::condition::Reason,
    auth::{LoginFault, Names, Purpose},
    spec::Desired,
    vault::{Operation, token::SelfFault, wrapping::WrapFault},
    verify::observation::Asked,
};

/// The reason and the message of a login. What only some methods meet is explained in their files.
pub(super) fn of_login(fault: &LoginFault, desired: &Desired) -> (Reason, String) {
    let at = request(Operation::Login, desired);
    let method = &desired.target.method;
    let explained = || method.explain(fault, &at).unwrap_or_else(|| method.denied(&at));
    match fault {
        LoginFault::Denied => (Reason::LoginDenied, slip(desired).unwrap_or_default() + &method.denied(&at)),
        LoginFault::MountNotFound => {
            let Names { title, field, .. } = method.names();
            (
                Reason::MountNotFound,
                format!(
                    "There is no {title} auth method at {}. Correct {field}.mount; `vault auth list` shows the mounts.",
                    login_path(desired)
                ),
            )
        }
        LoginFault::NamespaceNotFound => namespace_not_found(desired),
        LoginFault::MfaRequired => (
            Reason::MfaRequired,
            format!(
                "Vault requires a second factor at {at}, which the operator cannot provide. Exempt this role from MFA."
            ),
        ),
        LoginFault::Unexpected { status } => unexpected(Operation::Login, *status, desired),
        LoginFault::InvalidCredentials => (Reason::InvalidCredentials, explained()),
        LoginFault::Unverified => (Reason::LoginUnverified, explained()),
        LoginFault::RoleNotFound => (Reason::RoleNotFound, explained()),
        LoginFault::RoleTypeMismatch => (Reason::RoleTypeMismatch, explained()),
        LoginFault::NotAuthorized => (Reason::IdentityNotAuthorized, explained()),
        LoginFault::AudienceMismatch => (Reason::AudienceMismatch, explained()),
        LoginFault::Expired => (Reason::JwtExpired, explained()),
        LoginFault::NotAccepted => (Reason::JwtRejected, explained()),
        LoginFault::NotConfigured => (Reason::AuthMethodNotConfigured, explained()),
        LoginFault::CertificateNotSeen => (Reason::ClientCertificateNotSeen, explained()),
        LoginFault::CertificateExpired => (Reason::ClientCertificateExpired, explained()),
        LoginFault::DirectoryUnavailable => (Reason::DirectoryUnavailable, explained()),
        LoginFault::SourceAddress => (Reason::SourceAddressDenied, explained()),
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
        let field = method.names().field;
        format!("Remove auth/ from {field}.mount, unless the mount is really at auth/{mount}. ")
    })
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
