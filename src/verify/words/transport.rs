//! Why no answer came, from the instance or from a gateway on the way.

use super::seconds;
use crate::{
    api::{condition::Reason, desired::Desired},
    refs::ObjectName,
    vault::transport::{EndpointFault, EndpointProblem, TlsFault, TransportFault},
};

/// The reason and the message of a connection.
pub(super) fn of_transport(fault: &TransportFault, desired: &Desired) -> (Reason, String) {
    let instance = &desired.target.instance;
    let host = instance.host();
    let asked = format!("{host}:{}", instance.port());
    let address = match &desired.target.gateway {
        Some(gateway) => format!("{asked} (through {})", ObjectName::gateway(gateway)),
        None => asked.clone(),
    };
    match fault {
        TransportFault::NotAllowed(refusal) => (
            Reason::AddressNotAllowed,
            format!("{address} may not be dialled: {refusal}"),
        ),
        TransportFault::PlainHttp => (
            Reason::PlainHttpNotAllowed,
            "spec.instanceUrl is http://, which sends credentials unencrypted: write https://, or ask those who run the operator for --allow-plain-http".to_owned(),
        ),
        TransportFault::NameNotResolved => (
            Reason::NameNotResolved,
            match &desired.target.gateway {
                Some(gateway) => format!(
                    "the name {host} has no address: correct spec.instanceUrl or the name's DNS record; an endpoint with socks5:// of {} leaves that to the operator, one with socks5h:// to the proxy",
                    ObjectName::gateway(gateway)
                ),
                None => format!("the name {host} has no address: correct spec.instanceUrl or the name's DNS record"),
            },
        ),
        TransportFault::Refused => (
            Reason::ConnectionRefused,
            format!("{address} refused the connection: check that Vault runs and listens on this port"),
        ),
        TransportFault::Failed => (
            Reason::ConnectionFailed,
            format!("the connection to {address} could not be made or broke: check the network, firewalls and load balancers on the way"),
        ),
        TransportFault::TimedOut => (
            Reason::Timeout,
            format!("{address} gave no answer in time (spec.check.timeout is {}): check the way to it, such as firewalls that drop packets, or raise that time", seconds(desired)),
        ),
        TransportFault::Tls(fault) => of_tls(*fault, &address, desired),
        TransportFault::Gateway(EndpointFault { endpoint, problem }) => {
            let gateway = ObjectName::gateway(desired.target.gateway.as_deref().unwrap_or_default());
            let (reason, message) = of_endpoint(endpoint, problem, Some(&asked));
            (reason, format!("{gateway}: {message}"))
        }
    }
}

fn of_tls(fault: TlsFault, address: &str, desired: &Desired) -> (Reason, String) {
    let tls = &desired.target.tls;
    match fault {
        TlsFault::UnknownAuthority => (
            Reason::UnknownAuthority,
            format!(
                "the certificate of {address} is signed by a CA that this connection does not trust: put the certificate of that CA into spec.tls.caBundle"
            ),
        ),
        TlsFault::Expired => (
            Reason::CertificateExpired,
            format!(
                "the certificate of {address} has expired or is not valid yet: renew it, or correct the clocks"
            ),
        ),
        TlsFault::WrongName => {
            let host = desired.target.instance.host().to_string();
            let (name, field) = match &tls.server_name {
                Some(name) => (name.as_str(), "spec.tls.serverName"),
                None => (host.as_str(), "spec.instanceUrl (or spec.tls.serverName)"),
            };
            (
                Reason::CertificateNameMismatch,
                format!(
                    "the certificate of {address} is not for the name {name}: write a name into {field} that the certificate lists"
                ),
            )
        }
        TlsFault::ClientCertificate if tls.client_certificate.is_none() => (
            Reason::ClientCertificateRequired,
            format!(
                "{address} asks for a client certificate: name a Secret with one in spec.tls.clientCertificate"
            ),
        ),
        TlsFault::ClientCertificate => (
            Reason::ClientCertificateRejected,
            format!(
                "{address} does not accept the client certificate that spec.tls.clientCertificate names: put one there that is signed by a CA which this server trusts for clients, and in its time"
            ),
        ),
        TlsFault::NotTls => (
            Reason::NotTls,
            format!(
                "{address} does not speak TLS: check the port, and whether Vault has TLS switched off there"
            ),
        ),
        TlsFault::Other => (
            Reason::TlsFailed,
            format!(
                "the TLS handshake with {address} failed: check which TLS versions it speaks (1.2 or 1.3 is needed) and whether it demands a client certificate (spec.tls.clientCertificate)"
            ),
        ),
    }
}

/// The reason and the message of an endpoint of a gateway. `target` is what a connection asked it for.
pub(in crate::verify) fn of_endpoint(
    endpoint: &str,
    problem: &EndpointProblem,
    target: Option<&str>,
) -> (Reason, String) {
    let fault = match problem {
        EndpointProblem::Unreachable(fault) => fault,
        EndpointProblem::LoginRefused => {
            return (
                Reason::GatewayLoginRefused,
                format!(
                    "{endpoint} does not accept the login, or asks for one: mend the Secret that `credentials` of this endpoint names, or name one there"
                ),
            );
        }
        EndpointProblem::TargetRefused => {
            let target = target.unwrap_or("any address");
            return (
                Reason::GatewayRefusesTarget,
                format!(
                    "{endpoint} makes no connection to {target}: check that the proxy allows it, and that the instance runs and can be reached from there"
                ),
            );
        }
        EndpointProblem::NotProxy => {
            return (
                Reason::NotProxy,
                format!("what answers at {endpoint} is no such proxy: check the scheme and the port"),
            );
        }
    };
    let unreachable = |what: &str| (Reason::GatewayUnreachable, format!("{endpoint} {what}"));
    match &**fault {
        TransportFault::NotAllowed(refusal) => {
            (Reason::AddressNotAllowed, format!("{endpoint} may not be dialled: {refusal}"))
        }
        TransportFault::NameNotResolved => {
            unreachable("has a name without an address: correct the url or the name's DNS record")
        }
        TransportFault::Refused => {
            unreachable("refused the connection: check that the proxy runs and listens on this port")
        }
        TransportFault::TimedOut => unreachable("gave no answer in time: check the proxy and the way to it"),
        TransportFault::Tls(TlsFault::UnknownAuthority) => unreachable(
            "shows a certificate of a CA that is not trusted: put the certificate of that CA into tls.caBundle of this endpoint",
        ),
        TransportFault::Tls(TlsFault::Expired) => {
            unreachable("shows a certificate that has expired or is not valid yet: renew it")
        }
        TransportFault::Tls(TlsFault::WrongName) => unreachable(
            "shows a certificate for another name: write that name into tls.serverName of this endpoint",
        ),
        TransportFault::Tls(TlsFault::ClientCertificate) => unreachable(
            "asks for a client certificate, or does not accept the one that it got: mend tls.clientCertificate of this endpoint",
        ),
        TransportFault::Tls(TlsFault::NotTls) => {
            unreachable("does not speak TLS: check the port, or write http:// in its url")
        }
        TransportFault::Tls(TlsFault::Other) => unreachable(
            "failed in the TLS handshake: check which TLS versions it speaks (1.2 or 1.3 is needed)",
        ),
        // The others cannot come from a proxy.
        TransportFault::Failed | TransportFault::PlainHttp | TransportFault::Gateway(_) => {
            unreachable("cannot be reached, or ended the connection: check the proxy and the way to it")
        }
    }
}
