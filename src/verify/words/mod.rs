//! The reason and the message of each fault: what failed, for which object, and what to do.
//!
//! No message holds a value, a body, a URL query or a time: equal faults have equal messages, so that an unchanged
//! status is not written again.

mod engine;
mod reference;
mod slip;
mod transport;

use std::collections::BTreeMap;

pub(super) use self::{reference::of_reference, transport::of_endpoint};
use super::observation::{Fault, Observation};
use crate::{
    api::{
        condition::Reason,
        connection::Verb,
        desired::{Desired, Method},
    },
    vault::{answer::ServerFault, login::LoginFault, token::SelfFault, wrapping::WrapFault},
};

/// The reason and the message of the fault that a check saw. A refused credential has a hint, if its value gives one.
pub(super) fn of_observation(seen: &Observation, desired: &Desired) -> Option<(Reason, String)> {
    let fault = seen.fault.as_ref()?;
    let (reason, message) = of_fault(fault, desired);
    let hint = seen.suspicion.as_ref().filter(|_| is_a_refusal(fault));
    Some((reason, hint.map_or(message.clone(), |hint| format!("{message}. {}", slip::suspected(hint)))))
}

/// Whether a fault says that the credential is wrong.
fn is_a_refusal(fault: &Fault) -> bool {
    match fault {
        Fault::Login(LoginFault::InvalidCredentials)
        | Fault::Own(SelfFault::Rejected)
        | Fault::Wrapping(WrapFault::Spent) => true,
        Fault::Overdue
        | Fault::Reference(_)
        | Fault::Transport(_)
        | Fault::Server(_)
        | Fault::Login(_)
        | Fault::Wrapping(_)
        | Fault::Own(_)
        | Fault::BudgetSpent
        | Fault::LoginQueued
        | Fault::Missing(_)
        | Fault::Engine(_) => false,
    }
}

/// The reason and the message of a fault.
pub(super) fn of_fault(fault: &Fault, desired: &Desired) -> (Reason, String) {
    match fault {
        Fault::Overdue => (
            Reason::CheckOverdue,
            "no check could be made in time, so nobody knows whether the login still works: the operator or the Kubernetes API is overloaded; raise spec.check.interval, or ask those who run the operator to raise --concurrency".to_owned(),
        ),
        Fault::Reference(fault) => of_reference(fault),
        Fault::Transport(fault) => transport::of_transport(fault, desired),
        Fault::Server(fault) => of_server(fault, desired),
        Fault::Login(fault) => of_login(fault, desired),
        Fault::Wrapping(fault) => of_wrapping(fault, desired),
        Fault::Own(fault) => of_own_token(fault, desired),
        Fault::BudgetSpent => (
            Reason::LoginBudgetSpent,
            "logins of this role were refused lately: the operator waits until status.nextLoginTime, so that Vault does not lock the role; mend what spec.auth.appRole names here, and in the other connections that use the role".to_owned(),
        ),
        Fault::LoginQueued => (
            Reason::LoginQueued,
            "other logins at this instance were before this one until spec.check.timeout was up: raise it, or ask those who run the operator to raise --logins-per-second".to_owned(),
        ),
        Fault::Missing(missing) => (
            Reason::MissingCapabilities,
            format!(
                "the login works but lacks {}: extend the policies of its role or token",
                capabilities(missing)
            ),
        ),
        Fault::Engine(fault) => engine::of_engine(fault, desired),
    }
}

fn of_server(fault: &ServerFault, desired: &Desired) -> (Reason, String) {
    let instance = &desired.target.instance;
    match fault {
        ServerFault::NotVault { status } => (
            Reason::NotVault,
            format!(
                "what answers at {instance} (HTTP {status}) does not speak Vault's API: check host, port and path prefix in spec.instanceUrl"
            ),
        ),
        ServerFault::Redirected { host } => (
            Reason::Redirected,
            format!(
                "{instance} redirects to {}; nothing is sent there: write the address that serves requests itself into spec.instanceUrl",
                host.as_deref().unwrap_or("an address that does not parse")
            ),
        ),
        ServerFault::Sealed => (
            Reason::Sealed,
            format!("the instance at {instance} is sealed: unseal it (vault operator unseal)"),
        ),
        ServerFault::NotInitialized => (
            Reason::NotInitialized,
            format!("the instance at {instance} is not initialized: initialize it (vault operator init)"),
        ),
        ServerFault::DisasterRecoverySecondary => (
            Reason::DisasterRecoverySecondary,
            format!(
                "{instance} belongs to a disaster recovery secondary, which serves no logins: write the address of the primary into spec.instanceUrl"
            ),
        ),
        ServerFault::StandbyDisconnected => (
            Reason::StandbyDisconnected,
            format!(
                "the standby node at {instance} has lost its active node: look at the state of the cluster"
            ),
        ),
        ServerFault::NodeRemoved => (
            Reason::NodeRemoved,
            format!(
                "the node at {instance} was removed from its cluster: write the address of another node into spec.instanceUrl"
            ),
        ),
        ServerFault::RateLimited { .. } => (
            Reason::RateLimited,
            format!("{instance} asks to wait (HTTP 429): look at the rate limits and quotas of the instance"),
        ),
        ServerFault::ServerError { status, .. } => (
            Reason::ServerError,
            format!(
                "{instance} fails with HTTP {status}: look at the log of the instance, and of what stands before it"
            ),
        ),
    }
}

