//! What users write and read: the kinds of the group `appconnections.dev`.
//!
//! Pure data. Doc comments on these types are what `kubectl explain` shows; notes for developers are ordinary comments.

pub mod condition;
pub mod connection;
pub mod gateway;
mod object_status;
pub mod status;
pub mod tls;

pub use self::object_status::{Header, ObjectStatus};

/// The API group of all our kinds, and the prefix of our labels and annotations.
pub const GROUP: &str = "appconnections.dev";

/// The label that a Secret must carry before a connection may use it.
///
/// Without it, whoever may write a `VaultConnection` could send any Secret of the namespace to a server of theirs.
pub const CREDENTIALS_LABEL: &str = "appconnections.dev/credentials";

/// The value of [`CREDENTIALS_LABEL`].
pub const CREDENTIALS_LABEL_VALUE: &str = "true";

/// The annotation that asks for a check now: any new value, by habit the time.
pub const REQUESTED_AT: &str = "appconnections.dev/requestedAt";
