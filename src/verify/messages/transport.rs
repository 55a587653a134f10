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
                "the certificate of {address} is signed by a CA that this connection does not trust: put the certificate of that CA into spec.tls.caBundle (and let the server send its intermediate CA certificates)"
            ),
        ),
        TlsFault::SelfSigned { subject } => (
            Reason::UnknownAuthority,
            format!(
                "the certificate of {address} ({subject}) is self-signed: put this certificate itself into spec.tls.caBundle, after comparing its fingerprint with the server's"
            ),
        ),
        TlsFault::AuthorityOutOfTime { subject, is_over } => {
            (Reason::AuthorityExpired, of_authority_out_of_time(address, subject, *is_over))
        }
        TlsFault::Expired { part: ChainPart::Server | ChainPart::Authority, subject: _ } => (
            Reason::CertificateExpired,
            format!(
                "the certificate of {address} has expired or is not valid yet: renew it, or correct the clocks"
            ),
        ),
        TlsFault::Expired { part: ChainPart::Intermediate, subject } => (
            Reason::CertificateExpired,
            format!(
                "{address} sends the certificate of an intermediate CA ({subject}) that has expired or is not valid yet: renew it on the server, or correct the clocks"
            ),
        ),
        TlsFault::WrongName { listed } => return of_wrong_name(listed, address, desired),
        TlsFault::Flawed { subject, flaw } => (
            Reason::CertificateNotAcceptable,
            format!("a certificate of {address} {}", of_flaw(subject, flaw)),
        ),
        TlsFault::ClientCertificateExpired => (
            Reason::ClientCertificateExpired,
            format!(
                "{address} does not accept the client certificate that spec.tls.clientCertificate names, which has expired or is not valid yet: renew it"
            ),
        ),
        TlsFault::ClientCertificate => return of_client_certificate(address, desired),
        TlsFault::NotTls => (
            Reason::NotTls,
            format!(
                "{address} does not speak TLS: check the port, and whether Vault has TLS switched off there (then spec.instanceUrl is http://)"
            ),
        ),
        TlsFault::OldVersion => (
            Reason::TlsFailed,
            format!(
                "{address} speaks only versions of TLS that are too old (1.2 or 1.3 is needed): set tls_min_version of its listener to tls12, or update it"
            ),
        ),
        TlsFault::NothingInCommon => (
            Reason::TlsFailed,
            format!(
                "{address} and the operator have no cipher suite, key exchange or signature in common: check tls_cipher_suites of its listener (ECDHE with AES-GCM or ChaCha20 is needed), the key of its certificate (RSA, Ed25519, or ECDSA on P-256, P-384 or P-521), and whether it demands a client certificate (spec.tls.clientCertificate)"
            ),
        ),
        TlsFault::UnknownName => (
            Reason::TlsFailed,
            format!(
                "{address} has no certificate for the name that it was asked for: write the name of the server into spec.tls.serverName"
            ),
        ),
        TlsFault::Other => (
            Reason::TlsFailed,
            format!(
                "the TLS handshake with {address} failed: check which TLS versions it speaks (1.2 or 1.3 is needed) and whether it demands a client certificate (spec.tls.clientCertificate)"
            ),
        ),
    };
    (reason, said)
}

fn of_authority_out_of_time(address: &str, subject: &str, is_over: bool) -> String {
    let what = if is_over {
        "has expired: renew that CA, and put its new certificate into spec.tls.caBundle"
    } else {
        "is not valid yet: correct the clocks, or put the certificate that is valid now into spec.tls.caBundle"
    };
    format!(
        "the certificate of {address} is signed by the CA {subject}, whose own certificate in the CA bundle {what}"
    )
}

