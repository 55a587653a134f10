//! The access token method: a token that somebody else issued.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyRef;

/// An access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// The key of a Secret that holds the token.
    pub secret_ref: SecretKeyRef,
}
