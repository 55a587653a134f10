//! What is wrong with an object that a connection or a gateway names.

use super::slip;
use crate::{
    api::{CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE, condition::Reason},
    refs::ObjectKind,
    secrets::resolve::{MAX_CREDENTIAL_BYTES, Problem, ReferenceFault},
};

/// The reason and the message.
pub(in crate::verify) fn of_reference(fault: &ReferenceFault) -> (Reason, String) {
    let field = &fault.field;
    let Some((object, key)) = &fault.source else {
        if let Problem::Malformed(slip) = fault.problem {
            return (Reason::MalformedCredential, format!("{field} {}", slip::certain(slip)));
        }
        return (
            Reason::InvalidCertificate,
            format!(
                "{field}: `inline` holds no CA certificate in PEM form, or one that does not parse: {PEM}"
            ),
        );
    };
    let label = format!("{CREDENTIALS_LABEL}: {CREDENTIALS_LABEL_VALUE:?}");
    let value = format!("{field}: the value of key {key:?} in {object}");
    match &fault.problem {
        Problem::Missing => match object.kind {
            ObjectKind::Secret => (
                Reason::SecretNotFound,
                format!(
                    "{field} names {object}, which does not exist in this namespace: create it with the label {label}"
                ),
            ),
            ObjectKind::ConfigMap => (
                Reason::ConfigMapNotFound,
                format!("{field} names {object}, which does not exist in this namespace: create it"),
            ),
            ObjectKind::VaultGateway => (
                Reason::GatewayNotFound,
                format!(
                    "{field} names {object}, which does not exist in this namespace: create it; the instance is never dialled without it"
                ),
            ),
        },
        Problem::NotLabelled => (
            Reason::SecretNotLabelled,
            format!("{field} names {object}, which the operator may not use: give it the label {label}"),
        ),
        Problem::Forbidden => (
            Reason::ReadForbidden,
            format!(
                "{field} names {object}, which Kubernetes does not let the operator read: grant its ServiceAccount get, list and watch in this namespace"
            ),
        ),
        Problem::NoKey => (
            Reason::KeyNotFound,
            format!(
                "{field} names key {key:?} of {object}, which has no such key: add it, or correct the name of the key"
            ),
        ),
        Problem::Empty => (Reason::EmptyValue, format!("{value} is empty: put the credential there")),
        Problem::NotUtf8 => (
            Reason::NotUtf8,
            format!(
                "{value} is not UTF-8 text: was the text itself written into `data`, which takes it encoded (use `stringData`), is it a file in UTF-16, or another file?"
            ),
        ),
        Problem::Whitespace => (
            Reason::WhitespaceInValue,
            format!(
                "{value} starts or ends with white space, most often a newline: write it without, as `kubectl create secret --from-literal` or `echo -n` do"
            ),
        ),
        Problem::TooLong => (
            Reason::CredentialTooLong,
            format!(
                "{value} is longer than {} KiB: write the credential alone, not the file or answer that it came in",
                MAX_CREDENTIAL_BYTES / 1024
            ),
        ),
        Problem::Malformed(slip) => {
            (Reason::MalformedCredential, format!("{value} {}", slip::certain(*slip)))
        }
        Problem::InvalidKeyPair => (
            Reason::InvalidKeyPair,
            format!(
                "{field} names {object}, which holds no certificate in PEM form under tls.crt with the private key that belongs to it under tls.key: make it with `kubectl create secret tls`"
            ),
        ),
        Problem::InvalidGateway(why) => {
            (Reason::InvalidGateway, format!("{field} names {object}, whose spec makes no sense: {why}"))
        }
        Problem::InvalidCertificate => (
            Reason::InvalidCertificate,
            format!("{value} holds no CA certificate in PEM form, or one that does not parse: {PEM}"),
        ),
    }
}

const PEM: &str = "it must hold blocks of -----BEGIN CERTIFICATE-----";
