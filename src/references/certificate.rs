//! What is to be told of a certificate: whose it is, for how long, for which names, and what could be wrong with it.
//!
//! Pure. Whether a certificate is trusted is decided elsewhere; this finds the words for it. The texts come from whoever
//! made the certificate: they are cut and cleaned here, once.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::Oid, prelude::FromDer,
    public_key::PublicKey, x509::SubjectPublicKeyInfo,
};

/// Longest name of a certificate that is shown, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Fewest bits of an RSA key. Shorter ones were given up by NIST in 2013 (SP 800-131A).
const MIN_RSA_BITS: usize = 2048;

/// What is to be told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Whose it is, cut and cleaned.
    pub subject: String,
    /// Its first second, since the epoch.
    pub begins: i64,
    /// Its last second, since the epoch.
    pub ends: i64,
    /// Whether it names itself as its issuer.
    pub is_self_signed: bool,
    /// Whether it may be used by a server.
    pub is_for_servers: bool,
    /// The names that it is for, cut and cleaned.
    pub names: Vec<String>,
    /// Why its key is not accepted.
    pub key: Option<Weakness>,
    /// Why the signature on it is not accepted.
    pub signature: Option<Weakness>,
}

/// Why a key or a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// An RSA key is too short.
    ShortKey {
        /// Its bits.
        bits: usize,
    },
    /// A hash that can be forged.
    OldHash(&'static str),
    /// A curve or an algorithm that the operator does not know.
    Unsupported(&'static str),
}

/// Curves and algorithms of keys that the TLS provider does not have.
const UNSUPPORTED_KEYS: &[(&str, &str)] = &[
    ("1.3.132.0.33", "the elliptic curve P-224"),
    ("1.3.132.0.10", "the elliptic curve secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "the elliptic curve brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "the elliptic curve brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "the elliptic curve brainpoolP512r1"),
    ("1.3.101.113", "the algorithm Ed448"),
    ("1.2.840.10040.4.1", "the algorithm DSA"),
];

/// Signatures with a hash that can be forged.
const OLD_SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.2", "MD2"),
];

// === impl Facts ===

impl Facts {
    /// Reads a certificate; none if it does not parse.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let usage = certificate.extended_key_usage().ok()?;
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
        Some(Self {
            subject: sanitized(&certificate.subject().to_string()),
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
            is_self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            is_for_servers: usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
            names: names.unwrap_or_default(),
            key: weak_key(certificate.public_key()),
            signature: found(OLD_SIGNATURES, &certificate.signature_algorithm.algorithm)
                .map(Weakness::OldHash),
        })
    }

    /// Whether it is in its time.
    pub fn holds_at(&self, seconds: i64) -> bool {
        (self.begins..=self.ends).contains(&seconds)
    }
}

/// A text of a certificate, fit to be shown: of letters, digits and a few signs, and not long.
pub fn sanitized(text: &str) -> String {
    let shown = |c: char| if c.is_alphanumeric() || " .-_*=,:/@()+'".contains(c) { c } else { '?' };
    let mut cut: String = text.chars().take(MAX_NAME_CHARS).map(shown).collect();
    if text.chars().nth(MAX_NAME_CHARS).is_some() {
        cut.push_str("...");
    }
    cut
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(sanitized(name)),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = || <[u8; 16]>::try_from(*octets).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or_else(|_| v6()).ok()
        }
        // No client takes the name of a server from another kind.
        _ => None,
    }
}

fn weak_key(key: &SubjectPublicKeyInfo<'_>) -> Option<Weakness> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let mut oids = curve.iter().chain([&key.algorithm.algorithm]);
    let unsupported = oids.find_map(|oid| found(UNSUPPORTED_KEYS, oid));
    if let Some(what) = unsupported {
        return Some(Weakness::Unsupported(what));
    }
    match key.parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => {
            Some(Weakness::ShortKey { bits: key.key_size() })
        }
        _ => None,
    }
}

fn found(table: &'static [(&str, &str)], oid: &Oid<'_>) -> Option<&'static str> {
    let oid = oid.to_id_string();
    table.iter().find(|(known, _)| *known == oid).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_is_cut_and_cleaned() {
        assert_eq!(sanitized("CN=Root CA, O=Übung (1)"), "CN=Root CA, O=Übung (1)");
        assert_eq!(sanitized("a\u{202e}b\n\u{2028}\u{1b}[2J<x>"), "a?b????2J?x?");
        let long = sanitized(&"x".repeat(200));
        assert_eq!(long.len(), MAX_NAME_CHARS + 3);
    }

    #[test]
    fn the_names_of_a_certificate_are_read() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = ["vault.example.com", "10.0.0.7", "fd00::7"].map(str::to_owned);
        let certificate = rcgen::CertificateParams::new(names.clone()).expect("names").self_signed(&key);
        let facts = Facts::read(certificate.expect("a certificate").der()).expect("it parses");
        assert_eq!(facts.names, names);
        assert!(facts.is_self_signed && facts.is_for_servers && facts.begins < facts.ends);
        assert_eq!((facts.key, facts.signature), (None, None));
        assert_eq!(Facts::read(b"no certificate"), None);
    }
}
