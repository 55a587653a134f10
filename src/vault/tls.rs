//! TLS settings for the way to a server: which CA certificates are trusted, and who we are.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring, sign::SingleCertAndKey};

use crate::{
    api::tls::Trust,
    secrets::tls::{Authorities, Identity},
};

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

/// TLS 1.2 and 1.3, trusting those authorities, or those of the system when none are given.
pub fn client_config(
    authorities: Option<&Authorities>,
    identity: Option<&Identity>,
    system: &Arc<RootCertStore>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots(authorities, system));
    match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
        }
        None => builder.with_no_client_auth(),
    }
}

fn roots(authorities: Option<&Authorities>, system: &Arc<RootCertStore>) -> Arc<RootCertStore> {
    let Some(Authorities { certificates, trust }) = authorities else { return Arc::clone(system) };
    let mut roots = match trust {
        Trust::Only => RootCertStore::empty(),
        Trust::WithSystem => RootCertStore::clone(system),
    };
    roots.add_parsable_certificates(certificates.iter().cloned());
    Arc::new(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rustls::pki_types::CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().expect("a key");
        rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn given_authorities_are_trusted_alone_or_with_those_of_the_system() {
        let mut system = RootCertStore::empty();
        system.add(certificate()).expect("an anchor");
        let system = Arc::new(system);
        let given = |trust| Some(Authorities { certificates: vec![certificate(), certificate()], trust });
        assert_eq!(roots(None, &system).len(), 1);
        assert_eq!(roots(given(Trust::Only).as_ref(), &system).len(), 2);
        assert_eq!(roots(given(Trust::WithSystem).as_ref(), &system).len(), 3);
    }
}
