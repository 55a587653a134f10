//! How a connection logs in: a file for each method, and a line for it in the list below.
//!
//! ```text
//!   Auth       what a user writes; its comments are `kubectl explain`
//!   Method     the same, valid by construction, and what it knows of itself:
//!                inputs ─▶ request ─▶ (Vault) ─▶ read_refusal ─▶ explain
//! ```
//!
//! Pure. A method knows no Kubernetes client and no Vault client: it says what it needs, what to send, and what an answer means.

mod app_role;
mod cert;
mod fault;
mod jwt;
mod kubernetes;
mod ldap;
mod method;
mod parts;
mod reference;
mod signed;
mod token;
mod user;
mod userpass;

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

pub use self::{
    app_role::{AppRole, AppRoleLogin, RoleId, SecretId},
    cert::{Cert, CertLogin, needs_client_certificate},
    fault::{LoginFault, Refusal},
    jwt::{Jwt, JwtLogin},
    kubernetes::{Kubernetes, KubernetesLogin},
    ldap::{Ldap, LdapLogin},
    method::{Input, LoginMethod, LoginRequest, Names, Purpose, Source},
    reference::{SecretKeyRef, SecretRef, ServiceAccountRef},
    token::{Token, TokenLogin},
    user::{Password, UserName},
    userpass::{Userpass, UserpassLogin},
};
use crate::schema::{FieldError, null};

/// Defines [`Auth`], [`Method`] and what follows from the list of all methods.
macro_rules! methods {
    ($( $(#[doc = $doc:literal])+ $field:ident $name:literal: $variant:ident($written:ty => $parsed:ty); )+) => {
        /// How to log in to Vault: exactly one method.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum Auth { $( $(#[doc = $doc])+ $variant($written), )+ }

        /// How to log in.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Method { $( $(#[doc = $doc])+ $variant($parsed), )+ }

        /// The fields of all methods.
        const FIELDS: &[&str] = &[$( $name, )+];

        impl Method {
            /// Parses what a user wrote.
            pub fn parse(auth: &Auth) -> Result<Self, FieldError> {
                match auth { $( Auth::$variant(written) => Ok(Self::$variant(written.parse()?)), )+ }
            }
        }

        impl std::ops::Deref for Method {
            type Target = dyn LoginMethod;

            fn deref(&self) -> &Self::Target {
                match self { $( Self::$variant(login) => login, )+ }
            }
        }

        impl<'de> Deserialize<'de> for Auth {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// Each method, for a null is none.
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Written {
                    $(
                        #[serde(default, deserialize_with = "null::optional_object")]
                        $field: Option<$written>,
                    )+
                }
                let written = Written::deserialize(deserializer)?;
                let methods = [$( written.$field.map(Self::$variant), )+];
                let mut methods = methods.into_iter().flatten();
                match (methods.next(), methods.next()) {
                    (Some(method), None) => Ok(method),
                    (None, _) | (Some(_), Some(_)) => {
                        Err(D::Error::custom(format!("auth: {}", set_exactly_one())))
                    }
                }
            }
        }
    };
}

methods! {
    /// Log in with an AppRole (recommended): a role ID and a secret ID.
    app_role "appRole": AppRole(AppRole => AppRoleLogin);
    /// Use an existing Vault token. The operator renews it if it is renewable, and never revokes it.
    token "token": Token(Token => TokenLogin);
    /// Log in with a token of a ServiceAccount. Vault verifies it with the Kubernetes token review API.
    kubernetes "kubernetes": Kubernetes(Kubernetes => KubernetesLogin);
    /// Log in with a signed token (JWT) of a ServiceAccount or of another issuer. Vault verifies it itself.
    jwt "jwt": Jwt(Jwt => JwtLogin);
    /// Log in with the client certificate of the connection, `spec.tls.clientCertificate`.
    cert "cert": Cert(Cert => CertLogin);
    /// Log in with the user name and password of a Vault userpass user.
    userpass "userpass": Userpass(Userpass => UserpassLogin);
    /// Log in with the user name and password of an LDAP user.
    ldap "ldap": Ldap(Ldap => LdapLogin);
}

/// The rule that a connection has one method.
pub fn exactly_one() -> Rule {
    let set: Vec<_> = FIELDS.iter().map(|field| format!("has(self.{field})")).collect();
    Rule::new(format!("[{}].filter(set, set).size() == 1", set.join(", ")))
        .message(set_exactly_one().as_str())
}

/// The rule that it stays the same.
pub fn unchanged() -> Rule {
    let same: Vec<_> =
        FIELDS.iter().map(|field| format!("has(self.{field}) == has(oldSelf.{field})")).collect();
    Rule::new(same.join(" && "))
        .message("the method cannot be changed: delete this connection and create one with the other method")
}

fn set_exactly_one() -> String {
    let (last, others) = FIELDS.split_last().expect("there are methods");
    format!("set exactly one of {} and {last}", others.join(", "))
}

#[cfg(test)]
pub(crate) mod testing;
