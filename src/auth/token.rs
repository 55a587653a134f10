//! The access token method: a token that somebody else issued.

use kube::KubeSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Input, LoginFault, LoginMethod, LoginRequest, Names, Purpose, Refusal, SecretKeyRef, Source};
use crate::{names::MountPath, schema::FieldError};

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The key of a Secret that contains the token.
    pub secret_ref: SecretKeyRef,
}

/// An access token, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLogin(SecretKeyRef);

// === impl Token ===

impl Token {
    pub(super) fn parse(&self) -> Result<TokenLogin, FieldError> {
        let secret = &self.secret_ref;
        secret.check("spec.auth.token.secretRef")?;
        Ok(TokenLogin(secret.clone()))
    }
}

// === impl TokenLogin ===

impl LoginMethod for TokenLogin {
    fn names(&self) -> Names {
        Names { name: "token", title: "token", field: "spec.auth.token" }
    }

    fn mount(&self) -> Option<&MountPath> {
        None
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let source = Source::Secret(&self.0);
        vec![Input { field: "spec.auth.token", source, purpose: Purpose::Token }]
    }

    fn path(&self) -> String {
        "auth/token/lookup-self".to_owned()
    }

    fn request(&self, _values: &[SecretString]) -> Option<LoginRequest> {
        None
    }

    fn given_token(&self) -> Option<&SecretKeyRef> {
        Some(&self.0)
    }

    fn lockout_alias(&self, _values: &[SecretString]) -> Option<SecretString> {
        None
    }

    fn read_refusal(&self, _refusal: &Refusal<'_>) -> Option<LoginFault> {
        None
    }

    fn explain(&self, _fault: &LoginFault, _at: &str) -> Option<String> {
        None
    }

    fn denied(&self, _at: &str) -> String {
        self.rejected_token()
    }

    fn rejected_token(&self) -> String {
        let SecretKeyRef { name, key } = &self.0;
        format!(
            "Vault rejected the token under key {key:?} in Secret {name:?}. Store a valid token there: this one is wrong, expired, revoked, used up, or bound to other addresses."
        )
    }

    fn used_up_token(&self, needed: usize) -> String {
        let SecretKeyRef { name, key } = &self.0;
        format!(
            "The token under key {key:?} in Secret {name:?} has too few uses for a check. Store a token without a use limit there, or one with at least {needed} uses (num_uses)."
        )
    }
}
