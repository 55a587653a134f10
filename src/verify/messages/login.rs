//! What Vault says of a login, and of the token that it gave.

use super::{login_path, request};
use crate::{
    api::condition::Reason,
    spec::{Desired, Method},
    vault::{Operation, login::LoginFault, token::SelfFault, wrapping::WrapFault},
    verify::observation::Asked,
};

/// The reason and the message of a login.
pub(super) fn of_login(fault: &LoginFault, asked: Asked, desired: &Desired) -> (Reason, String) {
    let at = request(Operation::Login, desired);
    match fault {
        LoginFault::InvalidCredentials => (
            Reason::InvalidCredentials,
            format!(
                "Vault rejected the role ID and secret ID at {at}: one is wrong, or the secret ID has expired, is used up or was destroyed; put a valid pair into what spec.auth.appRole names, and check the mount and the Vault namespace; a change is tried at once, the same pair not before status.nextLoginTime"
            ),
        ),
        LoginFault::SourceAddress => (
            Reason::SourceAddressDenied,
            format!(
                "Vault accepts the role ID and secret ID at {at}, but not from the address that the operator's requests come from: add it to secret_id_bound_cidrs of the role, or to cidr_list of the secret ID"
            ),
        ),
        LoginFault::Denied => (
            Reason::LoginDenied,
            format!(
                "Vault denies {at}: there is no AppRole method at this mount (spec.auth.appRole.mount), the role is locked after failed logins, or it may not log in from this address; when that is fixed, ask for a check (annotation appconnections.dev/requestedAt), or the next try is at status.nextLoginTime"
            ),
        ),
        LoginFault::MountNotFound => (
            Reason::MountNotFound,
            format!(
                "there is no AppRole method at {}: correct spec.auth.appRole.mount (vault auth list)",
                login_path(desired)
            ),
        ),
        LoginFault::NamespaceNotFound => namespace_not_found(desired),
        LoginFault::MfaRequired => (
            Reason::MfaRequired,
            format!("{at} asks for a second factor, which the operator cannot give: exempt this role"),
        ),
        LoginFault::Server(fault) => super::server::of_server(fault, asked, desired),
        LoginFault::Unexpected { status } => unexpected(Operation::Login, *status, desired),
    }
}

/// The reason and the message of a wrapping token.
pub(super) fn of_wrapping(fault: &WrapFault, asked: Asked, desired: &Desired) -> (Reason, String) {
    match fault {
        WrapFault::Spent => (
            Reason::WrappingTokenSpent,
            "the wrapping token that spec.auth.appRole.secretId names cannot be opened: it was opened before (by this operator until it restarted; by anybody else, that is a security incident) or has expired; put a new one there".to_owned(),
        ),
        WrapFault::OtherOrigin => (
            Reason::WrappingTokenForeign,
            "the wrapping token that spec.auth.appRole.secretId names was not made by generating a secret id at this mount, and is not opened: find out who put it there, and put the right one there".to_owned(),
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
    match (fault, &desired.target.method) {
        (SelfFault::Rejected, Method::Token(secret)) => (
            Reason::TokenRejected,
            format!("Vault does not accept the token under key {:?} in Secret {:?}: it is wrong, expired, revoked, used up, or bound to other addresses; put a valid one there", secret.key, secret.name),
        ),
        (SelfFault::UsedUp, Method::Token(secret)) => (
            Reason::TokenUsesSpent,
            format!("the token under key {:?} in Secret {:?} has too few uses for a check: put a token without a limit there, or one with at least {} uses (num_uses)", secret.key, secret.name, 2 + usize::from(!desired.require.is_empty())),
        ),
        (SelfFault::Rejected, Method::AppRole { .. }) => (
            Reason::TokenUnusable,
            "Vault accepts the login but not its token: the role's token_bound_cidrs probably exclude this address; the next login is at status.nextLoginTime, or when you ask".to_owned(),
        ),
        (SelfFault::UsedUp, Method::AppRole { .. }) => (
            Reason::TokenUnusable,
            "Vault accepts the login, but its token may not be used often enough for a check: raise token_num_uses of the role to at least 4, or set it to 0 (no limit)".to_owned(),
        ),
        (SelfFault::NotPermitted { at }, _) => (
            Reason::TokenUnusable,
            format!(
                "the login may not use {}: give its role or token the policy `default` (Vault refused {})",
                at.path(&login_path(desired)),
                request(*at, desired)
            ),
        ),
        (SelfFault::NamespaceNotFound, _) => namespace_not_found(desired),
        (SelfFault::NamespacesUnsupported, _) => (
            Reason::NamespaceNotFound,
            format!(
                "the Vault at {} has no namespaces (they are in Vault Enterprise and OpenBao) and ignores the one that is named: remove spec.namespace, or correct spec.instanceUrl",
                desired.target.instance
            ),
        ),
        (SelfFault::NamespaceMismatch { of }, _) => namespace_mismatch(of.as_deref(), desired),
        (SelfFault::Server(fault), _) => super::server::of_server(fault, asked, desired),
        (SelfFault::Unexpected { at, status }, _) => unexpected(*at, *status, desired),
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
