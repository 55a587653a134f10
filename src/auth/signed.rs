//! What kubernetes and jwt have in common: a role, and a signed token (JWT) that Vault verifies for it.

use std::marker::PhantomData;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Input, LoginFault, LoginMethod, LoginRequest, Purpose, Refusal, SecretKeyRef, ServiceAccountRef, Source,
    method::Names,
    parts::{body, role},
};
use crate::{
    names::MountPath,
    schema::{FieldError, text},
};

/// A method whose credential is a signed token. What a user writes for it is the type that has this.
pub trait SignedMethod: Sized {
    /// What it is called.
    const NAMES: Names;
    /// The names of its fields, for messages.
    const FIELDS: Fields;

    /// What a refusal means.
    fn read_refusal(refusal: &Refusal<'_>) -> Option<LoginFault>;

    /// How a refusal reads that reads otherwise than for other methods with a signed token.
    fn explain(login: &SignedLogin<Self>, fault: &LoginFault, at: &str) -> Option<String>;

    /// How a denial reads.
    fn denied(at: &str) -> String;

    /// What to do where the role is not for this identity.
    fn not_authorized(login: &SignedLogin<Self>) -> String;
}

/// The names of the fields of such a method.
pub struct Fields {
    pub(super) mount: &'static str,
    pub(super) role: &'static str,
    pub(super) account: &'static str,
    pub(super) secret: &'static str,
}

/// The [`Fields`] of the method at a path.
macro_rules! fields {
    ($path:literal) => {
        $crate::auth::signed::Fields {
            mount: concat!($path, ".mount"),
            role: concat!($path, ".role"),
            account: concat!($path, ".serviceAccountRef"),
            secret: concat!($path, ".secretRef"),
        }
    };
}

pub(super) use fields;

/// A login with a signed token, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLogin<M> {
    pub(super) role: String,
    pub(super) token: SignedToken,
    mount: MountPath,
    method: PhantomData<M>,
}

/// Where the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedToken {
    /// It is requested for a ServiceAccount.
    ServiceAccount(ServiceAccountRef),
    /// In a Secret.
    Secret(SecretKeyRef),
}

// === impl SignedLogin ===

impl<M: SignedMethod> SignedLogin<M> {
    pub(super) fn parse(mount: &str, name: &str, token: SignedToken) -> Result<Self, FieldError> {
        match &token {
            SignedToken::ServiceAccount(account) => account.check(M::FIELDS.account)?,
            SignedToken::Secret(secret) => secret.check(M::FIELDS.secret)?,
        }
        let mount = text::mount(M::FIELDS.mount, mount)?;
        Ok(Self { role: role(M::FIELDS.role, name)?, token, mount, method: PhantomData })
    }
}

impl<M: SignedMethod> LoginMethod for SignedLogin<M> {
    fn names(&self) -> Names {
        M::NAMES
    }

    fn mount(&self) -> Option<&MountPath> {
        Some(&self.mount)
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let (field, source) = match &self.token {
            SignedToken::ServiceAccount(account) => (M::FIELDS.account, Source::ServiceAccount(account)),
            SignedToken::Secret(secret) => (M::FIELDS.secret, Source::Secret(secret)),
        };
        vec![Input { field, source, purpose: Purpose::Jwt }]
    }

    fn request(&self, values: &[SecretString]) -> Option<LoginRequest> {
        let [jwt] = values else { return None };
        let body = body(&[("role", &self.role), ("jwt", jwt.expose_secret())]);
        Some(LoginRequest { path: self.path(), body })
    }

    fn lockout_alias(&self, _values: &[SecretString]) -> Option<SecretString> {
        None
    }

    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault> {
        M::read_refusal(refusal)
    }

    fn explain(&self, fault: &LoginFault, at: &str) -> Option<String> {
        let (Names { title, field, .. }, role) = (M::NAMES, &self.role);
        if let Some(own) = M::explain(self, fault, at) {
            return Some(own);
        }
        Some(match fault {
            LoginFault::RoleNotFound => format!(
                "Vault found no such role at {at}: the role {role:?}. Correct {field}.role, or create the role at that mount."
            ),
            LoginFault::AudienceMismatch => format!(
                "Vault rejected the token at {at}, because the role {role:?} expects another audience. Use the same audience in {field}.serviceAccountRef.audiences (or the JWT's `aud`) and in the role's `audience` (Kubernetes) or `bound_audiences` (JWT)."
            ),
            LoginFault::NotAuthorized => format!(
                "Vault does not allow this identity to log in with the role {role:?} at {at}. {}",
                M::not_authorized(self)
            ),
            LoginFault::NotConfigured => format!(
                "The {title} auth method at {at} is mounted but not configured. Configure it with `vault write auth/MOUNT/config ...`."
            ),
            // No method with a signed token gives another.
            _ => return None,
        })
    }

    fn denied(&self, at: &str) -> String {
        M::denied(at)
    }
}
