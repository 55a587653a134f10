//! Certificates of CAs in which a chain may end.
//!
//! Pure. A bundle that many connections use is held once (`gateway::dial` shares equal ones), so it is compared by what
//! it holds.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use rustls::pki_types::{CertificateDer, TrustAnchor, pem::PemObject};
use webpki::anchor_from_trusted_cert;

use super::certificate::Facts;

/// Certificates of CAs.
pub struct Anchors {
    anchors: Vec<Anchor>,
    /// Unequal for nearly all that are unequal.
    digest: u64,
}

/// A certificate of a CA.
pub struct Anchor {
    certificate: CertificateDer<'static>,
    /// What is to be told of it; none if that does not parse, as in certificates of the first version.
    facts: Option<Facts>,
}

/// Why a text holds no CA bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleFault {
    /// It holds no certificate in PEM form.
    Empty,
    /// It is text in UTF-16, as PowerShell writes it.
    Utf16,
    /// One of its certificates is broken.
    Broken {
        /// Which one, from 1.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The mark that editors of Windows write before UTF-8 text. Where files were joined it stands in the middle.
const BYTE_ORDER_MARK: &str = "\u{feff}";

// === impl Anchors ===

impl Anchors {
    /// Of certificates as they are, without those that cannot be an anchor.
    pub fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        Self::new(certificates.into_iter().filter_map(Anchor::new).collect())
    }

    /// Reads certificates in PEM form. Nothing but certificates counts, and one that cannot be an anchor spoils all.
    pub fn parse(pem: &[u8]) -> Result<Self, BundleFault> {
        let certificates = certificates(pem)?;
        let count = certificates.len();
        let mut anchors = Vec::with_capacity(count);
        for (index, certificate) in certificates.into_iter().enumerate() {
            let broken = BundleFault::Broken { index: index + 1, count };
            anchors.push(Anchor::new(certificate).ok_or(broken)?);
        }
        Ok(Self::new(anchors))
    }

    fn new(anchors: Vec<Anchor>) -> Self {
        let mut hasher = DefaultHasher::new();
        for anchor in &anchors {
            anchor.certificate.as_ref().hash(&mut hasher);
        }
        Self { anchors, digest: hasher.finish() }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    /// Whether this very certificate is among them.
    pub fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.anchors.iter().any(|anchor| anchor.certificate == *certificate)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// A number that is the same for equal ones.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

impl PartialEq for Anchors {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Anchor, &Anchor)| one.certificate == other.certificate;
        self.digest == other.digest
            && self.len() == other.len()
            && self.anchors.iter().zip(&other.anchors).all(same)
    }
}

impl Eq for Anchors {}

impl Hash for Anchors {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({} certificates)", self.len())
    }
}

// === impl Anchor ===

impl Anchor {
    fn new(certificate: CertificateDer<'static>) -> Option<Self> {
        anchor_from_trusted_cert(&certificate).ok()?;
        let facts = Facts::read(&certificate);
        Some(Self { certificate, facts })
    }

    /// As it is given to the verifier of chains.
    pub fn trusted(&self) -> Option<TrustAnchor<'_>> {
        anchor_from_trusted_cert(&self.certificate).ok()
    }

    /// What is to be told of it.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }
}

/// Every certificate of a PEM text.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleFault> {
    if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        return Err(BundleFault::Utf16);
    }
    let text = String::from_utf8_lossy(pem).replace(BYTE_ORDER_MARK, "");
    let count = text.matches(BEGIN).count();
    let mut found = Vec::with_capacity(count);
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let broken = BundleFault::Broken { index: found.len() + 1, count };
        found.push(certificate.map_err(|_| if count == 0 { BundleFault::Empty } else { broken })?);
    }
    if found.is_empty() { Err(BundleFault::Empty) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem()
    }

    #[test]
    fn a_broken_certificate_is_reported_by_its_place() {
        let (one, other) = (pem(), pem());
        let broken = one.replace("MII", "AAA");
        let no_base64 = one.replace("MII", "!!!");
        let count = |text: &str| Anchors::parse(text.as_bytes()).map(|anchors| anchors.len());
        let at = |index, count| Err(BundleFault::Broken { index, count });
        assert_eq!(count(&format!("{one}\n{broken}\n{other}")), at(2, 3));
        assert_eq!(count(&format!("{one}\n{other}\n{no_base64}")), at(3, 3));
        assert_eq!(count(&broken), at(1, 1));
        assert_eq!(count("nothing"), Err(BundleFault::Empty));
        let open = one.replace("-----END CERTIFICATE-----", "");
        assert_eq!(count(&format!("{other}\n{open}")), at(2, 2));
    }

    #[test]
    fn byte_order_marks_of_utf_8_do_no_harm_and_utf_16_is_reported() {
        let (one, other) = (pem(), pem());
        let marked = format!("\u{feff}{one}\u{feff}{other}");
        assert_eq!(Anchors::parse(marked.as_bytes()).map(|anchors| anchors.len()), Ok(2));
        let wide: Vec<u8> = one.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Anchors::parse(&[b"\xff\xfe".as_slice(), &wide].concat()), Err(BundleFault::Utf16));
    }

    #[test]
    fn equal_bundles_are_equal_values() {
        let (one, other) = (pem(), pem());
        let parsed = |text: &str| Anchors::parse(text.as_bytes()).expect("a bundle");
        assert_eq!(parsed(&one), parsed(&format!("# a comment\n{one}")));
        assert_ne!(parsed(&one), parsed(&other));
        assert_ne!(parsed(&one), parsed(&format!("{one}{other}")));
    }
}
