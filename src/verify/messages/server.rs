//! Why the server cannot serve us, or what stands before it.

use super::request;
use crate::{
    api::condition::{ConditionType, Reason},
    spec::Desired,
    vault::{Operation, answer::ServerFault},
    verify::observation::Asked,
};

/// The reason and the message of an answer to the last request that was asked.
pub(super) fn of_server(fault: &ServerFault, asked: Asked, desired: &Desired) -> (Reason, String) {
    let instance = &desired.target.instance;
    let at = request(asked.last.unwrap_or(Operation::Health), desired);
    match fault {
        ServerFault::NotVault { status } => not_vault(*status, asked, desired),
        ServerFault::HttpsRequired => (
            Reason::HttpsRequired,
            format!("{instance} requires TLS. Use https:// in spec.instanceUrl, with the TLS port."),
        ),
        ServerFault::ForwardedForRequired => (
            Reason::ForwardedForRequired,
            format!(
                "Vault at {instance} rejected {at}, because it has no X-Forwarded-For header that Vault trusts. Set spec.instanceUrl to the load balancer that adds the header, or change x_forwarded_for_reject_not_present and x_forwarded_for_authorized_addrs in the listener block of Vault's configuration."
            ),
        ),
        ServerFault::Redirected { host } => (
            Reason::Redirected,
            format!(
                "{instance} redirects {at} to {}, and the operator does not follow redirects. Set spec.instanceUrl to the address that serves requests itself.",
                host.as_deref().unwrap_or("an address that does not parse")
            ),
        ),
        ServerFault::NoActiveNode { host } => {
            let active = host.as_deref().map(|host| format!(" (it names {host})")).unwrap_or_default();
            (
                Reason::NoActiveNode,
                format!(
                    "The standby node at {instance} could not forward {at} to an active node{active}. During an election, wait. Otherwise, check the cluster with `vault operator raft list-peers`, or set spec.instanceUrl to the active node or a load balancer."
                ),
            )
        }
        ServerFault::Sealed => (
            Reason::Sealed,
            format!("The instance at {instance} is sealed. Unseal it with `vault operator unseal`."),
        ),
        ServerFault::NotInitialized => (
            Reason::NotInitialized,
            format!(
                "The instance at {instance} is not initialized. Initialize it with `vault operator init`."
            ),
        ),
        ServerFault::DisasterRecoverySecondary => (
            Reason::DisasterRecoverySecondary,
            format!(
                "{instance} belongs to a disaster recovery secondary, which does not accept logins. Set spec.instanceUrl to the primary."
            ),
        ),
        ServerFault::StandbyDisconnected => (
            Reason::StandbyDisconnected,
            format!(
                "The standby node at {instance} has lost its active node. Check the state of the Vault cluster."
            ),
        ),
        ServerFault::NodeRemoved => (
            Reason::NodeRemoved,
            format!(
                "The node at {instance} was removed from its cluster. Set spec.instanceUrl to another node."
            ),
        ),
        ServerFault::RateLimited { .. } => (
            Reason::RateLimited,
            format!(
                "{instance} answered {at} with HTTP 429 (too many requests). Check the rate limits and quotas of the instance."
            ),
        ),
        ServerFault::ServerError { status, .. } => (
            Reason::ServerError,
            format!("Vault at {instance} answered {at} with HTTP {status}. Check the log of the instance."),
        ),
        ServerFault::ProxyError { status, .. } => (
            Reason::ServerError,
            format!(
                "A load balancer or proxy in front of Vault at {instance} answered {at} with HTTP {status}. Check that it has a healthy Vault node behind it, and check the log of the instance."
            ),
        ),
    }
}

/// What is not Vault is another program, unless Vault has answered before it in the same check.
fn not_vault(status: u16, asked: Asked, desired: &Desired) -> (Reason, String) {
    let instance = &desired.target.instance;
    let at = request(asked.last.unwrap_or(Operation::Health), desired);
    // A success that is not Vault's, as it is cut off or a page, may be anybody's.
    if asked.proven < Some(ConditionType::ServerReady) || status < 300 {
        let message = format!(
            "The server at {instance} is not Vault: it answered {at} with HTTP {status} and a response that Vault does not send. Check the host, port and path prefix in spec.instanceUrl, and whether a proxy or firewall answers in place of Vault."
        );
        return (Reason::NotVault, message);
    }
    let advice = match status {
        405 => "Allow this HTTP method there",
        413 => "Raise its limit for the size of a request",
        _ => "Allow this request there",
    };
    let message = format!(
        "A proxy or firewall in front of Vault at {instance} answered {at} with HTTP {status} in place of Vault. {advice}."
    );
    (Reason::RequestBlocked, message)
}
