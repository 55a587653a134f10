//! What userpass and ldap have in common: a user name, which becomes a part of a path, and a password.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{Input, LoginRequest, Purpose, SecretKeyRef, Source, body};
use crate::{
    names::{MountPath, path},
    schema::{FieldError, text},
};

/// A user name: exactly one of its forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UserName {
    /// The user name itself.
    Value(#[schemars(length(min = 1, max = 256))] String),
    /// The key of a Secret that contains it.
    SecretRef(SecretKeyRef),
}

/// Where a password is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// The key of a Secret that contains it.
    pub secret_ref: SecretKeyRef,
}

/// The names of the fields, for messages: the same type stands in two methods.
pub(super) struct Fields {
    pub(super) user_name: &'static str,
    pub(super) user_name_value: &'static str,
    pub(super) user_name_secret: &'static str,
    pub(super) password: &'static str,
    pub(super) password_secret: &'static str,
}

/// Who logs in, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: UserName,
    password: SecretKeyRef,
}

// === impl User ===

impl User {
    pub(super) fn parse(name: &UserName, password: &Password, fields: &Fields) -> Result<Self, FieldError> {
        match name {
            UserName::Value(value) => {
                text::bounded(fields.user_name_value, value, 1, 256)?;
                if !path::is_segment(value) {
                    return Err(FieldError::UserName { field: fields.user_name_value });
                }
            }
            UserName::SecretRef(SecretKeyRef { name, key }) => {
                text::reference(fields.user_name_secret, name, key)?;
            }
        }
        let password = &password.secret_ref;
        text::reference(fields.password_secret, &password.name, &password.key)?;
        Ok(Self { name: name.clone(), password: password.clone() })
    }

    pub(super) fn inputs(&self, fields: &Fields) -> Vec<Input<'_>> {
        let (field, source) = match &self.name {
            UserName::Value(value) => (fields.user_name_value, Source::Spec(value)),
            UserName::SecretRef(secret) => (fields.user_name, Source::Secret(secret)),
        };
        let name = Input { field, source, purpose: Purpose::UserName };
        let source = Source::Secret(&self.password);
        vec![name, Input { field: fields.password, source, purpose: Purpose::Password }]
    }

    /// The path of the login, for people.
    pub(super) fn path(&self, mount: &MountPath) -> String {
        let name = match &self.name {
            UserName::Value(name) => name,
            UserName::SecretRef(_) => "USERNAME",
        };
        format!("auth/{}/login/{name}", mount.as_str())
    }
}

/// The request for a login. A name that is no single part of a path gives none.
pub(super) fn request(mount: &MountPath, values: &[SecretString]) -> Option<LoginRequest> {
    let [name, password] = values else { return None };
    let path = format!("auth/{}/login/{}", mount.as_str(), name.expose_secret());
    Some(LoginRequest { path, body: body(&[("password", password.expose_secret())]) })
}

/// Vault counts refused logins by the user name in lower case.
pub(super) fn lockout_alias(values: &[SecretString]) -> Option<SecretString> {
    Some(SecretString::from(values.first()?.expose_secret().to_lowercase()))
}

/// The message of a token that cannot be used at all: here the user has the addresses, not a role.
pub(super) fn rejected_token() -> String {
    "Vault accepted the login but rejected its token, probably because token_bound_cidrs of the user exclude the operator's address. Correct them. The next login is at status.nextLoginTime, or when you request a check.".to_owned()
}

// === impl UserName ===

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Each form, for a null is none.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            value: Option<String>,
            secret_ref: Option<SecretKeyRef>,
        }
        match Written::deserialize(deserializer)? {
            Written { value: Some(value), secret_ref: None } => Ok(Self::Value(value)),
            Written { value: None, secret_ref: Some(secret) } => Ok(Self::SecretRef(secret)),
            Written { value: None, secret_ref: None } | Written { value: Some(_), secret_ref: Some(_) } => {
                Err(D::Error::custom("username: set exactly one of value and secretRef"))
            }
        }
    }
}
