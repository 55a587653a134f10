//! Certificates for the fakes and for those who call on them, good and bad ones.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, KeyPair,
    date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::super::bed::unique;

/// A certificate authority of a test.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    name: String,
    /// What stands between it and its root, with itself: empty for a root.
    between: Vec<CertificateDer<'static>>,
    /// Its certificate, as `spec.tls.caBundle` takes it.
    pub pem: String,
}

/// A certificate with its key, as a Secret of type kubernetes.io/tls holds them.
pub struct Identity {
    /// `tls.crt`: the certificate, and what stands between it and the root.
    pub pem: String,
    /// `tls.key`, in PKCS #8.
    pub key_pem: String,
    /// The certificate alone: what a server that asked for it has seen.
    pub der: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
}

/// What a private key can be.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    P256,
    P384,
    Ed25519,
    Rsa2048,
}

/// A server's end of TLS in the making.
pub struct Serving<'a> {
    ca: &'a Ca,
    names: Vec<String>,
    ends: Option<SystemTime>,
    clients: Option<&'a Ca>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

// === impl Ca ===

impl Ca {
    pub fn new() -> Self {
        Self::root(unique("root"))
    }

    /// Another one that calls itself the same, as a root whose key was replaced.
    pub fn namesake(&self) -> Self {
        Self::root(self.name.clone())
    }

    fn root(name: String) -> Self {
        let (params, key) = authority(&name);
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate is made");
        Self { pem: issuer.pem(), issuer, name, between: Vec::new() }
    }

    /// One below it. Who trusts only the upper one needs this one's certificate shown.
    pub fn intermediate(&self) -> Self {
        let name = unique("intermediate");
        let (params, key) = authority(&name);
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate is made");
        let between = [issuer.der().clone()].into_iter().chain(self.between.iter().cloned()).collect();
        Self { pem: issuer.pem(), issuer, name, between }
    }

    /// What a server at 127.0.0.1 shows.
    pub fn serving(&self) -> Arc<ServerConfig> {
        self.serving_as(&["127.0.0.1"]).config()
    }

    /// The same, but the certificate is for another host.
    pub fn serving_another_name(&self) -> Arc<ServerConfig> {
        self.serving_as(&["vault.example.com"]).config()
    }

    /// The same, but the certificate is for this host.
    pub fn serving_name(&self, host: &str) -> Arc<ServerConfig> {
        self.serving_as(&[host]).config()
    }

    /// The same, but the certificate ended years ago.
    pub fn serving_expired(&self) -> Arc<ServerConfig> {
        self.serving_as(&["127.0.0.1"]).ending_in_the_past().config()
    }

    /// What a server shows whose certificate is for these names and addresses. It asks clients for nothing, and speaks
    /// TLS 1.2 and 1.3.
    pub fn serving_as(&self, names: &[&str]) -> Serving<'_> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Serving { ca: self, names, ends: None, clients: None, versions: rustls::ALL_VERSIONS.to_vec() }
    }

    /// A client's certificate.
    pub fn client(&self, common_name: &str) -> Identity {
        self.client_with(common_name, Key::P256)
    }

    pub fn client_with(&self, common_name: &str, key: Key) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, &key.generate())
    }

    /// A client's certificate that ended years ago.
    pub fn client_expired(&self, common_name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(&params, &Key::P256.generate())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Identity {
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate is made");
        let der = certificate.der().clone();
        let chain: Vec<_> = [der.clone()].into_iter().chain(self.between.iter().cloned()).collect();
        // The root is not shown, so only an intermediate's own certificate follows.
        let follows = if self.between.is_empty() { "" } else { &self.pem };
        Identity { pem: certificate.pem() + follows, key_pem: key.serialize_pem(), der, chain }
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().expect("a key is made"))
}

// === impl Identity ===

impl Identity {
    /// The key as older tools write it: SEC 1 for elliptic curves, PKCS #1 for RSA.
    pub fn traditional_key_pem(&self) -> String {
        openssl(&["pkey", "-traditional"], &self.key_pem)
    }
}

// === impl Key ===

impl Key {
    fn generate(self) -> KeyPair {
        let made = match self {
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            // `ring` makes them in a form that OpenSSL 3 cannot read.
            Self::Ed25519 => KeyPair::from_pem(&openssl(&["genpkey", "-algorithm", "ED25519"], "")),
            // `ring` makes none.
            Self::Rsa2048 => KeyPair::from_pem(&openssl(&["genpkey", "-algorithm", "RSA"], "")),
        };
        made.expect("a key is made")
    }
}

/// What `openssl` makes of a text.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is there, as the bed needs it");
    // One that reads nothing may have ended already.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it can be waited for");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM is text")
}

// === impl Serving ===

impl<'a> Serving<'a> {
    /// The certificate ends then; if that has been, it began long before.
    pub fn ending(self, ends: SystemTime) -> Self {
        Self { ends: Some(ends), ..self }
    }

    /// The certificate ended years ago.
    pub fn ending_in_the_past(self) -> Self {
        self.ending(date_time_ymd(2021, 1, 1).into())
    }

    /// The certificate ends in so many days.
    pub fn ending_in_days(self, days: u32) -> Self {
        self.ending(SystemTime::now() + Duration::from_secs(24 * 3600) * days)
    }

    /// Lets in only clients with a certificate of this authority.
    pub fn demanding(self, clients: &'a Ca) -> Self {
        Self { clients: Some(clients), ..self }
    }

    /// Speaks only this version of TLS.
    pub fn speaking_only(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }
    }

    pub fn config(self) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(self.names).expect("names and addresses");
        if let Some(ends) = self.ends {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = ends.into();
        }
        let identity = self.ca.sign(&params, &Key::P256.generate());
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.issuer.der().clone()).expect("it is a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is a root"))
            }
        };
        let key = KeyPair::from_pem(&identity.key_pem).expect("it was written by a key").serialize_der();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        Arc::new(builder.with_single_cert(identity.chain, key).expect("the key is that of the certificate"))
    }
}
