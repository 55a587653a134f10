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
}