fn of_client_certificate(address: &str, desired: &Desired) -> (Reason, String) {
    match &desired.target.tls.client_certificate {
        None => (
            Reason::ClientCertificateRequired,
            format!(
                "{address} asks for a client certificate: name a Secret with one in spec.tls.clientCertificate"
            ),
        ),
        Some(_) => (
            Reason::ClientCertificateRejected,
            format!(
                "{address} does not accept the client certificate that spec.tls.clientCertificate names: put one there that is signed by a CA which this server trusts for clients, and in its time"
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
            "the certificate of {address} is not for the name {name}, {listed}: write a name into {field} that the certificate lists"
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
                "or of its CA ({subject}) has an RSA key of {bits} bits, which is too weak: issue it anew with 2048 bits or more"
            )
        }
        Weakness::OldHash(hash) => {
            format!(
                "or of its CA ({subject}) is signed with {hash}, which can be forged: issue it anew with SHA-256"
            )
        }
        Weakness::Unsupported(what) => {
            format!(
                "or of its CA ({subject}) uses {what}, which the operator does not support: issue it anew with RSA, P-256, P-384 or Ed25519"
            )
        }
    };
    match flaw {
        Flaw::Authority => format!(
            "({subject}) is that of a CA, used as the server's own: issue a certificate for the server, or put this one itself into the CA bundle"
        ),
        Flaw::Usage => format!(
            "({subject}) is not for servers (its extended key usage lacks serverAuth): issue it anew with that usage"
        ),
        Flaw::NameConstraint => format!(
            "({subject}) is for a name that the name constraints of its CA do not permit: use a permitted name, or another CA"
        ),
        Flaw::Weak(weakness) => weak(weakness),
        Flaw::Malformed => format!(
            "({subject}) does not parse, or has a critical extension that is not known: issue it anew"
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
                    "{endpoint} does not accept the login, or asks for one: fix the Secret that `credentials` of this endpoint names, or name one there"
                ),
            );
        }
        EndpointProblem::LoginSchemes(offers) => {
            let offers = if offers.is_empty() { "another scheme".to_owned() } else { offers.join(" or ") };
            return (
                Reason::GatewayLoginRefused,
                format!(
                    "{endpoint} accepts only logins by {offers}, and the operator can only log in by Basic: let the proxy accept Basic for this client, or let this client pass without a login"
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
        TransportFault::OutOfResources => of_own_resources(endpoint),
        TransportFault::Tls(fault) => {
            (Reason::GatewayUnreachable, format!("{endpoint} {}", of_proxy_tls(fault)))
        }
        // The others cannot come from a proxy.
        TransportFault::Failed | TransportFault::PlainHttp | TransportFault::Gateway(_) => {
            unreachable("cannot be reached, or ended the connection: check the proxy and the way to it")
        }
    }
}

/// What is wrong with TLS with a proxy, after its address.
fn of_proxy_tls(fault: &TlsFault) -> String {
    let said = match fault {
        TlsFault::UnknownAuthority => {
            "shows a certificate of a CA that is not trusted: put the certificate of that CA into tls.caBundle of this endpoint"
        }
        TlsFault::SelfSigned { .. } => {
            "shows a certificate that is self-signed: put this certificate itself into tls.caBundle of this endpoint"
        }
        TlsFault::AuthorityOutOfTime { subject, .. } => {
            return format!(
                "shows a certificate of the CA {subject}, whose own certificate in tls.caBundle of this endpoint has expired or is not valid yet: renew it"
            );
        }
        TlsFault::Expired { .. } => "shows a certificate that has expired or is not valid yet: renew it",
        TlsFault::WrongName { listed } => {
            return format!(
                "shows a certificate for another name, {}: write a name that it lists into tls.serverName of this endpoint",
                names(listed)
            );
        }
        TlsFault::Flawed { subject, flaw } => {
            return format!("shows a certificate that {}", of_flaw(subject, flaw));
        }
        TlsFault::ClientCertificate => {
            "asks for a client certificate, or does not accept the one that it got: fix tls.clientCertificate of this endpoint"
        }
        TlsFault::ClientCertificateExpired => {
            "does not accept the client certificate in tls.clientCertificate of this endpoint, which has expired or is not valid yet: renew it"
        }
        TlsFault::NotTls => "does not speak TLS: check the port, or write http:// in its url",
        TlsFault::OldVersion => "speaks only versions of TLS that are too old: 1.2 or 1.3 is needed",
        TlsFault::NothingInCommon => {
            "has no cipher suite, key exchange or signature in common with the operator: check its TLS settings and the key of its certificate"
        }
        TlsFault::UnknownName => {
            "has no certificate for the name that it was asked for: write its name into tls.serverName of this endpoint"
        }
        TlsFault::Other => {
            "failed in the TLS handshake: check which TLS versions it speaks (1.2 or 1.3 is needed)"
        }
    };
    said.to_owned()
}

/// The operator itself is at its end. `wanted` is what it could not connect to.
fn of_own_resources(wanted: &str) -> (Reason, String) {
    (
        Reason::OperatorOutOfResources,
        format!(
            "the operator could not open a connection to {wanted}, since it lacks file descriptors, memory or local ports: ask those who run the operator to raise its limits (ulimit -n, memory) or to lower --concurrency; it tries again"
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
