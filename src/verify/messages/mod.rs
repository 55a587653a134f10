//! The reason and the message of each fault: what failed, for which object, and what to do.
//!
//! No message holds a value, a body, a URL query or a time: equal faults have equal messages, so that an unchanged
//! status is not written again.

mod engine;
mod login;
mod reference;
mod server;
mod slip;
mod transport;

use std::collections::BTreeMap;

pub(super) use self::{reference::of_reference, transport::of_endpoint};
use super::observation::{Asked, Fault, Observation};
use crate::{
    api::{condition::Reason, connection::Verb},
    spec::Desired,
    vault::Operation,
};

/// The reason and the message of the fault that a check saw. A refused credential has a hint, if its value gives one.
pub(super) fn of_observation(seen: &Observation, desired: &Desired) -> Option<(Reason, String)> {
    let fault = seen.fault.as_ref()?;
    let (reason, message) = of_fault(fault, seen.asked, desired);
    let hint = seen.suspicion.as_ref().filter(|_| fault.refuses_credential());
    Some((reason, hint.map_or(message.clone(), |hint| format!("{message} {}", slip::suspected(hint)))))
}

/// The reason and the message of a fault that a check ended with after these requests.
pub(super) fn of_fault(fault: &Fault, asked: Asked, desired: &Desired) -> (Reason, String) {
    match fault {
        Fault::Overdue => (
            Reason::CheckOverdue,
            "No check completed in time, so it is unknown whether the login still works. Raise spec.check.interval, or ask the operator's administrator to raise --concurrency: the operator or the Kubernetes API is overloaded.".to_owned(),
        ),
        Fault::Reference(fault) => of_reference(fault),
        Fault::Transport(fault) => {
            let (reason, message) = transport::of_transport(fault, desired);
            match (asked.proven, asked.last) {
                // Something answered in this check, so that it matters which request got no answer.
                (Some(_), Some(at)) => (reason, format!("{}: {message}", request(at, desired))),
                (None, _) | (_, None) => (reason, message),
            }
        }
        Fault::Server(fault) => server::of_server(fault, asked, desired),
        Fault::Login(fault) => login::of_login(fault, desired),
        Fault::Wrapping(fault) => login::of_wrapping(fault, asked, desired),
        Fault::Own(fault) => login::of_own_token(fault, asked, desired),
        Fault::BudgetSpent => (
            Reason::LoginBudgetSpent,
            "No login was attempted: Vault recently rejected logins of this role, and one more could lock it. Fix the credentials in the connections that use this role; a changed Secret is tried immediately. The next attempt is at status.nextLoginTime.".to_owned(),
        ),
        Fault::LoginQueued => (
            Reason::LoginQueued,
            "No login was attempted: other logins to this instance were waiting until spec.check.timeout had passed. Raise spec.check.timeout, or ask the operator's administrator to raise --max-logins-per-second.".to_owned(),
        ),
        Fault::Missing(missing) => (
            Reason::MissingCapabilities,
            format!(
                "The login works, but lacks these capabilities: {}. Add them to a policy of its role or token.",
                capabilities(missing)
            ),
        ),
        Fault::Engine(fault) => engine::of_engine(fault, desired),
    }
}

/// A request, as people find it in Vault's audit log and in that of a proxy.
fn request(at: Operation, desired: &Desired) -> String {
    let request = at.request(&login_path(desired));
    match &desired.target.namespace {
        Some(namespace) if !at.is_root_only() => format!("{request} in namespace {:?}", namespace.as_str()),
        Some(_) | None => request,
    }
}

/// The path that the method logs in at.
fn login_path(desired: &Desired) -> String {
    desired.target.method.path()
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
