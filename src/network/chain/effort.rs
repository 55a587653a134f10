//! How much work the certificates of one handshake may be.
//!
//! Whoever owns a server decides what it shows: dozens of CA certificates of one name, each with another key, have a client
//! check a signature for each. webpki stops after a hundred, which for a slow curve is a good part of a second.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// Certificates of a server, besides its own, that are looked at. Public chains have one to three.
pub const MAX_INTERMEDIATES: usize = 6;

/// Signature checks for one handshake, in units of one with P-256 or RSA-2048. A path needs at most seven; a bundle may hold some
/// CAs of one name, since they are renewed.
const UNITS: u32 = 48;

/// An RSA key of more than 4096 bits has a longer one.
const MAX_COMMON_KEY_BYTES: usize = 600;

/// What is left of the work for one handshake.
#[derive(Debug)]
pub struct Effort(AtomicU32);

/// A kind of signature, checked as long as there is effort left.
#[derive(Debug)]
pub struct Rationed<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    effort: &'a Effort,
}

// === impl Effort ===

impl Effort {
    /// All that one handshake may cost.
    pub fn of_a_handshake() -> Self {
        Self(AtomicU32::new(UNITS))
    }

    /// The same kinds of signatures, checked as long as there is effort left.
    pub fn ration<'a>(&'a self, algorithms: &[&'a dyn SignatureVerificationAlgorithm]) -> Vec<Rationed<'a>> {
        algorithms.iter().map(|algorithm| Rationed { algorithm: *algorithm, effort: self }).collect()
    }

    fn spend(&self, units: u32) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(units)).is_ok()
    }
}

// === impl Rationed ===

impl Rationed<'_> {
    /// How many units one check costs, as measured: P-521 is checked without the assembler of the others.
    fn units(&self, public_key: &[u8]) -> u32 {
        match self.algorithm.public_key_alg_id() {
            alg_id::ECDSA_P521 => 6,
            _ if public_key.len() > MAX_COMMON_KEY_BYTES => 4,
            _ => 1,
        }
    }
}

impl SignatureVerificationAlgorithm for Rationed<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if !self.effort.spend(self.units(public_key)) {
            return Err(InvalidSignature);
        }
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}
