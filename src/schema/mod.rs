//! The form of a field: its parser, the same rule in CEL for the API server, and how a null reads.

pub mod null;
pub mod rules;
pub mod text;

use crate::names::MountPathError;

/// Why the text of a field is invalid. Each names the field and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A mount path does not parse.
    #[error("{field}: {error}")]
    Mount {
        /// The field that holds it.
        field: &'static str,
        /// Why not.
        error: MountPathError,
    },
    /// A text is too short or too long.
    #[error("{field}: write between {min} and {max} characters")]
    Length {
        /// The field that holds it.
        field: &'static str,
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// A text holds what cannot be seen.
    #[error("{field}: write it on one line, without blanks at its ends and characters that cannot be seen")]
    NotPlain {
        /// The field that holds it.
        field: &'static str,
    },
    /// An object's name is none.
    #[error("{field}: write the name of an object: lower case letters, digits, '-' and '.'")]
    ObjectName {
        /// The field that holds it.
        field: &'static str,
    },
    /// A key of an object is none.
    #[error("{field}: write a key of the object's data: letters, digits, '-', '_' and '.'")]
    Key {
        /// The field that holds it.
        field: &'static str,
    },
    /// A user name cannot be a part of a path.
    #[error(
        "{field}: write the user name as Vault knows it: without '/', '?', '#', '%', and blanks at its ends"
    )]
    UserName {
        /// The field that holds it.
        field: &'static str,
    },
    /// A JWT has no source, or two.
    #[error("spec.auth.jwt: set exactly one of serviceAccountRef and secretRef")]
    JwtSource,
    /// The audiences of a token are none, too many, or unreadable.
    #[error("{field}.audiences: list between 1 and 8 audiences, each on one line without blanks at its ends")]
    Audiences {
        /// The field that holds them.
        field: &'static str,
    },
    /// The life of a token is out of bounds.
    #[error("{field}.expirationSeconds: write a number from 600 to 3600")]
    Expiration {
        /// The field that holds it.
        field: &'static str,
    },
}
