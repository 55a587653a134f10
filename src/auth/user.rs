//! What userpass and ldap have in common: a user name, which becomes a part of a path, and a password.

use std::marker::PhantomData;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    Input, LoginFault, LoginMethod, LoginRequest, Purpose, Refusal, SecretKeyRef, Source,
    method::Names,
    parts::{Fields, body, value_or_secret},
};
use crate::{
    names::{MountPath, path},
    schema::{FieldError, text},
};

value_or_secret! {
    /// A user name: exactly one of its forms.
    UserName("username"),
    /// The user name itself.
    256
}

/// Where a password is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// The key of a Secret that contains it.
    pub secret_ref: SecretKeyRef,
}

/// A method whose users have a name and a password. What a user writes for it is the type that has this.
pub trait UserMethod {
    /// What it is called.
    const NAMES: Names;
    /// The name of its field `mount`.
    const MOUNT: &'static str;
    /// Those of its field `username`.
    const USER_NAME: Fields;
    /// Those of its field `password`.
    const PASSWORD: Fields;

    /// What a refusal means.
    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault>;

    /// How a refusal reads.
    fn explain(fault: &LoginFault, at: &str) -> Option<String>;

    /// How a denial reads.
    fn denied(at: &str) -> String;
}

/// A login with a user name and a password, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLogin<M> {
    mount: MountPath,
    name: UserName,
    password: SecretKeyRef,
    method: PhantomData<M>,
}

// === impl UserLogin ===

impl<M: UserMethod> UserLogin<M> {
    pub(super) fn parse(mount: &str, name: &UserName, password: &Password) -> Result<Self, FieldError> {
        name.check(&M::USER_NAME)?;
        if name.inline().is_some_and(|name| !path::is_segment(name)) {
            return Err(FieldError::UserName { field: M::USER_NAME.value });
        }
        password.secret_ref.check(M::PASSWORD.secret)?;
        Ok(Self {
            mount: text::mount(M::MOUNT, mount)?,
            name: name.clone(),
            password: password.secret_ref.clone(),
            method: PhantomData,
        })
    }
}

impl<M: UserMethod> LoginMethod for UserLogin<M> {
    fn names(&self) -> Names {
        M::NAMES
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let source = Source::Secret(&self.password);
        let password = Input { field: M::PASSWORD.whole, source, purpose: Purpose::Password };
        vec![self.name.input(&M::USER_NAME, Purpose::UserName), password]
    }

    fn path(&self) -> String {
        format!("auth/{}/login/{}", self.mount.as_str(), self.name.inline().unwrap_or("USERNAME"))
    }

    fn request(&self, values: &[SecretString]) -> Option<LoginRequest> {
        let [name, password] = values else { return None };
        let path = format!("auth/{}/login/{}", self.mount.as_str(), name.expose_secret());
        Some(LoginRequest { path, body: body(&[("password", password.expose_secret())]) })
    }

    /// Vault counts refused logins by the user name in lower case.
    fn lockout_alias(&self, values: &[SecretString]) -> Option<SecretString> {
        Some(SecretString::from(values.first()?.expose_secret().to_lowercase()))
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        M::read_refusal(refusal)
    }

    fn explain(&self, fault: &LoginFault, at: &str) -> Option<String> {
        M::explain(fault, at)
    }

    fn denied(&self, at: &str) -> String {
        M::denied(at)
    }

    /// Here the user has the addresses, not a role.
    fn rejected_token(&self) -> String {
        "Vault accepted the login but rejected its token, probably because token_bound_cidrs of the user exclude the operator's address. Correct them. The next login is at status.nextLoginTime, or when you request a check.".to_owned()
    }
}
