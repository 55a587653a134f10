//! Signatures of keys on the elliptic curve P-521, which the TLS provider cannot verify: Vault, curl and every Go client
//! accept them. Verified by the crate `p521`, for the handshake and for the chain alike.

use std::sync::LazyLock;

use p521::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use rustls::{
    SignatureScheme,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring},
    pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id},
};
use sha2::{Digest, Sha384, Sha512};

/// The provider of TLS, which verifies these signatures as well.
pub fn provider() -> CryptoProvider {
    CryptoProvider { signature_verification_algorithms: *ALGORITHMS, ..ring::default_provider() }
}

/// The hash that is signed. Shorter ones are too short for this curve.
#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha384,
    Sha512,
}

/// Signatures of P-521 keys over one hash.
#[derive(Debug)]
struct Algorithm(Hash);

static SHA384: &dyn SignatureVerificationAlgorithm = &Algorithm(Hash::Sha384);
static SHA512: &dyn SignatureVerificationAlgorithm = &Algorithm(Hash::Sha512);

/// Those of the provider, and these. Made once, and never freed: rustls asks for lists that live for ever.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let known = ring::default_provider().signature_verification_algorithms;
    let all = [known.all, &[SHA512, SHA384]].concat();
    let scheme: &'static [_] = vec![SHA512].leak();
    let mapping = [known.mapping, &[(SignatureScheme::ECDSA_NISTP521_SHA512, scheme)]].concat();
    WebPkiSupportedAlgorithms { all: all.leak(), mapping: mapping.leak() }
});

// === impl Algorithm ===

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let verified = match self.0 {
            Hash::Sha384 => key.verify_prehash(&Sha384::digest(message), &signature),
            Hash::Sha512 => key.verify_prehash(&Sha512::digest(message), &signature),
        };
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}
