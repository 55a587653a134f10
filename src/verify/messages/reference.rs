//! What is wrong with an object that a connection or a gateway names.

use super::slip;
use crate::{
    api::{CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE, condition::Reason},
    names::{ObjectKind, ObjectName},
    references::{
        anchors::BundleFault,
        resolve::{MAX_CREDENTIAL_BYTES, Problem, ReferenceFault},
        tls::KeyPairFault,
    },
};

/// The reason and the message.
pub(in crate::verify) fn of_reference(fault: &ReferenceFault) -> (Reason, String) {
    let field = &fault.field;
    let Some((object, key)) = &fault.source else {
        if let Problem::Malformed(slip) = fault.problem {
            return (Reason::MalformedCredential, format!("{field} {}", slip::certain(slip)));
        }
        // Nothing else than a CA bundle can stand in a spec itself.
        let bundle =
            if let Problem::InvalidCertificate(why) = fault.problem { why } else { BundleFault::Empty };
        return (Reason::InvalidCertificate, format!("{field}: `inline` {}", of_bundle(bundle)));
    };
    let label = format!("{CREDENTIALS_LABEL}: {CREDENTIALS_LABEL_VALUE:?}");
    let value = format!("{field}: the value of key {key:?} in {object}");
    match &fault.problem {
        Problem::Missing => missing(field, object, &label),
        Problem::NotLabelled if object.kind == ObjectKind::ServiceAccount => (
            Reason::ServiceAccountNotLabelled,
            format!(
                "{field} names {object}, which lacks the label {label}. Add the label to allow the operator to request its tokens."
            ),
        ),
        Problem::AudienceOfApiServer(audience) => (
            Reason::AudienceOfApiServer,
            format!(
                "{field}.audiences lists {audience:?}, an audience of the Kubernetes API server, so Vault could act as {object} in this cluster. List the audience that the role in Vault expects instead, such as \"vault\"."
            ),
        ),
        Problem::Forbidden if object.kind == ObjectKind::ServiceAccount => (
            Reason::TokenForbidden,
            format!(
                "{field} names {object}, but Kubernetes does not allow the operator to request its tokens. Create a Role with `get` on serviceaccounts and `create` on serviceaccounts/token, with resourceNames: [{}], and bind it to the operator's ServiceAccount (see TokenForbidden in docs/troubleshooting.md).",
                object.name
            ),
        ),
        Problem::NotLabelled => (
            Reason::SecretNotLabelled,
            format!(
                "{field} names {object}, which lacks the label {label}. Add the label to allow the operator to use it."
            ),
        ),
        Problem::Forbidden => (
            Reason::ReadForbidden,
            format!(
                "{field} names {object}, but Kubernetes does not allow the operator to read it. Grant the operator's ServiceAccount get, list and watch in this namespace."
            ),
        ),
        Problem::NoKey => (
            Reason::KeyNotFound,
            format!(
                "{field} names key {key:?}, which {object} does not have. Add the key, or correct its name."
            ),
        ),
        Problem::Empty => (Reason::EmptyValue, format!("{value} is empty. Store the credential there.")),
        Problem::NotUtf8 => (
            Reason::NotUtf8,
            format!(
                "{value} is not UTF-8 text. Store plain text in `stringData` (`data` takes base64), and save files as UTF-8, not UTF-16."
            ),
        ),
        Problem::Whitespace => (
            Reason::WhitespaceInValue,
            format!(
                "{value} starts or ends with white space, usually a newline. Store it without, for example with `kubectl create secret --from-literal` or `echo -n`."
            ),
        ),
        Problem::TooLong => (
            Reason::CredentialTooLong,
            format!(
                "{value} is longer than {} KiB. Store only the credential, not the file or response that contains it.",
                MAX_CREDENTIAL_BYTES / 1024
            ),
        ),
        Problem::Malformed(slip) => {
            (Reason::MalformedCredential, format!("{value} {}", slip::certain(*slip)))
        }
        Problem::InvalidKeyPair(why) => {
            (Reason::InvalidKeyPair, format!("{field} names {object}, {}", of_key_pair(*why)))
        }
        Problem::InvalidGateway(why) => {
            (Reason::InvalidGateway, format!("{field} names {object}, whose spec is invalid: {why}."))
        }
        Problem::InvalidCertificate(why) => {
            (Reason::InvalidCertificate, format!("{value} {}", of_bundle(*why)))
        }
    }
}

/// An object that does not exist.
fn missing(field: &str, object: &ObjectName, label: &str) -> (Reason, String) {
    match object.kind {
        ObjectKind::Secret => (
            Reason::SecretNotFound,
            format!(
                "{field} names {object}, which does not exist in this namespace. Create it with the label {label}."
            ),
        ),
        ObjectKind::ConfigMap => (
            Reason::ConfigMapNotFound,
            format!("{field} names {object}, which does not exist in this namespace. Create it."),
        ),
        ObjectKind::ServiceAccount => (
            Reason::ServiceAccountNotFound,
            format!(
                "{field} names {object}, which does not exist in this namespace. Create it with the label {label}."
            ),
        ),
        ObjectKind::VaultGateway => (
            Reason::GatewayNotFound,
            format!(
                "{field} names {object}, which does not exist in this namespace. Create it; the operator never connects to the instance without it."
            ),
        ),
    }
}

/// What is wrong with a CA bundle, after its name.
fn of_bundle(fault: BundleFault) -> String {
    match fault {
        BundleFault::Empty => format!("contains no CA certificate in PEM format. {PEM}"),
        BundleFault::Utf16 => {
            "is encoded in UTF-16, as PowerShell writes files. Save it as UTF-8 without a byte order mark."
                .to_owned()
        }
        BundleFault::Broken { index, count } => format!(
            "contains a certificate that cannot be parsed (number {index} of {count}). Replace or remove that certificate. {PEM}"
        ),
    }
}

/// What is wrong with a certificate and its key, after the name of their Secret.
fn of_key_pair(fault: KeyPairFault) -> String {
    let make = "Create the Secret with `kubectl create secret tls`.";
    match fault {
        KeyPairFault::Certificate(BundleFault::Broken { index, count }) => format!(
            "whose tls.crt contains a certificate that cannot be parsed (number {index} of {count}). {make}"
        ),
        KeyPairFault::Certificate(BundleFault::Empty | BundleFault::Utf16) => {
            format!("which contains no certificate in PEM format under tls.crt. {make}")
        }
        KeyPairFault::NoKey => {
            format!("which contains no readable private key in PEM format under tls.key. {make}")
        }
        KeyPairFault::EncryptedKey => "whose tls.key is encrypted with a passphrase. Store it decrypted, for example with `openssl pkey -in tls.key -out plain.key`.".to_owned(),
        KeyPairFault::UnsupportedKey => "whose tls.key has a type or an elliptic curve that the operator does not support. Use RSA with 2048 bits or more, ECDSA with P-256 or P-384, or Ed25519.".to_owned(),
        KeyPairFault::OtherKey => {
            format!("whose tls.key does not match the first certificate in tls.crt. {make} Put the certificate of this key before those of its CAs.")
        }
    }
}

const PEM: &str = "It must contain blocks that begin with -----BEGIN CERTIFICATE-----.";
