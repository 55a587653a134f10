//! From the objects that were read to what a TLS connection needs, parsed once.

use std::{fmt, sync::Arc};

use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    anchors::{Anchors, BundleFault, certificates},
    certificate::Facts,
    resolve::{Lookups, Problem, ReferenceFault, bytes},
};
use crate::{
    api::tls::Trust,
    names::{ObjectName, ServerName},
    spec::{CaSource, TlsSettings},
};

/// Key of the certificate chain in a Secret of type `kubernetes.io/tls`:
/// <https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets>.
const CHAIN_KEY: &str = "tls.crt";

/// Key of the private key there.
const PRIVATE_KEY: &str = "tls.key";

/// CA certificates that are given: at least one, each fit to be a trust anchor. A copy of it shares them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authorities {
    /// The certificates.
    pub anchors: Arc<Anchors>,
    /// Whether they are trusted alone.
    pub trust: Trust,
}

/// A certificate of ours with its private key. It does not print.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    facts: Option<Arc<Facts>>,
}

/// Why two PEM texts are no certificate with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPairFault {
    /// There is no certificate, or a broken one.
    Certificate(BundleFault),
    /// There is no private key.
    NoKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is of a kind or a curve that the operator does not know.
    UnsupportedKey,
    /// The private key belongs to another certificate.
    OtherKey,
}

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
    pub fn parse(pem: &[u8], trust: Trust) -> Result<Self, BundleFault> {
        Ok(Self { anchors: Arc::new(Anchors::parse(pem)?), trust })
    }
}

// === impl Identity ===

impl Identity {
    /// Reads a certificate chain, our own first, and the key that belongs to it, both in PEM form.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, KeyPairFault> {
        let chain = certificates(chain).map_err(KeyPairFault::Certificate)?;
        let facts = chain.first().and_then(|first| Facts::read(first)).map(Arc::new);
        let key = PrivateKeyDer::from_pem_slice(without_mark(key)).map_err(|_| no_key(key))?;
        match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(certified) => Ok(Self { key: Arc::new(certified), facts }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(KeyPairFault::OtherKey),
            Err(Error::InvalidCertificate(_)) => {
                Err(KeyPairFault::Certificate(BundleFault::Broken { index: 1, count: 1 }))
            }
            Err(_) => Err(KeyPairFault::UnsupportedKey),
        }
    }

    /// The pair, as rustls takes it.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// Whether its certificate is out of its time.
    pub fn is_out_of_time(&self, seconds: i64) -> bool {
        self.facts.as_ref().is_some_and(|facts| !facts.holds_at(seconds))
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

/// Why a text holds no private key that can be read.
fn no_key(text: &[u8]) -> KeyPairFault {
    let holds = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
    // PKCS #8, and the older form of OpenSSL.
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        KeyPairFault::EncryptedKey
    } else {
        KeyPairFault::NoKey
    }
}

/// Without the mark that editors of Windows write before UTF-8 text.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn authorities(
    source: &CaSource,
    trust: Trust,
    objects: &Lookups,
    field: &str,
) -> Result<Authorities, ReferenceFault> {
    let source = match source {
        CaSource::Inline(pem) => {
            let fault = |why| ReferenceFault {
                field: field.to_owned(),
                source: None,
                problem: Problem::InvalidCertificate(why),
            };
            return Authorities::parse(pem.as_bytes(), trust).map_err(fault);
        }
        CaSource::ConfigMap(reference) => (ObjectName::config_map(&reference.name), reference.key.clone()),
        CaSource::Secret(reference) => (ObjectName::secret(&reference.name), reference.key.clone()),
    };
    let pem = bytes(objects, field, &source.0, &source.1)?;
    Authorities::parse(pem, trust).map_err(|why| ReferenceFault {
        field: field.to_owned(),
        source: Some(source),
        problem: Problem::InvalidCertificate(why),
    })
}

fn identity(name: &str, objects: &Lookups, field: &str) -> Result<Identity, ReferenceFault> {
    let secret = ObjectName::secret(name);
    let chain = bytes(objects, field, &secret, CHAIN_KEY)?;
    let key = bytes(objects, field, &secret, PRIVATE_KEY)?;
    Identity::parse(chain, key).map_err(|why| ReferenceFault {
        field: field.to_owned(),
        source: Some((secret.clone(), CHAIN_KEY.to_owned())),
        problem: Problem::InvalidKeyPair(why),
    })
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
        Authorities::parse(pem.as_bytes(), Trust::Only).ok().map(|found| found.anchors.len())
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
        let parsed = |chain: &str, key: &str| Identity::parse(chain.as_bytes(), key.as_bytes()).map(|_| ());
        assert_eq!(parsed(&chain, &key), Ok(()));
        assert_eq!(parsed(&chain, &format!("\u{feff}{key}")), Ok(()), "a byte order mark");
        assert_eq!(parsed(&chain, &other_key), Err(KeyPairFault::OtherKey));
        let none = KeyPairFault::Certificate(BundleFault::Empty);
        assert_eq!(parsed(&key, &chain), Err(none), "the two are swapped");
        assert_eq!(parsed("", &key), Err(none));
        assert_eq!(parsed(&chain, ""), Err(KeyPairFault::NoKey));
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert_eq!(parsed(&chain, encrypted), Err(KeyPairFault::EncryptedKey));
        }
    }

    #[test]
    fn an_identity_does_not_print() {
        let (chain, key) = pair();
        let identity = Identity::parse(chain.as_bytes(), key.as_bytes()).ok();
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
                prop_assert!(Authorities::parse(&pem, Trust::Only).is_err());
                prop_assert!(Identity::parse(&pem, &pem).is_err());
            }
        }
    }
}
