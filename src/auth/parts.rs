//! What the files of the methods are made of: fields that several of them have, and the body of a request.

use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Deserializer, Serializer as _, de::Error};

use super::SecretKeyRef;
use crate::{
    names::path,
    schema::{FieldError, text},
};

/// The names of a field that is a value or a Secret, for messages.
#[derive(Clone, Copy)]
pub struct Fields {
    /// The field itself.
    pub(super) whole: &'static str,
    /// Its value.
    pub(super) value: &'static str,
    /// Its reference to a Secret.
    pub(super) secret: &'static str,
}

/// The [`Fields`] at a path.
macro_rules! fields {
    ($path:expr) => {
        $crate::auth::parts::Fields {
            whole: $path,
            value: concat!($path, ".value"),
            secret: concat!($path, ".secretRef"),
        }
    };
}

/// The default of a field `mount`: Vault's own path for the method. A null is none.
macro_rules! default_mount {
    ($path:literal) => {
        fn default_mount() -> String {
            $path.to_owned()
        }

        fn or_default_mount<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
            $crate::schema::null::or(deserializer, default_mount)
        }
    };
}

/// Defines a field that is either a value or a reference to a Secret. Each has its own type, since the schema has its own bound
/// and documentation for it.
macro_rules! value_or_secret {
    ($(#[doc = $doc:literal])+ $name:ident($field:literal), $(#[doc = $of_value:literal])+ $max:tt) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum $name {
            $(#[doc = $of_value])+
            Value(#[schemars(length(min = 1, max = $max))] String),
            /// The key of a Secret that contains it.
            SecretRef($crate::auth::SecretKeyRef),
        }

        impl $name {
            /// Fails unless it is valid.
            pub(super) fn check(&self, fields: &$crate::auth::parts::Fields) -> Result<(), $crate::schema::FieldError> {
                match self {
                    Self::Value(value) => $crate::schema::text::bounded(fields.value, value, 1, $max),
                    Self::SecretRef(secret) => secret.check(fields.secret),
                }
            }

            /// The value, if it is in the spec.
            pub(super) fn inline(&self) -> Option<&str> {
                match self {
                    Self::Value(value) => Some(value),
                    Self::SecretRef(_) => None,
                }
            }

            /// What a login is made with.
            pub(super) fn input(&self, fields: &$crate::auth::parts::Fields, purpose: $crate::auth::Purpose) -> $crate::auth::Input<'_> {
                let (field, source) = match self {
                    Self::Value(value) => (fields.value, $crate::auth::Source::Spec(value)),
                    Self::SecretRef(secret) => (fields.whole, $crate::auth::Source::Secret(secret)),
                };
                $crate::auth::Input { field, source, purpose }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::auth::parts::exactly_one(deserializer, $field, Self::Value, Self::SecretRef)
            }
        }
    };
}

pub(super) use {default_mount, fields, value_or_secret};

/// Reads a value or a reference to a Secret; a null is none.
pub(super) fn exactly_one<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    field: &str,
    of_value: impl FnOnce(String) -> T,
    of_secret: impl FnOnce(SecretKeyRef) -> T,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Written {
        value: Option<String>,
        secret_ref: Option<SecretKeyRef>,
    }
    match Written::deserialize(deserializer)? {
        Written { value: Some(value), secret_ref: None } => Ok(of_value(value)),
        Written { value: None, secret_ref: Some(secret) } => Ok(of_secret(secret)),
        Written { value: None, secret_ref: None } | Written { value: Some(_), secret_ref: Some(_) } => {
            Err(D::Error::custom(format!("{field}: set exactly one of value and secretRef")))
        }
    }
}

/// The name of a role: at most 256 characters, all of which can be seen.
pub(super) fn role(field: &'static str, name: &str) -> Result<String, FieldError> {
    text::bounded(field, name, 1, 256)?;
    if path::is_plain(name) { Ok(name.to_owned()) } else { Err(FieldError::NotPlain { field }) }
}

/// A JSON object of these fields.
pub(super) fn body(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let written = serde_json::Serializer::new(&mut *bytes).collect_map(fields.iter().copied());
    written.expect("strings serialize");
    bytes
}
