use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, NameConstraints, date_time_ymd,
};
use rustls::{
    crypto::ring,
    pki_types::{AlgorithmIdentifier, InvalidSignature, pem::PemObject},
};

use super::*;

const NAME: &str = "vault.example.com";

/// 2030-01-01, in the midst of what most certificates here hold for.
const NOW: u64 = 1_893_456_000;

fn params(name: &str, ends: i32) -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(ends, 1, 1);
    params
}

fn ca_params(name: &str, ends: i32) -> CertificateParams {
    let mut params = params(name, ends);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn root(params: CertificateParams) -> Issuer {
    CertifiedIssuer::self_signed(params, key()).expect("a certificate")
}

fn below(params: CertificateParams, issuer: &Issuer) -> Issuer {
    CertifiedIssuer::signed_by(params, key(), issuer).expect("a certificate")
}

/// What a server shows, and what is trusted.
struct Case<'a> {
    server: &'a Issuer,
    between: &'a [&'a Issuer],
    bundle: &'a [&'a Issuer],
}

impl Case<'_> {
    fn verdict(&self) -> Result<(ChainPart, String), TlsFault> {
        let pem: String = self.bundle.iter().map(|issuer| issuer.pem()).collect();
        let anchors = Arc::new(Anchors::parse(pem.as_bytes()).expect("a bundle"));
        let authorities = Authorities { anchors, trust: Trust::Only };
        let provider = ring::default_provider();
        let judge = Judge {
            authorities: Some(&authorities),
            system: &Anchors::of([]),
            algorithms: provider.signature_verification_algorithms.all,
            now: UnixTime::since_unix_epoch(Duration::from_secs(NOW)),
        };
        let between: Vec<_> = self.between.iter().map(|issuer| issuer.der().clone()).collect();
        let name = ServerName::try_from(NAME).expect("a name");
        judge.verify(self.server.der(), &between, &name).map(|end| (end.part, end.subject))
    }
}

fn subject(name: &str) -> String {
    format!("CN={name}")
}

fn ends(part: ChainPart, name: &str) -> (ChainPart, String) {
    (part, subject(name))
}

fn flaw(name: &str, flaw: Flaw) -> TlsFault {
    TlsFault::Flawed { subject: subject(name), flaw }
}

#[test]
fn the_certificate_that_ends_first_is_reported() {
    let long = root(ca_params("root", 2040));
    let short = root(ca_params("short root", 2031));
    let middle = below(ca_params("middle", 2032), &long);
    let table = [
        (
            "the server's",
            Case { server: &below(params("server", 2031), &middle), between: &[&middle], bundle: &[&long] },
            Ok(ends(ChainPart::Server, "server")),
        ),
        (
            "an intermediate",
            Case { server: &below(params("server", 2035), &middle), between: &[&middle], bundle: &[&long] },
            Ok(ends(ChainPart::Intermediate, "middle")),
        ),
        (
            "the root",
            Case { server: &below(params("server", 2035), &short), between: &[], bundle: &[&long, &short] },
            Ok(ends(ChainPart::Authority, "short root")),
        ),
        (
            "one that is sent and not used",
            Case { server: &below(params("server", 2035), &long), between: &[&middle], bundle: &[&long] },
            Ok(ends(ChainPart::Server, "server")),
        ),
    ];
    for (name, case, expected) in table {
        assert_eq!(case.verdict(), expected, "{name}");
    }
}

#[test]
fn a_ca_that_is_out_of_its_time_ends_no_path() {
    let old = root(ca_params("old", 2029));
    let over = |name: &str| Err(TlsFault::AuthorityOutOfTime { subject: subject(name), is_over: true });
    let server = below(params("server", 2035), &old);
    assert_eq!(Case { server: &server, between: &[], bundle: &[&old] }.verdict(), over("old"));

    let other = root(ca_params("other", 2040));
    assert_eq!(Case { server: &server, between: &[], bundle: &[&other, &old] }.verdict(), over("old"));
    let middle = below(ca_params("middle", 2035), &old);
    let deep = below(params("server", 2035), &middle);
    assert_eq!(Case { server: &deep, between: &[&middle], bundle: &[&old] }.verdict(), over("old"));
    assert_eq!(
        Case { server: &deep, between: &[&middle], bundle: &[&old, &middle] }.verdict(),
        Ok(ends(ChainPart::Server, "server")),
        "an intermediate in the bundle is an anchor of its own"
    );

    let mut early = ca_params("early", 2040);
    early.not_before = date_time_ymd(2031, 1, 1);
    let early = root(early);
    let verdict =
        Case { server: &below(params("server", 2035), &early), between: &[], bundle: &[&early] }.verdict();
    assert_eq!(verdict, Err(TlsFault::AuthorityOutOfTime { subject: subject("early"), is_over: false }));
}

