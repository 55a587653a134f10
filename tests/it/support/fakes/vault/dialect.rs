//! Which server's words a fake Vault speaks: those of OpenBao 2.7.2, or those of HashiCorp Vault 1.21.3 as they were recorded in
//! `testdata/vault-1.21.3-answers.json`.

use serde_json::{Value, json};

use super::super::{http::Answer, openbao};

/// Which server's words a fake Vault speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    OpenBao,
    /// Community Edition: it has no namespaces and ignores the header that names one.
    HashiCorp,
}

// === impl Dialect ===

impl Dialect {
    pub fn health(self, cluster_id: &str) -> Value {
        let mut health = openbao::health(cluster_id);
        if self == Self::HashiCorp {
            let more = json!({
                "version": "1.21.3", "enterprise": false, "performance_standby": false,
                "replication_performance_mode": "disabled", "echo_duration_ms": 0, "clock_skew_ms": 0,
                "replication_primary_canary_age_ms": 0,
            });
            health.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        }
        health
    }

    /// To a token that it does not know.
    pub fn unknown_token(self) -> Answer {
        match self {
            Self::OpenBao => Answer::error(403, "permission denied"),
            Self::HashiCorp => {
                Answer::error(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
            }
        }
    }

    /// A success, as this server writes it.
    pub fn success(self, mut body: Value) -> Answer {
        if self == Self::HashiCorp {
            body["mount_type"] = json!("");
        }
        Answer::json(200, &body)
    }

    /// To a login that needs a second factor.
    pub fn asks_for_a_factor(self) -> Answer {
        let mut body = openbao::login("");
        body["auth"] = json!({
            "client_token": "", "accessor": "", "policies": null, "metadata": null, "lease_duration": 0,
            "renewable": false, "entity_id": "", "token_type": "default", "orphan": false, "num_uses": 0,
            "mfa_requirement": {
                "mfa_request_id": "8283215b-5c54-e23a-a41c-9e1b7bd5db88",
                "mfa_constraints": {"e": {"any": [{"type": "totp", "id": "03de9a27", "uses_passcode": true}]}},
            },
        });
        self.success(body)
    }
}
