//! Why no answer came, from the instance or from a gateway on the way.

use super::seconds;
use crate::{
    api::condition::Reason,
    names::ObjectName,
    network::{
        chain::ChainPart,
        faults::{EndpointFault, EndpointProblem, Flaw, TlsFault, TransportFault},
    },
    references::certificate::Weakness,
    spec::Desired,
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
            format!("Connections to {address} are not allowed: {refusal}"),
        ),
        TransportFault::PlainHttp => (
            Reason::PlainHttpNotAllowed,
            "spec.instanceUrl begins with http://, which would send credentials unencrypted. Use https://, or ask the operator's administrator to set --allow-plain-http.".to_owned(),
        ),
        TransportFault::NameNotResolved => (
            Reason::NameNotResolved,
            match &desired.target.gateway {
                Some(gateway) => format!(
                    "The host name {host} does not resolve to an address. Correct spec.instanceUrl or the DNS record. With a socks5:// endpoint of {}, the operator resolves the name; with socks5h://, the proxy does.",
                    ObjectName::gateway(gateway)
                ),
                None => format!("The host name {host} does not resolve to an address. Correct spec.instanceUrl or the DNS record."),
            },
        ),
        TransportFault::Refused => (
            Reason::ConnectionRefused,
            format!("{address} refused the connection. Check that Vault is running and listening on this port."),
        ),
        TransportFault::Failed => (
            Reason::ConnectionFailed,
            format!("The connection to {address} failed or was closed before a response. Check the network, firewalls and load balancers in between."),
        ),
        TransportFault::TimedOut => (
            Reason::Timeout,
            format!("{address} did not respond within {} (spec.check.timeout). Check the network path, such as firewalls that drop packets, or raise spec.check.timeout.", seconds(desired)),
        ),
        TransportFault::OutOfResources => of_own_resources(&address),
        TransportFault::Tls(fault) => of_tls(fault, &address, desired),
        TransportFault::Gateway(EndpointFault { endpoint, problem }) => {
            let gateway = ObjectName::gateway(desired.target.gateway.as_deref().unwrap_or_default());
            let (reason, message) = of_endpoint(endpoint, problem, Some(&asked));
            (reason, format!("{gateway}: {message}"))
        }
    }
}

fn of_tls(fault: &TlsFault, address: &str, desired: &Desired) -> (Reason, String) {
    let (reason, said) = match fault {
        TlsFault::UnknownAuthority => (
            Reason::UnknownAuthority,
            format!(
                "The certificate of {address} is signed by a CA that this connection does not trust. Add the certificate of that CA to spec.tls.caBundle, and make sure that the server sends its intermediate CA certificates."
            ),
        ),
        TlsFault::SelfSigned { subject } => (
            Reason::UnknownAuthority,
            format!(
                "The certificate of {address} ({subject}) is self-signed. Add this certificate to spec.tls.caBundle after comparing its fingerprint with the server's."
            ),
        ),
        TlsFault::AuthorityOutOfTime { subject, is_over } => {
            (Reason::AuthorityExpired, of_authority_out_of_time(address, subject, *is_over))
        }
        TlsFault::Expired { part: ChainPart::Server | ChainPart::Authority, subject: _ } => (
            Reason::CertificateExpired,
            format!(
                "The certificate of {address} has expired or is not valid yet. Renew it, or correct the clocks."
            ),
        ),
        TlsFault::Expired { part: ChainPart::Intermediate, subject } => (
            Reason::CertificateExpired,
            format!(
                "{address} sends an intermediate CA certificate ({subject}) that has expired or is not valid yet. Renew it on the server, or correct the clocks."
            ),
        ),
        TlsFault::WrongName { listed } => return of_wrong_name(listed, address, desired),
        TlsFault::Flawed { subject, flaw } => (
            Reason::CertificateNotAcceptable,
            format!("A certificate of {address} {}", of_flaw(subject, flaw)),
        ),
        TlsFault::ClientCertificateExpired => (
            Reason::ClientCertificateExpired,
            format!(
                "{address} rejected the client certificate named in spec.tls.clientCertificate, which has expired or is not valid yet. Renew it."
            ),
        ),
        TlsFault::ClientCertificate => return of_client_certificate(address, desired),
        TlsFault::NotTls => (
            Reason::NotTls,
            format!(
                "{address} does not speak TLS. Check the port. If Vault has TLS disabled there, spec.instanceUrl must begin with http://."
            ),
        ),
        TlsFault::OldVersion => (
            Reason::TlsFailed,
            format!(
                "{address} supports only TLS versions that are too old (1.2 or 1.3 is required). Set tls_min_version of its listener to tls12, or update it."
            ),
        ),
        TlsFault::NothingInCommon => (
            Reason::TlsFailed,
            format!(
                "{address} and the operator have no TLS cipher suite, key exchange or signature algorithm in common. Check tls_cipher_suites of its listener (ECDHE with AES-GCM or ChaCha20 is required), the key of its certificate (RSA, Ed25519, or ECDSA on P-256, P-384 or P-521), and whether it requires a client certificate (spec.tls.clientCertificate)."
            ),
        ),
        TlsFault::UnknownName => (
            Reason::TlsFailed,
            format!(
                "{address} has no certificate for the requested name. Set spec.tls.serverName to the name of the server."
            ),
        ),
        TlsFault::Other => (
            Reason::TlsFailed,
            format!(
                "The TLS handshake with {address} failed. Check that it supports TLS 1.2 or 1.3, and whether it requires a client certificate (spec.tls.clientCertificate)."
            ),
        ),
    };
    (reason, said)
}