#[test]
fn a_ca_that_was_renewed_with_its_key_counts_by_its_younger_certificate() {
    let old = root(ca_params("root", 2029));
    let copy = KeyPair::from_pem(&old.key().serialize_pem()).expect("the same key");
    let renewed = CertifiedIssuer::self_signed(ca_params("root", 2040), copy).expect("a certificate");
    let server = below(params("server", 2050), &old);
    for bundle in [[&old, &renewed], [&renewed, &old]] {
        let case = Case { server: &server, between: &[], bundle: &bundle };
        assert_eq!(case.verdict(), Ok(ends(ChainPart::Authority, "root")));
    }
}

#[test]
fn what_is_wrong_with_a_chain_is_distinguished() {
    let ca = root(ca_params("root", 2040));
    let stranger = root(ca_params("stranger", 2040));
    let late = below(ca_params("late", 2029), &ca);
    let mut client = params("client", 2035);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut narrow = ca_params("narrow", 2035);
    narrow.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let narrow = below(narrow, &ca);
    let mut elsewhere = params("elsewhere", 2035);
    elsewhere.subject_alt_names = CertificateParams::new(["a.example".to_owned(), "10.0.0.7".to_owned()])
        .expect("names")
        .subject_alt_names;
    let mut ca_as_server = ca_params("ca", 2035);
    ca_as_server.subject_alt_names = params("x", 2035).subject_alt_names;
    let expired = |part, name: &str| Err(TlsFault::Expired { part, subject: subject(name) });
    let self_signed = |name: &str| Err(TlsFault::SelfSigned { subject: subject(name) });
    let none: &[&Issuer] = &[];
    let table = [
        ("a stranger", below(params("s", 2035), &stranger), none, Err(TlsFault::UnknownAuthority)),
        ("expired", below(params("s", 2029), &ca), none, expired(ChainPart::Server, "s")),
        ("expired and unknown", below(params("s", 2029), &stranger), none, expired(ChainPart::Server, "s")),
        (
            "an expired intermediate",
            below(params("s", 2035), &late),
            &[&late],
            expired(ChainPart::Intermediate, "late"),
        ),
        ("a missing intermediate", below(params("s", 2035), &late), none, Err(TlsFault::UnknownAuthority)),
        ("for clients", below(client, &ca), none, Err(flaw("client", Flaw::Usage))),
        (
            "a CA for other names",
            below(params("s", 2035), &narrow),
            &[&narrow],
            Err(flaw("s", Flaw::NameConstraint)),
        ),
        ("a CA as server", below(ca_as_server.clone(), &ca), none, Err(flaw("ca", Flaw::Authority))),
        ("self-signed", root(params("own", 2035)), none, self_signed("own")),
        ("self-signed as a CA", root(ca_as_server.clone()), none, self_signed("ca")),
        (
            "for other names",
            below(elsewhere, &ca),
            none,
            Err(TlsFault::WrongName { listed: vec!["a.example".to_owned(), "10.0.0.7".to_owned()] }),
        ),
    ];
    for (name, server, between, expected) in table {
        assert_eq!(Case { server: &server, between, bundle: &[&ca] }.verdict(), expected, "{name}");
    }
}

