//! What a login method knows of itself: the questions that the rest of the operator asks it.

use secrecy::{SecretString, zeroize::Zeroizing};

use super::{LoginFault, Refusal, SecretKeyRef, ServiceAccountRef};
use crate::names::{MountPath, ObjectName};

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The role id of an AppRole.
    RoleId,
    /// The secret id of an AppRole.
    SecretId,
    /// A wrapping token that holds a secret id.
    WrappingToken,
    /// An access token.
    Token,
    /// A signed token.
    Jwt,
    /// The name of a user.
    UserName,
    /// The password of a user.
    Password,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// In the spec itself.
    Spec(&'a str),
    /// Under a key of a Secret.
    Secret(&'a SecretKeyRef),
    /// A token of a ServiceAccount, which is requested for each login.
    ServiceAccount(&'a ServiceAccountRef),
}

/// A value that a login is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// The field of the spec that names it.
    pub field: &'static str,
    /// Where it is.
    pub source: Source<'a>,
    /// What it is for.
    pub purpose: Purpose,
}

/// The request for a login.
pub struct LoginRequest {
    /// Path below `/v1/`.
    pub path: String,
    /// The JSON body. It holds credentials, and is wiped after use.
    pub body: Zeroizing<Vec<u8>>,
}

/// What a method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// In `status.connection.method`.
    pub name: &'static str,
    /// In sentences.
    pub title: &'static str,
    /// Its field of the spec.
    pub field: &'static str,
}

/// A login, valid by construction. `values` are those of [`inputs`](Self::inputs), in the same order; the token of a
/// ServiceAccount is among them only for the request.
pub trait LoginMethod {
    /// What it is called.
    fn names(&self) -> Names;

    /// Where it is mounted; none for a token, which logs in nowhere.
    fn mount(&self) -> Option<&MountPath>;

    /// Whether the client certificate of the connection is what is logged in with.
    fn uses_client_certificate(&self) -> bool {
        false
    }

    /// What a login is made with, the credential that proves it last.
    fn inputs(&self) -> Vec<Input<'_>>;

    /// The path of the request, for people. It holds no value of a Secret.
    fn path(&self) -> String {
        self.mount().map_or_else(String::new, |mount| format!("auth/{}/login", mount.as_str()))
    }

    /// The request for a login; none if the only value is a token itself.
    fn request(&self, values: &[SecretString]) -> Option<LoginRequest>;

    /// Where a user's own token is, if that is what the method uses.
    fn given_token(&self) -> Option<&SecretKeyRef> {
        None
    }

    /// By what Vault counts refused logins before it locks somebody out; none if it never does.
    fn lockout_alias(&self, values: &[SecretString]) -> Option<SecretString>;

    /// What the status shows as `roleId`.
    fn shown_role_id(&self) -> Option<&str> {
        None
    }

    /// What a refusal means whose text this method knows, and any other with the status 400.
    fn read_refusal(&self, refusal: &Refusal<'_>) -> Option<LoginFault>;

    /// How a refusal reads that [`read_refusal`](Self::read_refusal) gives: what failed, and what to do. `at` is the request.
    /// None for what the method never gives.
    fn explain(&self, fault: &LoginFault, at: &str) -> Option<String>;

    /// How a login reads that Vault denies without a reason.
    fn denied(&self, at: &str) -> String;

    /// The message of a token that cannot be used at all.
    fn rejected_token(&self) -> String {
        "Vault accepted the login but rejected its token, probably because token_bound_cidrs of the role exclude the operator's address. Correct them. The rejected token cannot be revoked and stays in Vault until its TTL ends, so the next login is at status.nextLoginTime, or when you request a check.".to_owned()
    }

    /// The message of a token that has fewer than `needed` uses.
    fn used_up_token(&self, _needed: usize) -> String {
        "Vault accepted the login, but its token has too few uses for a check. Set token_num_uses of the role to at least 4, or to 0 (no limit).".to_owned()
    }
}

impl dyn LoginMethod + '_ {
    /// The objects that hold what is logged in with.
    pub fn references(&self) -> Vec<ObjectName> {
        let name = |input: Input<'_>| match input.source {
            Source::Spec(_) => None,
            Source::Secret(secret) => Some(ObjectName::secret(&secret.name)),
            Source::ServiceAccount(account) => Some(ObjectName::service_account(&account.name)),
        };
        self.inputs().into_iter().filter_map(name).collect()
    }

    /// The ServiceAccount to log in as, with the field that names it.
    pub fn service_account(&self) -> Option<(&'static str, &ServiceAccountRef)> {
        self.inputs().into_iter().find_map(|input| match input.source {
            Source::ServiceAccount(account) => Some((input.field, account)),
            Source::Spec(_) | Source::Secret(_) => None,
        })
    }

    /// The input for a purpose.
    pub fn input(&self, purpose: Purpose) -> Option<Input<'_>> {
        self.inputs().into_iter().find(|input| input.purpose == purpose)
    }

    /// Whether what is in the Secret must be unwrapped.
    pub fn is_wrapped(&self) -> bool {
        self.input(Purpose::WrappingToken).is_some()
    }
}
