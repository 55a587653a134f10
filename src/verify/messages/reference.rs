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
                "{field} names {object}, whose tokens the operator may not request: its owner agrees by the label {label}"
            ),
        ),
        Problem::AudienceOfApiServer(audience) => (
            Reason::AudienceOfApiServer,
            format!(
                "{field}.audiences lists {audience:?}, an audience of the Kubernetes API server, so that Vault could act as {object} in this cluster: list the audience that the role at Vault expects, such as \"vault\""
            ),
        ),
        Problem::Forbidden if object.kind == ObjectKind::ServiceAccount => (
            Reason::TokenForbidden,
            format!(
                "{field} names {object}, for which Kubernetes does not let the operator request tokens: apply a Role with `get` on serviceaccounts and `create` on serviceaccounts/token, with resourceNames: [{}], and bind it to the operator's ServiceAccount (docs/troubleshooting.md has it under TokenForbidden)",
                object.name
            ),
        ),
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
        Problem::InvalidKeyPair(why) => {
            (Reason::InvalidKeyPair, format!("{field} names {object}, {}", of_key_pair(*why)))
        }
        Problem::InvalidGateway(why) => {
            (Reason::InvalidGateway, format!("{field} names {object}, whose spec is invalid: {why}"))
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
                "{field} names {object}, which does not exist in this namespace: create it with the label {label}"
            ),
        ),
        ObjectKind::ConfigMap => (
            Reason::ConfigMapNotFound,
            format!("{field} names {object}, which does not exist in this namespace: create it"),
        ),
        ObjectKind::ServiceAccount => (
            Reason::ServiceAccountNotFound,
            format!(
                "{field} names {object}, which does not exist in this namespace: create it with the label {label}"
            ),
        ),
        ObjectKind::VaultGateway => (
            Reason::GatewayNotFound,
            format!(
                "{field} names {object}, which does not exist in this namespace: create it; the instance is never dialled without it"
            ),
        ),
    }
}

/// What is wrong with a CA bundle, after its name.
fn of_bundle(fault: BundleFault) -> String {
    match fault {
        BundleFault::Empty => format!("holds no CA certificate in PEM form: {PEM}"),
        BundleFault::Utf16 => {
            "is encoded in UTF-16, as PowerShell writes files: save it as UTF-8 without a byte order mark"
                .to_owned()
        }
        BundleFault::Broken { index, count } => format!(
            "holds a certificate that cannot be read (number {index} of {count}): replace or remove that one; {PEM}"
        ),
    }
}

/// What is wrong with a certificate and its key, after the name of their Secret.
fn of_key_pair(fault: KeyPairFault) -> String {
    let make = "create the Secret with `kubectl create secret tls`";
    match fault {
        KeyPairFault::Certificate(BundleFault::Broken { index, count }) => format!(
            "whose tls.crt holds a certificate that cannot be read (number {index} of {count}): {make}"
        ),
        KeyPairFault::Certificate(BundleFault::Empty | BundleFault::Utf16) => {
            format!("which holds no certificate in PEM form under tls.crt: {make}")
        }
        KeyPairFault::NoKey => {
            format!("which holds no private key in PEM form that can be read under tls.key: {make}")
        }
        KeyPairFault::EncryptedKey => "whose tls.key is encrypted with a passphrase, which the operator cannot ask for: store it decrypted, for example with `openssl pkey -in tls.key -out plain.key`".to_owned(),
        KeyPairFault::UnsupportedKey => "whose tls.key is of a type or an elliptic curve that the operator does not support: use RSA with 2048 bits or more, ECDSA with P-256 or P-384, or Ed25519".to_owned(),
        KeyPairFault::OtherKey => {
            format!("whose tls.key does not belong to the first certificate in tls.crt: {make}, and put that certificate before those of its CAs")
        }
    }
}

const PEM: &str = "it must hold blocks of -----BEGIN CERTIFICATE-----";
