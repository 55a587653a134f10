//! What a slip in a credential's value looks like, and what to write. Both complete the sentence "the value of key ... in
//! Secret ...".

use crate::references::{resolve::Suspicion, slips::Slip};

/// A slip that was refused before a login.
pub(super) fn certain(slip: Slip) -> String {
    let (what, advice) = words(slip);
    format!("{what}. {advice}. No login was attempted.")
}

/// A slip that may be the cause of a refusal.
pub(super) fn suspected(suspicion: &Suspicion) -> String {
    let (what, advice) = words(suspicion.slip);
    let field = suspicion.field;
    match &suspicion.source {
        Some((object, key)) => {
            format!("Possible cause: the value of key {key:?} in {object} ({field}) {what}. {advice}.")
        }
        None => format!("Possible cause: {field} {what}. {advice}."),
    }
}

fn words(slip: Slip) -> (&'static str, &'static str) {
    match slip {
        Slip::Quoted => ("is in quotes", "Store it without them"),
        Slip::EncodedTwice => {
            ("is encoded in base64 twice", "Encode it once for `data`, or store it unencoded in `stringData`")
        }
        Slip::Invisible => (
            "contains invisible characters, such as a byte order mark or a zero-width space",
            "Type it instead of copying it from a document",
        ),
        Slip::Garbled => (
            "contains control characters, as plain text in `data` does once it is decoded",
            "Store it in `stringData`, or encode it in base64 for `data`",
        ),
        Slip::Spaced => ("contains white space or a line break", "Store it without"),
        Slip::Prefixed => {
            ("begins with the name of a variable, field or header", "Store only the part after it")
        }
        Slip::Document => (
            "is a document, such as a response from Vault, not the credential in it",
            "Store only the credential, as `vault ... -field=NAME` prints it",
        ),
        Slip::TokenForId => (
            "is a Vault token, not an ID",
            "If it is a wrapping token, set spec.auth.appRole.secretId.wrapped: true; otherwise store the ID there",
        ),
        Slip::IdForToken => (
            "has the format of a role ID or secret ID, not of a token",
            "Store a token there; for a secret ID that is not wrapped, set wrapped: false",
        ),
        Slip::Placeholder => ("looks like a template that was not filled in", "Store the credential there"),
        Slip::NameForId => (
            "does not have the format of a role ID",
            "If it is the role's name, read its ID with `vault read auth/MOUNT/role/NAME/role-id`",
        ),
        Slip::AccessorForToken => {
            ("has the format of an accessor, not of a token", "Store the token itself there")
        }
        Slip::CutOff => ("looks like part of an ID", "Store all 36 characters"),
        Slip::NotJwt => {
            ("is not a JWT", "Store the three parts of the signed token, joined by dots, as issued")
        }
        Slip::NotUserName => (
            "is not a valid user name",
            "Store it as Vault knows it, without '/', '?', '#', '%', or leading or trailing blanks",
        ),
        Slip::Twice => ("is the same as the role ID", "Store the secret ID there"),
    }
}
