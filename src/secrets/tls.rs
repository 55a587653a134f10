//! From the objects that were read to what a TLS connection needs, parsed once.

use std::{fmt, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::resolve::{Lookups, Problem, ReferenceFault, bytes};
use crate::{
    api::{
        desired::{CaSource, TlsSettings},
        tls::Trust,
    },
    refs::{ObjectName, ServerName},
};

/// Key of the certificate chain in a Secret of type `kubernetes.io/tls`:
/// <https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets>.
const CHAIN_KEY: &str = "tls.crt";

/// Key of the private key there.
const PRIVATE_KEY: &str = "tls.key";

/// CA certificates that are given: at least one, each fit to be a trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authorities {
    /// The certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether they are trusted alone.
    pub trust: Trust,
}

/// A certificate of ours with its private key. It does not print.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// What a TLS connection needs beside the URL.
#[derive(Clone, Debug, Default)]
pub struct TlsMaterial {
    /// CA certificates to trust; none means those of the system.
    pub authorities: Option<Authorities>,
    /// What to show to a server that asks for it.
    pub identity: Option<Identity>,
    /// The name that the certificate must be for, if not the host of the URL.
    pub server_name: Option<ServerName>,
}

// === impl Authorities ===

impl Authorities {
    /// Reads certificates in PEM form. Nothing but certificates counts, and one that cannot be an anchor spoils all.
    pub fn parse(pem: &[u8], trust: Trust) -> Option<Self> {
        let certificates = certificates(pem)?;
        let mut anchors = RootCertStore::empty();
        certificates
            .iter()
            .all(|one| anchors.add(one.clone()).is_ok())
            .then_some(Self { certificates, trust })
    }
}

// === impl Identity ===

impl Identity {
    /// Reads a certificate chain, our own first, and the key that belongs to it, both in PEM form.
    pub fn parse(chain: &[u8], key: &[u8]) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(key).ok()?;
        let certified = CertifiedKey::from_der(certificates(chain)?, key, &ring::default_provider()).ok()?;
        Some(Self(Arc::new(certified)))
    }

    /// The pair, as rustls takes it.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Takes what the settings name out of the objects that were read. `field` is where the settings stand, and `whose`
/// follows the name of a field in messages.
pub(super) fn resolve(
    settings: &TlsSettings,
    objects: &Lookups,
    field: &str,
    whose: &str,
) -> Result<TlsMaterial, ReferenceFault> {
    let authorities = match &settings.ca {
        Some(ca) => Some(authorities(&ca.source, ca.trust, objects, &format!("{field}.caBundle{whose}"))?),
        None => None,
    };
    let identity = match &settings.client_certificate {
        Some(name) => Some(identity(name, objects, &format!("{field}.clientCertificate{whose}"))?),
        None => None,
    };
    Ok(TlsMaterial { authorities, identity, server_name: settings.server_name.clone() })
}

fn authorities(
    source: &CaSource,
    trust: Trust,
    objects: &Lookups,
    field: &str,
) -> Result<Authorities, ReferenceFault> {
    let source = match source {
        CaSource::Inline(pem) => {
            let fault = || ReferenceFault {
                field: field.to_owned(),
                source: None,
                problem: Problem::InvalidCertificate,
            };
            return Authorities::parse(pem.as_bytes(), trust).ok_or_else(fault);
        }
        CaSource::ConfigMap(reference) => (ObjectName::config_map(&reference.name), reference.key.clone()),
        CaSource::Secret(reference) => (ObjectName::secret(&reference.name), reference.key.clone()),
    };
    let pem = bytes(objects, field, &source.0, &source.1)?;
    Authorities::parse(pem, trust).ok_or_else(|| ReferenceFault {
        field: field.to_owned(),
        source: Some(source),
        problem: Problem::InvalidCertificate,
    })
}

fn identity(name: &str, objects: &Lookups, field: &str) -> Result<Identity, ReferenceFault> {
    let secret = ObjectName::secret(name);
    let chain = bytes(objects, field, &secret, CHAIN_KEY)?;
    let key = bytes(objects, field, &secret, PRIVATE_KEY)?;
    Identity::parse(chain, key).ok_or_else(|| ReferenceFault {
        field: field.to_owned(),
        source: Some((secret.clone(), CHAIN_KEY.to_owned())),
        problem: Problem::InvalidKeyPair,
    })
}

/// Every certificate of a PEM text; none if there is none, or one is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn count(pem: &str) -> Option<usize> {
        Authorities::parse(pem.as_bytes(), Trust::Only).map(|found| found.certificates.len())
    }

    #[test]
    fn a_bundle_holds_at_least_one_certificate() {
        let (pem, key) = pair();
        assert_eq!(count(&pem), Some(1));
        assert_eq!(count(&format!("# a comment\n{pem}\n{pem}")), Some(2));
        assert_eq!(count(""), None);
        assert_eq!(count("no pem"), None);
        assert_eq!(count(&key), None, "a key is no certificate");
        assert_eq!(count(&pem.replace("MII", "AAA")), None);
    }

    #[test]
    fn an_identity_is_a_certificate_and_the_key_that_belongs_to_it() {
        let ((chain, key), (_, other_key)) = (pair(), pair());
        let parsed = |chain: &str, key: &str| Identity::parse(chain.as_bytes(), key.as_bytes()).is_some();
        assert!(parsed(&chain, &key));
        assert!(!parsed(&chain, &other_key), "the key of another certificate");
        assert!(!parsed(&key, &chain), "the two are swapped");
        assert!(!parsed("", &key) && !parsed(&chain, ""));
    }

    #[test]
    fn an_identity_does_not_print() {
        let (chain, key) = pair();
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes());
        let material = TlsMaterial { identity, ..TlsMaterial::default() };
        assert!(format!("{material:?}").contains("identity: Some(Identity)"), "{material:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            text in "(-----BEGIN CERTIFICATE-----\n)?[A-Za-z0-9+/=\n]{0,80}(\n-----END CERTIFICATE-----)?",
        ) {
            for pem in [noise, text.into_bytes()] {
                prop_assert!(Authorities::parse(&pem, Trust::Only).is_none());
                prop_assert!(Identity::parse(&pem, &pem).is_none());
            }
        }
    }
}
