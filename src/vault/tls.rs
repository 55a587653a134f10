//! TLS settings for the way to an instance: which CA certificates are trusted.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, pki_types::pem::PemObject,
};

use crate::{api::tls::Trust, secrets::resolve::CaPem};

/// A PEM text that holds no certificate, or one that cannot be a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read a CA certificate in PEM form")]
pub struct InvalidPem;

/// The CA certificates of the operator's image, read once.
pub fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some CA certificates of the system could not be read");
    }
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(certificates = added, "system CA certificates read");
    Arc::new(roots)
}

/// The certificates that a connection trusts.
pub fn roots(ca: Option<&CaPem>, system: &Arc<RootCertStore>) -> Result<Arc<RootCertStore>, InvalidPem> {
    let Some(ca) = ca else { return Ok(Arc::clone(system)) };
    let mut roots = match ca.trust {
        Trust::Only => RootCertStore::empty(),
        Trust::WithSystem => RootCertStore::clone(system),
    };
    let mut given = 0;
    for certificate in CertificateDer::pem_slice_iter(&ca.pem) {
        roots.add(certificate.map_err(|_| InvalidPem)?).map_err(|_| InvalidPem)?;
        given += 1;
    }
    if given == 0 { Err(InvalidPem) } else { Ok(Arc::new(roots)) }
}

/// TLS 1.2 and 1.3 with these roots.
pub fn client_config(roots: Arc<RootCertStore>) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pem: &str) -> Result<usize, InvalidPem> {
        let ca = CaPem { pem: pem.as_bytes().to_vec(), trust: Trust::Only };
        roots(Some(&ca), &Arc::new(RootCertStore::empty())).map(|roots| roots.len())
    }

    #[test]
    fn a_bundle_holds_at_least_one_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        assert_eq!(read(&pem), Ok(1));
        assert_eq!(read(&format!("# a comment\n{pem}\n{pem}")).map(|n| n > 0), Ok(true));
        assert_eq!(read(""), Err(InvalidPem));
        assert_eq!(read("no pem"), Err(InvalidPem));
        assert_eq!(read(&key.serialize_pem()), Err(InvalidPem), "a key is no certificate");
        let broken = pem.replace("MII", "AAA");
        assert_eq!(read(&broken), Err(InvalidPem));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_bundle_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            text in "(-----BEGIN CERTIFICATE-----\n)?[A-Za-z0-9+/=\n]{0,80}(\n-----END CERTIFICATE-----)?",
        ) {
            for pem in [noise, text.into_bytes()] {
                let ca = CaPem { pem, trust: Trust::Only };
                prop_assert!(roots(Some(&ca), &Arc::new(RootCertStore::empty())).is_err());
            }
        }
    }
}
