//! From the errors of the HTTP and TLS libraries to the fault that they are.
//!
//! Pure: an error is a value. Nothing of its text is passed on.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::network::faults::{TlsFault, TransportFault};

/// The first known cause in an error's chain.
pub fn fault_of(error: &(dyn StdError + 'static)) -> Option<TransportFault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(known) = known_cause(error) {
            return Some(known);
        }
        cause = error.source();
    }
    None
}

fn known_cause(error: &(dyn StdError + 'static)) -> Option<TransportFault> {
    if let Some(fault) = error.downcast_ref::<TransportFault>() {
        return Some(fault.clone());
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(TransportFault::Tls(tls_fault(tls)));
    }
    let io = error.downcast_ref::<io::Error>()?;
    // An io::Error that wraps another error hides it from `source`.
    if let Some(known) = io.get_ref().and_then(|inner| known_cause(inner)) {
        return Some(known);
    }
    match io.raw_os_error() {
        Some(code) if OUR_OWN.contains(&code) => Some(TransportFault::OutOfResources),
        _ => (io.kind() == io::ErrorKind::ConnectionRefused).then_some(TransportFault::Refused),
    }
}

/// What Linux says when it is the operator that cannot make another connection: ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL
/// (no local port is free) and ENOBUFS.
const OUR_OWN: [i32; 5] = [12, 23, 24, 99, 105];

fn tls_fault(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // What our own verifier says.
            CertificateError::Other(other) => {
                other.0.downcast_ref::<TlsFault>().cloned().unwrap_or(TlsFault::Other)
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownAuthority,
            _ => TlsFault::Other,
        },
        // How servers say that they want a certificate of ours, or do not take the one they got: RFC 8446, section
        // 6.2. With TLS 1.2 a missing certificate is often called a bad one.
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => TlsFault::ClientCertificate,
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            TlsFault::ClientCertificateExpired
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => TlsFault::OldVersion,
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | rustls::Error::PeerIncompatible(_) => TlsFault::NothingInCommon,
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => TlsFault::UnknownName,
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn the_cause_is_found_however_deep_it_is_wrapped() {
        let alert = |alert| rustls::Error::AlertReceived(alert);
        let listed = TlsFault::WrongName { listed: vec!["a.example".to_owned()] };
        let table: Vec<(rustls::Error, TlsFault)> = vec![
            (CertificateError::UnknownIssuer.into(), TlsFault::UnknownAuthority),
            (CertificateError::Other(OtherError(Arc::new(listed.clone()))).into(), listed),
            (alert(AlertDescription::CertificateExpired), TlsFault::ClientCertificateExpired),
            (alert(AlertDescription::HandshakeFailure), TlsFault::NothingInCommon),
            (alert(AlertDescription::UnrecognisedName), TlsFault::UnknownName),
            (PeerIncompatible::NoCipherSuitesInCommon.into(), TlsFault::NothingInCommon),
            (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), TlsFault::OldVersion),
            (CertificateError::BadEncoding.into(), TlsFault::Other),
            (alert(AlertDescription::CertificateRequired), TlsFault::ClientCertificate),
            (alert(AlertDescription::BadCertificate), TlsFault::ClientCertificate),
            (alert(AlertDescription::ProtocolVersion), TlsFault::OldVersion),
            (alert(AlertDescription::InternalError), TlsFault::Other),
            (rustls::InvalidMessage::InvalidContentType.into(), TlsFault::NotTls),
        ];
        for (error, fault) in table {
            let text = error.to_string();
            let wrapped = io::Error::other(io::Error::other(error));
            assert_eq!(fault_of(&wrapped), Some(TransportFault::Tls(fault)), "{text}");
        }
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(fault_of(&refused), Some(TransportFault::Refused));
        assert_eq!(fault_of(&io::Error::other(TransportFault::TimedOut)), Some(TransportFault::TimedOut));
        let no_descriptor = io::Error::other(io::Error::from_raw_os_error(24));
        assert_eq!(fault_of(&no_descriptor), Some(TransportFault::OutOfResources));
        assert_eq!(fault_of(&io::Error::other("canary")), None);
    }
}
