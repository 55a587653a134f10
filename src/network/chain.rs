//! Whether the certificates that a server shows can be trusted, and which of them ends first.
//!
//! Pure: `now` is an argument. The path is found by webpki. Beyond that,
//!
//! - a CA certificate that is out of its time ends no path, as with every client of Go and OpenSSL;
//! - a certificate that is itself in the bundle is trusted as it is, also if it is that of a CA;
//! - a server cannot make us work without a bound: see [`effort`];
//! - a fault names what failed, so that a person knows which certificate to replace.

mod effort;

use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use self::effort::{Effort, MAX_INTERMEDIATES};
use crate::{
    api::tls::Trust,
    network::faults::{Flaw, TlsFault},
    references::{
        anchors::{Anchor, Anchors},
        certificate::{Facts, Weakness},
        tls::Authorities,
    },
};

/// Which certificate of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPart {
    /// The server's own.
    Server,
    /// Of a CA between the server and the one that is trusted.
    Intermediate,
    /// Of the CA that is trusted.
    Authority,
}

/// The certificate of a chain that ends first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnd {
    /// When.
    pub at: Timestamp,
    /// Which one.
    pub part: ChainPart,
    /// Whose it is.
    pub subject: String,
}

/// What chains are judged by.
pub struct Judge<'a> {
    /// The CA certificates that are given.
    pub authorities: Option<&'a Authorities>,
    /// Those of the system.
    pub system: &'a Anchors,
    /// The signatures that can be checked.
    pub algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// Now.
    pub now: UnixTime,
}

/// What a server shows: its certificate, and others that lead to a CA.
type Presented<'a> = (&'a EndEntityCert<'a>, &'a [CertificateDer<'a>]);

// === impl ChainPart ===

impl ChainPart {
    /// What it is, in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "the server's certificate",
            Self::Intermediate => "the certificate of an intermediate CA",
            Self::Authority => "the certificate of the CA that is trusted",
        }
    }
}

// === impl Judge ===

