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
            format!(
                "{instance} wants TLS: write https:// into spec.instanceUrl, with the port that speaks it"
            ),
        ),
        ServerFault::ForwardedForRequired => (
            Reason::ForwardedForRequired,
            format!(
                "Vault refuses {at} at {instance}, since it has no X-Forwarded-For header that Vault trusts: write the address of the load balancer that adds it into spec.instanceUrl, or change x_forwarded_for_reject_not_present and x_forwarded_for_authorized_addrs in the listener block of Vault's configuration"
            ),
        ),
        ServerFault::Redirected { host } => (
            Reason::Redirected,
            format!(
                "{instance} redirects {at} to {}; nothing is sent there: write the address that serves requests itself into spec.instanceUrl",
                host.as_deref().unwrap_or("an address that does not parse")
            ),
        ),
        ServerFault::NoActiveNode { host } => {
            let active = host.as_deref().map(|host| format!(" (it names {host})")).unwrap_or_default();
            (
                Reason::NoActiveNode,
                format!(
                    "the node at {instance} is a standby that has no active node to hand {at} on to{active}, or does not forward requests: during an election this passes; if it stays, check the cluster (vault operator raft list-peers), or write the address of the active node or of a load balancer into spec.instanceUrl"
                ),
            )
        }
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
            format!(
                "{instance} answers {at} with HTTP 429 and asks to wait: look at the rate limits and quotas of the instance"
            ),
        ),
        ServerFault::ServerError { status, .. } => (
            Reason::ServerError,
            format!("Vault at {instance} answers {at} with HTTP {status}: look at the log of the instance"),
        ),
        ServerFault::ProxyError { status, .. } => (
            Reason::ServerError,
            format!(
                "what stands before Vault at {instance}, such as a load balancer, answers {at} with HTTP {status}: check that it has a healthy node behind it, and the log of the instance"
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
            "what answers {at} at {instance} (HTTP {status}) does not speak Vault's API: check host, port and path prefix in spec.instanceUrl, and whether a proxy or firewall on the way answers in Vault's place"
        );
        return (Reason::NotVault, message);
    }
    let advice = match status {
        405 => "let it pass this method",
        413 => "raise its limit for the size of a request",
        _ => "let it pass this request",
    };
    let message = format!(
        "something that stands before Vault at {instance}, such as a proxy or a firewall, answers {at} with HTTP {status} in Vault's place: {advice}"
    );
    (Reason::RequestBlocked, message)
}