fn of_login(fault: &LoginFault, desired: &Desired) -> (Reason, String) {
    let path = login_path(desired);
    match fault {
        LoginFault::InvalidCredentials => (
            Reason::InvalidCredentials,
            format!(
                "Vault accepts no such pair of role id and secret id at {path}: put a valid pair into what spec.auth.appRole names, and look at the mount, the Vault namespace and the secret id's bound addresses; a change is tried at once, the same pair not before status.nextLoginTime"
            ),
        ),
        LoginFault::Denied => (
            Reason::LoginDenied,
            format!(
                "Vault denies the login at {path}: there is no AppRole method at this mount (spec.auth.appRole.mount), the role is locked after failed logins, or it may not log in from this address"
            ),
        ),
        LoginFault::MountNotFound => (
            Reason::MountNotFound,
            format!("there is no auth method at {path}: correct spec.auth.appRole.mount (vault auth list)"),
        ),
        LoginFault::NamespaceNotFound => namespace_not_found(desired),
        LoginFault::MfaRequired => (
            Reason::MfaRequired,
            format!(
                "the login at {path} asks for a second factor, which the operator cannot give: exempt this role"
            ),
        ),
        LoginFault::Server(fault) => of_server(fault, desired),
        LoginFault::Unexpected { status } => unexpected(&path, *status),
    }
}

fn of_wrapping(fault: &WrapFault, desired: &Desired) -> (Reason, String) {
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
        WrapFault::Server(fault) => of_server(fault, desired),
        WrapFault::Unexpected { status } => unexpected("sys/wrapping", *status),
    }
}

fn of_own_token(fault: &SelfFault, desired: &Desired) -> (Reason, String) {
    let path = if desired.require.is_empty() { "auth/token/lookup-self" } else { "sys/capabilities-self" };
    match (fault, &desired.target.method) {
        (SelfFault::Rejected, Method::Token(secret)) => (
            Reason::TokenRejected,
            format!("Vault does not accept the token under key {:?} in Secret {:?}: it is wrong, expired, revoked, used up, or bound to other addresses; put a valid one there", secret.key, secret.name),
        ),
        (SelfFault::Rejected, Method::AppRole { .. }) => (
            Reason::TokenUnusable,
            "Vault accepts the login but not its token: the role's token_bound_cidrs probably exclude this address; the next login is at status.nextLoginTime, or when you ask".to_owned(),
        ),
        (SelfFault::NotPermitted, _) => (
            Reason::TokenUnusable,
            format!("the login may not use {path}: give its role or token the policy `default`"),
        ),
        (SelfFault::NamespaceNotFound, _) => namespace_not_found(desired),
        (SelfFault::Server(fault), _) => of_server(fault, desired),
        (SelfFault::Unexpected { status }, _) => unexpected(path, *status),
    }
}

fn namespace_not_found(desired: &Desired) -> (Reason, String) {
    let namespace = desired.target.namespace.as_ref().map_or("root", |namespace| namespace.as_str());
    (
        Reason::NamespaceNotFound,
        format!(
            "the instance has no Vault namespace {namespace:?}: correct spec.namespace (vault namespace list)"
        ),
    )
}

fn unexpected(path: &str, status: u16) -> (Reason, String) {
    (
        Reason::UnexpectedAnswer,
        format!(
            "Vault answers {path} with HTTP {status}, which its documentation does not name: look at its log"
        ),
    )
}

/// The path that the method logs in at, as Vault's audit log shows it.
fn login_path(desired: &Desired) -> String {
    let path = match &desired.target.method {
        Method::AppRole { mount, .. } => format!("auth/{}/login", mount.as_str()),
        Method::Token(_) => "auth/token/lookup-self".to_owned(),
    };
    match &desired.target.namespace {
        Some(namespace) => format!("{path} in namespace {:?}", namespace.as_str()),
        None => path,
    }
}

/// `create, read on "kv/data/*"; read on "sys/mounts"`
fn capabilities(missing: &BTreeMap<String, Vec<Verb>>) -> String {
    let on_path = |(path, verbs): (&String, &Vec<Verb>)| {
        let verbs: Vec<_> = verbs.iter().map(|verb| verb.as_str()).collect();
        format!("{} on {path:?}", verbs.join(", "))
    };
    missing.iter().map(on_path).collect::<Vec<_>>().join("; ")
}

fn seconds(desired: &Desired) -> String {
    format!("{} s", desired.timeout.as_secs_f64())
}