#[test]
fn a_certificate_that_is_itself_in_the_bundle_is_trusted_as_it_is() {
    let ca = root(ca_params("root", 2040));
    let mut as_ca = ca_params("ca", 2035);
    as_ca.subject_alt_names = params("x", 2035).subject_alt_names;
    let mut for_clients = params("client", 2035);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let nameless = ca_params("nameless", 2035);
    let table = [
        ("self-signed", root(params("own", 2035)), Ok(ends(ChainPart::Server, "own"))),
        ("self-signed, and a CA", root(as_ca.clone()), Ok(ends(ChainPart::Server, "ca"))),
        ("a CA of another CA", below(as_ca, &ca), Ok(ends(ChainPart::Server, "ca"))),
        ("of another CA", below(params("server", 2035), &ca), Ok(ends(ChainPart::Server, "server"))),
        (
            "expired",
            root(params("own", 2029)),
            Err(TlsFault::Expired { part: ChainPart::Server, subject: subject("own") }),
        ),
        ("for clients", root(for_clients), Err(flaw("client", Flaw::Usage))),
        ("without a name", root(nameless), Err(TlsFault::WrongName { listed: Vec::new() })),
    ];
    for (name, server, expected) in table {
        assert_eq!(Case { server: &server, between: &[], bundle: &[&server] }.verdict(), expected, "{name}");
    }
}

#[test]
fn a_chain_of_p521_keys_is_accepted() {
    let pem = include_str!("../../../testdata/p521/server.pem");
    let server = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let anchors = Anchors::parse(include_bytes!("../../../testdata/p521/ca.pem")).expect("a bundle");
    let judge = |anchors: Anchors| {
        let authorities = Authorities { anchors: Arc::new(anchors), trust: Trust::Only };
        let provider = crate::network::p521::provider();
        let judge = Judge {
            authorities: Some(&authorities),
            system: &Anchors::of([]),
            algorithms: provider.signature_verification_algorithms.all,
            now: UnixTime::since_unix_epoch(Duration::from_secs(NOW)),
        };
        judge.verify(&server, &[], &"vault.test".try_into().expect("a name"))
    };
    assert_eq!(judge(anchors).map(|end| end.part), Ok(ChainPart::Server));
    let other = Anchors::parse(root(ca_params("P-521 test CA", 2040)).pem().as_bytes()).expect("a bundle");
    assert!(judge(other).is_err(), "a namesake has not signed it");
}

/// Counts how often a signature is checked.
#[derive(Debug)]
struct Counting<'a>(&'a dyn SignatureVerificationAlgorithm, &'a AtomicU32);

impl SignatureVerificationAlgorithm for Counting<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

#[test]
fn a_server_cannot_make_us_check_signatures_without_a_bound() {
    // Every CA has the same name, so that each may have signed any other; half of the bundle is out of its time.
    let name = "every CA";
    let server = below(params("server", 2035), &root(ca_params(name, 2040)));
    let between: Vec<_> = (0..100).map(|_| root(ca_params(name, 2040)).der().clone()).collect();
    let bundle: String = (0..60)
        .map(|number| root(ca_params(name, if number % 2 == 0 { 2040 } else { 2025 })).pem())
        .collect();
    let authorities = Authorities {
        anchors: Arc::new(Anchors::parse(bundle.as_bytes()).expect("a bundle")),
        trust: Trust::Only,
    };
    let (provider, checks) = (ring::default_provider(), AtomicU32::new(0));
    let counting: Vec<_> =
        provider.signature_verification_algorithms.all.iter().map(|it| Counting(*it, &checks)).collect();
    let algorithms: Vec<_> = counting.iter().map(|it| it as &dyn SignatureVerificationAlgorithm).collect();
    let judge = Judge {
        authorities: Some(&authorities),
        system: &Anchors::of([]),
        algorithms: &algorithms,
        now: UnixTime::since_unix_epoch(Duration::from_secs(NOW)),
    };
    let verdict = judge.verify(server.der(), &between, &ServerName::try_from(NAME).expect("a name"));
    assert_eq!(verdict, Err(TlsFault::UnknownAuthority));
    assert!(checks.load(Ordering::Relaxed) <= 48, "{checks:?}");
}

#[test]
fn a_renewed_ca_is_found_among_its_namesakes() {
    let namesakes: Vec<_> = (0..20).map(|_| root(ca_params("root", 2040))).collect();
    let server = below(params("server", 2035), &namesakes[19]);
    let bundle: Vec<_> = namesakes.iter().collect();
    let case = Case { server: &server, between: &[], bundle: &bundle };
    assert_eq!(case.verdict(), Ok(ends(ChainPart::Server, "server")));
}