impl Judge<'_> {
    /// Judges the certificates that a server shows, its own first.
    pub fn verify(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<CertificateEnd, TlsFault> {
        let (facts, effort) = (Facts::read(server), Effort::of_a_handshake());
        let intermediates = &intermediates[..intermediates.len().min(MAX_INTERMEDIATES)];
        let parsed = EndEntityCert::try_from(server).map_err(|_| flawed(facts.as_ref(), Flaw::Malformed))?;
        let end = if self.authorities.is_some_and(|authorities| authorities.anchors.holds(server)) {
            self.verify_pinned(facts.as_ref())?
        } else {
            let anchors: Vec<&Anchor> = self.anchors().filter(|anchor| self.holds(anchor)).collect();
            let path = self.path((&parsed, intermediates), &anchors, &effort);
            path.as_deref()
                .map(first_end)
                .map_err(|error| self.fault(error, facts.as_ref(), (&parsed, intermediates), &effort))??
        };
        match parsed.verify_is_valid_for_subject_name(name) {
            Ok(()) => Ok(end),
            Err(_) => Err(TlsFault::WrongName { listed: facts.map(|facts| facts.names).unwrap_or_default() }),
        }
    }

    /// A certificate that the user has put into the bundle needs no CA.
    fn verify_pinned(&self, facts: Option<&Facts>) -> Result<CertificateEnd, TlsFault> {
        let facts = facts.ok_or_else(|| flawed(None, Flaw::Malformed))?;
        if !facts.holds_at(self.seconds()) {
            return Err(out_of_time(ChainPart::Server, facts));
        }
        if !facts.is_for_servers {
            return Err(flawed(Some(facts), Flaw::Usage));
        }
        Ok(end_of(ChainPart::Server, facts))
    }

    /// Finds a path to one of these anchors: what its certificates say.
    fn path(
        &self,
        (server, intermediates): Presented<'_>,
        anchors: &[&Anchor],
        effort: &Effort,
    ) -> Result<Vec<(ChainPart, Facts)>, Error> {
        let trusted: Vec<TrustAnchor<'_>> = anchors.iter().filter_map(|anchor| anchor.trusted()).collect();
        let rationed = effort.ration(self.algorithms);
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            rationed.iter().map(|it| it as &dyn SignatureVerificationAlgorithm).collect();
        let path = server.verify_for_usage(
            &algorithms,
            &trusted,
            intermediates,
            self.now,
            KeyUsage::server_auth(),
            None,
            None,
        )?;
        let mut found = Vec::new();
        let mut add = |part, der: &[u8]| found.extend(Facts::read(der).map(|facts| (part, facts)));
        add(ChainPart::Server, &path.end_entity().der());
        path.intermediate_certificates().for_each(|one| add(ChainPart::Intermediate, &one.der()));
        // A CA that was renewed with its old key has two certificates, of which the younger one counts.
        let is_used = |anchor: &&&Anchor| {
            anchor.trusted().is_some_and(|it| {
                it.subject == path.anchor().subject
                    && it.subject_public_key_info == path.anchor().subject_public_key_info
            })
        };
        let used = anchors.iter().filter(is_used).filter_map(|anchor| anchor.facts());
        let used = used.max_by_key(|facts| facts.ends);
        found.extend(used.map(|facts| (ChainPart::Authority, facts.clone())));
        Ok(found)
    }

    /// Why no path was found, in the order in which a person would look.
    fn fault(
        &self,
        error: &Error,
        server: Option<&Facts>,
        presented: Presented<'_>,
        effort: &Effort,
    ) -> TlsFault {
        let Some(server) = server else { return flawed(None, Flaw::Malformed) };
        if !server.holds_at(self.seconds()) {
            return out_of_time(ChainPart::Server, server);
        }
        let between: Vec<Facts> = presented.1.iter().filter_map(|it| Facts::read(it)).collect();
        let chain = || std::iter::once(server).chain(&between);
        match error {
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
                let late = between.iter().find(|facts| !facts.holds_at(self.seconds()));
                late.map_or(TlsFault::UnknownAuthority, |facts| out_of_time(ChainPart::Intermediate, facts))
            }
            Error::CaUsedAsEndEntity if server.is_self_signed => self_signed(server),
            Error::CaUsedAsEndEntity => flawed(Some(server), Flaw::Authority),
            Error::RequiredEkuNotFoundContext(_) => {
                flawed(chain().find(|facts| !facts.is_for_servers), Flaw::Usage)
            }
            Error::NameConstraintViolation => flawed(Some(server), Flaw::NameConstraint),
            Error::UnknownIssuer
            | Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded => self.unknown(server, presented, effort),
            _ => self.weakness(chain()).unwrap_or_else(|| match error {
                Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => {
                    TlsFault::UnknownAuthority
                }
                _ => flawed(Some(server), Flaw::Malformed),
            }),
        }
    }

    /// Why no CA is found: it is in the bundle, but out of its time, or there is none at all.
    fn unknown(&self, server: &Facts, presented: Presented<'_>, effort: &Effort) -> TlsFault {
        let late: Vec<&Anchor> = self.anchors().filter(|anchor| !self.holds(anchor)).collect();
        let path = self.path(presented, &late, effort).unwrap_or_default();
        match path.into_iter().find(|(part, _)| *part == ChainPart::Authority) {
            Some((_, facts)) => {
                TlsFault::AuthorityOutOfTime { is_over: facts.ends < self.seconds(), subject: facts.subject }
            }
            None if server.is_self_signed => self_signed(server),
            None => TlsFault::UnknownAuthority,
        }
    }

    /// The first key or signature of a chain, or of the CAs that are given, that cannot be accepted.
    fn weakness<'f>(&self, chain: impl Iterator<Item = &'f Facts>) -> Option<TlsFault> {
        let chain: Vec<&Facts> = chain.collect();
        let signed = chain.iter().find_map(|facts| Some((*facts, facts.signature.clone()?)));
        let given = self.authorities.into_iter().flat_map(|it| it.anchors.iter()).filter_map(Anchor::facts);
        let keyed = || chain.iter().copied().chain(given).find_map(|facts| Some((facts, facts.key.clone()?)));
        signed.or_else(keyed).map(|(facts, weakness)| flawed(Some(facts), Flaw::Weak(weakness)))
    }

    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        let (given, system) = match self.authorities {
            None => (None, Some(self.system)),
            Some(Authorities { anchors, trust: Trust::Only }) => (Some(&**anchors), None),
            Some(Authorities { anchors, trust: Trust::WithSystem }) => (Some(&**anchors), Some(self.system)),
        };
        given.into_iter().chain(system).flat_map(Anchors::iter)
    }

    /// What does not parse has no end that could be over.
    fn holds(&self, anchor: &Anchor) -> bool {
        anchor.facts().is_none_or(|facts| facts.holds_at(self.seconds()))
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Why the key of a server cannot be used, when its signature does not verify.
pub fn weak_key(server: &CertificateDer<'_>) -> Option<TlsFault> {
    let facts = Facts::read(server)?;
    let weakness: Weakness = facts.key.clone()?;
    Some(flawed(Some(&facts), Flaw::Weak(weakness)))
}

/// Which certificate of a path ends first.
fn first_end(path: &[(ChainPart, Facts)]) -> Result<CertificateEnd, TlsFault> {
    let ends = path.iter().map(|(part, facts)| end_of(*part, facts));
    ends.min_by_key(|end| end.at).ok_or_else(|| flawed(None, Flaw::Malformed))
}

fn end_of(part: ChainPart, facts: &Facts) -> CertificateEnd {
    let at = Timestamp::from_second(facts.ends).unwrap_or(Timestamp::MAX);
    CertificateEnd { at, part, subject: facts.subject.clone() }
}

fn out_of_time(part: ChainPart, facts: &Facts) -> TlsFault {
    TlsFault::Expired { part, subject: facts.subject.clone() }
}

fn self_signed(server: &Facts) -> TlsFault {
    TlsFault::SelfSigned { subject: server.subject.clone() }
}

fn flawed(facts: Option<&Facts>, flaw: Flaw) -> TlsFault {
    TlsFault::Flawed { subject: facts.map(|facts| facts.subject.clone()).unwrap_or_default(), flaw }
}

#[cfg(test)]
mod tests;
