//! Certificates for the fakes, good and bad ones.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A certificate authority of a test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as `spec.tls.caBundle` takes it.
    pub pem: String,
}

// === impl Ca ===

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key is made");
        let pem = params.self_signed(&key).expect("a certificate is made").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// What a server at 127.0.0.1 shows.
    pub fn serving(&self) -> Arc<ServerConfig> {
        self.sign("127.0.0.1", |_| {})
    }

    /// The same, but the certificate is for another host.
    pub fn serving_another_name(&self) -> Arc<ServerConfig> {
        self.sign("vault.example.com", |_| {})
    }

    /// The same, but the certificate is for this host.
    pub fn serving_name(&self, host: &str) -> Arc<ServerConfig> {
        self.sign(host, |_| {})
    }

    /// The same, but the certificate ended years ago.
    pub fn serving_expired(&self) -> Arc<ServerConfig> {
        self.sign("127.0.0.1", |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn sign(&self, name: &str, mutate: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name or an address");
        mutate(&mut params);
        let key = KeyPair::generate().expect("a key is made");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate is made");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("the key is that of the certificate");
        Arc::new(config)
    }
}