fn of_authority_out_of_time(address: &str, subject: &str, is_over: bool) -> String {
    let what = if is_over {
        "has expired. Renew that CA, and put its new certificate in spec.tls.caBundle."
    } else {
        "is not valid yet. Correct the clocks, or put the certificate that is valid now in spec.tls.caBundle."
    };
    format!(
        "The certificate of {address} is signed by the CA {subject}, whose certificate in the CA bundle {what}"
    )
}

fn of_client_certificate(address: &str, desired: &Desired) -> (Reason, String) {
    match &desired.target.tls.client_certificate {
        None => (
            Reason::ClientCertificateRequired,
            format!(
                "{address} requires a client certificate. Name a Secret that contains one in spec.tls.clientCertificate."
            ),
        ),
        Some(_) => (
            Reason::ClientCertificateRejected,
            format!(
                "{address} rejected the client certificate named in spec.tls.clientCertificate. Use a valid certificate signed by a CA that this server trusts for clients."
            ),
        ),
    }
}

fn of_wrong_name(listed: &[String], address: &str, desired: &Desired) -> (Reason, String) {
    let host = desired.target.instance.host().to_string();
    let (name, field) = match &desired.target.tls.server_name {
        Some(name) => (name.as_str(), "spec.tls.serverName"),
        None => (host.as_str(), "spec.instanceUrl (or spec.tls.serverName)"),
    };
    let listed = names(listed);
    (
        Reason::CertificateNameMismatch,
        format!(
            "The certificate of {address} is not for the name {name}, {listed}. Set {field} to a name that the certificate lists."
        ),
    )
}

/// Most names of a certificate that are shown.
const MAX_NAMES: usize = 5;

/// The names that a certificate is for, after "the certificate".
fn names(listed: &[String]) -> String {
    if listed.is_empty() {
        return "and lists no name at all (a common name does not count)".to_owned();
    }
    let shown: Vec<_> = listed.iter().take(MAX_NAMES).map(String::as_str).collect();
    let more = match listed.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("but for {}{more}", shown.join(", "))
}

/// Why a certificate is not accepted, after "a certificate of the server".
fn of_flaw(subject: &str, flaw: &Flaw) -> String {
    let weak = |weakness: &Weakness| match weakness {
        Weakness::ShortKey { bits } => {
            format!(
                "or of its CA ({subject}) has an RSA key of {bits} bits, which is too weak. Reissue it with 2048 bits or more."
            )
        }
        Weakness::OldHash(hash) => {
            format!(
                "or of its CA ({subject}) is signed with {hash}, which can be forged. Reissue it with SHA-256."
            )
        }
        Weakness::Unsupported(what) => {
            format!(
                "or of its CA ({subject}) uses {what}, which the operator does not support. Reissue it with RSA, P-256, P-384 or Ed25519."
            )
        }
    };
    match flaw {
        Flaw::Authority => format!(
            "({subject}) is a CA certificate, used as the server's own. Issue a certificate for the server, or add this one to the CA bundle."
        ),
        Flaw::Usage => format!(
            "({subject}) is not for servers: its extended key usage lacks serverAuth. Reissue it with that usage."
        ),
        Flaw::NameConstraint => format!(
            "({subject}) is for a name that the name constraints of its CA do not permit. Use a permitted name, or another CA."
        ),
        Flaw::Weak(weakness) => weak(weakness),
        Flaw::Malformed => {
            format!("({subject}) cannot be parsed, or has an unknown critical extension. Reissue it.")
        }
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
                    "{endpoint} rejected the login of the operator, or requires one. Correct the Secret named in `credentials` of this endpoint, or name one there."
                ),
            );
        }
        EndpointProblem::LoginSchemes(offers) => {
            let offers = if offers.is_empty() { "another scheme".to_owned() } else { offers.join(" or ") };
            return (
                Reason::GatewayLoginRefused,
                format!(
                    "{endpoint} accepts only {offers} logins, and the operator supports only Basic. Allow Basic for this client at the proxy, or allow this client without a login."
                ),
            );
        }
        EndpointProblem::TargetRefused => {
            let target = target.unwrap_or("any address");
            return (
                Reason::GatewayRefusesTarget,
                format!(
                    "{endpoint} did not connect to {target}. Check that the proxy allows it, and that the instance is running and reachable from the proxy."
                ),
            );
        }
        EndpointProblem::NotProxy => {
            return (
                Reason::NotProxy,
                format!(
                    "The server at {endpoint} is not a proxy of this scheme. Check the scheme and the port."
                ),
            );
        }
    };
    let unreachable = |what: &str| (Reason::GatewayUnreachable, format!("{endpoint} {what}"));
    match &**fault {
        TransportFault::NotAllowed(refusal) => {
            (Reason::AddressNotAllowed, format!("Connections to {endpoint} are not allowed: {refusal}"))
        }
        TransportFault::NameNotResolved => unreachable(
            "has a host name that does not resolve to an address. Correct the URL or the DNS record.",
        ),
        TransportFault::Refused => {
            unreachable("refused the connection. Check that the proxy is running and listening on this port.")
        }
        TransportFault::TimedOut => {
            unreachable("did not respond in time. Check the proxy and the network path to it.")
        }
        TransportFault::OutOfResources => of_own_resources(endpoint),
        TransportFault::Tls(fault) => {
            (Reason::GatewayUnreachable, format!("{endpoint} {}", of_proxy_tls(fault)))
        }
        // The others cannot come from a proxy.
        TransportFault::Failed | TransportFault::PlainHttp | TransportFault::Gateway(_) => unreachable(
            "cannot be reached, or closed the connection. Check the proxy and the network path to it.",
        ),
    }
}

