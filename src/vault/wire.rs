//! From the errors of the HTTP and TLS libraries to the fault that they are.
//!
//! Pure: an error is a value. Nothing of its text is passed on.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError};

use super::transport::{TlsFault, TransportFault};

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
    (io.kind() == io::ErrorKind::ConnectionRefused).then_some(TransportFault::Refused)
}

fn tls_fault(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownAuthority,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFault::WrongName
            }
            _ => TlsFault::Other,
        },
        // How servers say that they want a certificate of ours, or do not take the one they got: RFC 8446, section
        // 6.2. With TLS 1.2 a missing certificate is often called a bad one.
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => TlsFault::ClientCertificate,
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        _ => TlsFault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_however_deep_it_is_wrapped() {
        let alert = |alert| rustls::Error::AlertReceived(alert);
        let table: Vec<(rustls::Error, TlsFault)> = vec![
            (CertificateError::UnknownIssuer.into(), TlsFault::UnknownAuthority),
            (CertificateError::Expired.into(), TlsFault::Expired),
            (CertificateError::NotValidForName.into(), TlsFault::WrongName),
            (CertificateError::BadEncoding.into(), TlsFault::Other),
            (alert(AlertDescription::CertificateRequired), TlsFault::ClientCertificate),
            (alert(AlertDescription::BadCertificate), TlsFault::ClientCertificate),
            (alert(AlertDescription::ProtocolVersion), TlsFault::Other),
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
        assert_eq!(fault_of(&io::Error::other("canary")), None);
    }
}
