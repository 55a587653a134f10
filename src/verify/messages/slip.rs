//! What a slip in a credential's value looks like, and what to write. Both complete the sentence "the value of key ... in
//! Secret ...".

use crate::references::{resolve::Suspicion, slips::Slip};

/// A slip that was refused before a login.
pub(super) fn certain(slip: Slip) -> String {
    let (what, advice) = words(slip);
    format!("{what}: {advice}. No login was spent on it")
}

/// A slip that may be the cause of a refusal.
pub(super) fn suspected(suspicion: &Suspicion) -> String {
    let (what, advice) = words(suspicion.slip);
    let field = suspicion.field;
    match &suspicion.source {
        Some((object, key)) => {
            format!("Perhaps the cause: the value of key {key:?} in {object} ({field}) {what}: {advice}")
        }
        None => format!("Perhaps the cause: {field} {what}: {advice}"),
    }
}

fn words(slip: Slip) -> (&'static str, &'static str) {
    match slip {
        Slip::Quoted => ("is in quotes", "write it without them"),
        Slip::EncodedTwice => (
            "is encoded in base64 once more",
            "encode it once for `data`, or write it as it is into `stringData`",
        ),
        Slip::Invisible => (
            "holds invisible characters, such as a byte order mark or a zero width space",
            "write it anew, without copying it from a document",
        ),
        Slip::Garbled => (
            "holds control characters, as plain text in `data` does once it is decoded",
            "write it into `stringData`, or encode it in base64 for `data`",
        ),
        Slip::Spaced => ("has white space or a line break in it", "write it in one piece"),
        Slip::Prefixed => {
            ("begins with the name of a variable, field or header", "write only what stands behind that")
        }
        Slip::Document => (
            "is a document, such as the answer of Vault, and not the credential in it",
            "write the credential alone, as `vault ... -field=NAME` prints it",
        ),
        Slip::TokenForId => (
            "is a Vault token and not an id",
            "if it is a wrapping token, set spec.auth.appRole.secretId.wrapped: true; else write the id there",
        ),
        Slip::IdForToken => (
            "has the form of a role id or secret id, not of a token",
            "write a token there; for a secret id that is not wrapped, set wrapped: false",
        ),
        Slip::Placeholder => ("looks like a template that was not filled in", "write the credential there"),
        Slip::NameForId => (
            "does not have the form of a role id",
            "if it is the role's name, read its id with `vault read auth/MOUNT/role/NAME/role-id`",
        ),
        Slip::AccessorForToken => {
            ("has the form of an accessor, not of a token", "write the token itself there")
        }
        Slip::CutOff => ("looks like a part of an id", "write all of it: it has 36 characters"),
        Slip::NotJwt => (
            "is not a JWT",
            "write the three parts of the signed token, joined by dots, as its issuer gives it",
        ),
        Slip::NotUserName => (
            "cannot be a user name",
            "write it as Vault knows it, without '/', '?', '#', '%', and blanks at its ends",
        ),
        Slip::Twice => ("is the same as the role id", "write the secret id there"),
    }
}