/// What is wrong with TLS with a proxy, after its address.
fn of_proxy_tls(fault: &TlsFault) -> String {
    let said = match fault {
        TlsFault::UnknownAuthority => {
            "presents a certificate of a CA that is not trusted. Add the certificate of that CA to tls.caBundle of this endpoint."
        }
        TlsFault::SelfSigned { .. } => {
            "presents a self-signed certificate. Add this certificate to tls.caBundle of this endpoint."
        }
        TlsFault::AuthorityOutOfTime { subject, .. } => {
            return format!(
                "presents a certificate of the CA {subject}, whose certificate in tls.caBundle of this endpoint has expired or is not valid yet. Renew it."
            );
        }
        TlsFault::Expired { .. } => "presents a certificate that has expired or is not valid yet. Renew it.",
        TlsFault::WrongName { listed } => {
            return format!(
                "presents a certificate for another name, {}. Set tls.serverName of this endpoint to a name that the certificate lists.",
                names(listed)
            );
        }
        TlsFault::Flawed { subject, flaw } => {
            return format!("presents a certificate that {}", of_flaw(subject, flaw));
        }
        TlsFault::ClientCertificate => {
            "requires a client certificate, or rejected the one it received. Correct tls.clientCertificate of this endpoint."
        }
        TlsFault::ClientCertificateExpired => {
            "rejected the client certificate in tls.clientCertificate of this endpoint, which has expired or is not valid yet. Renew it."
        }
        TlsFault::NotTls => "does not speak TLS. Check the port, or use http:// in its URL.",
        TlsFault::OldVersion => {
            "supports only TLS versions that are too old. Configure it for TLS 1.2 or 1.3."
        }
        TlsFault::NothingInCommon => {
            "has no TLS cipher suite, key exchange or signature algorithm in common with the operator. Check its TLS settings and the key of its certificate."
        }
        TlsFault::UnknownName => {
            "has no certificate for the requested name. Set tls.serverName of this endpoint to the proxy's name."
        }
        TlsFault::Other => "failed in the TLS handshake. Check that it supports TLS 1.2 or 1.3.",
    };
    said.to_owned()
}

/// The operator itself is at its end. `wanted` is what it could not connect to.
fn of_own_resources(wanted: &str) -> (Reason, String) {
    (
        Reason::OperatorOutOfResources,
        format!(
            "The operator could not open a connection to {wanted}, because it lacks file descriptors, memory or local ports. Ask the operator's administrator to raise its limits (ulimit -n, memory) or to lower --concurrency."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_shown_up_to_a_bound() {
        let listed = |count: usize| (0..count).map(|index| format!("n{index}.example")).collect::<Vec<_>>();
        assert_eq!(names(&listed(1)), "but for n0.example");
        assert_eq!(
            names(&listed(7)),
            "but for n0.example, n1.example, n2.example, n3.example, n4.example and 2 more"
        );
        assert_eq!(names(&[]), "and lists no name at all (a common name does not count)");
    }
}
