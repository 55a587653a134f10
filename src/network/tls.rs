//! TLS settings for a connection to a server: which CA certificates are trusted, and who we are.

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
};

use crate::{
    network::{
        chain::{CertificateEnd, Judge, weak_key},
        faults::{TlsFault, TransportFault},
        p521,
    },
    references::{
        anchors::Anchors,
        tls::{Authorities, Identity, TlsMaterial},
    },
};

/// The one provider of the operator.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(p521::provider()));

/// The client's side of TLS with one server.
#[derive(Clone, Debug)]
pub struct Client {
    authorities: Option<Authorities>,
    identity: Option<Identity>,
    system: Arc<Anchors>,
}

/// What a handshake saw.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Option<CertificateEnd>>>);

/// Judges the certificates of one handshake.
struct Verifier {
    authorities: Option<Authorities>,
    system: Arc<Anchors>,
    seen: Seen,
}

/// The CA certificates of the operator's image, read once.
pub fn system_anchors() -> Arc<Anchors> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "failed to read some CA certificates of the system");
    }
    let anchors = Anchors::of(found.certs);
    tracing::debug!(certificates = anchors.len(), "system CA certificates read");
    Arc::new(anchors)
}

// === impl Client ===

impl Client {
    /// TLS that trusts what the material names, or the CAs of the system.
    pub fn new(material: &TlsMaterial, system: &Arc<Anchors>) -> Self {
        let TlsMaterial { authorities, identity, server_name: _ } = material.clone();
        Self { authorities, identity, system: Arc::clone(system) }
    }

    /// The settings for one handshake, TLS 1.2 or 1.3, and where to find what it saw. Nothing is resumed: each handshake
    /// judges the server's certificate anew.
    pub fn config(&self) -> (Arc<ClientConfig>, Seen) {
        let seen = Seen::default();
        let verifier = Verifier {
            authorities: self.authorities.clone(),
            system: Arc::clone(&self.system),
            seen: seen.clone(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        (Arc::new(config), seen)
    }

    /// A fault as it is for one who knows our own certificate: servers seldom say that it is out of its time.
    pub fn refine(&self, fault: TransportFault) -> TransportFault {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let is_late = self.identity.as_ref().is_some_and(|identity| identity.is_out_of_time(now));
        match fault {
            TransportFault::Tls(TlsFault::ClientCertificate) if is_late => {
                TransportFault::Tls(TlsFault::ClientCertificateExpired)
            }
            other => other,
        }
    }
}

// === impl Seen ===

impl Seen {
    /// Which certificate of the server's chain ends first.
    pub fn end(&self) -> Option<CertificateEnd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Verifier ===

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = Judge {
            authorities: self.authorities.as_ref(),
            system: &self.system,
            algorithms: PROVIDER.signature_verification_algorithms.all,
            now,
        };
        let end = judge.verify(end_entity, intermediates, server_name).map_err(as_error)?;
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
            .map_err(|error| weak_key(certificate).map_or(error, as_error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &PROVIDER.signature_verification_algorithms)
            .map_err(|error| weak_key(certificate).map_or(error, as_error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// A fault as it travels through the TLS library.
fn as_error(fault: TlsFault) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
}
