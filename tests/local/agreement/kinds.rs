//! The kinds, each with every field set.

use serde_json::{Value, json};
use vault_connection_operator::api::{connection::VaultConnection, gateway::VaultGateway};

use super::{Kind, connection_parses, gateway_parses};

impl Kind {
    fn connection(auth: &Value) -> Self {
        let reference = json!({"name": "s", "key": "k"});
        let full = json!({
            "apiVersion": "appconnections.dev/v1alpha1",
            "kind": "VaultConnection",
            "metadata": {"name": "full"},
            "spec": {
                "description": "d",
                "instanceUrl": "https://vault.example.com",
                "namespace": "n",
                "auth": auth,
                "tls": {
                    "caBundle": {"configMapRef": reference, "trust": "Only"},
                    "clientCertificate": {"secretRef": {"name": "s"}},
                    "serverName": "vault.internal",
                },
                "gatewayRef": {"name": "g"},
                "require": {
                    "secretSync": {"mount": "kv", "path": "*", "kvVersion": "V2"},
                    "capabilities": [{"path": "kv/data/a", "verbs": ["read"]}],
                },
                "check": {"interval": "1m", "timeout": "10s", "loginInterval": "1h"},
                "suspend": false,
            },
        });
        Self::new::<VaultConnection>(full, connection_parses)
    }

    pub(super) fn with_app_role() -> Self {
        let reference = json!({"name": "s", "key": "k"});
        Self::connection(&json!({"appRole": {
            "mount": "approle",
            "roleId": {"secretRef": reference},
            "secretId": {"secretRef": reference, "wrapped": false},
        }}))
    }

    pub(super) fn with_token() -> Self {
        Self::connection(&json!({"token": {"secretRef": {"name": "s", "key": "k"}}}))
    }

    /// Each kind, with the part of it that no other has.
    pub(super) fn all() -> Vec<(Self, &'static str)> {
        let others = Self::with_other_methods().into_iter().chain([Self::with_token()]);
        let mut kinds: Vec<_> = others.map(|kind| (kind, "/spec/auth")).collect();
        kinds.extend([(Self::with_app_role(), "/spec"), (Self::gateway(), "/spec")]);
        kinds
    }

    /// Those that log in by the other methods.
    pub(super) fn with_other_methods() -> Vec<Self> {
        let reference = json!({"name": "s", "key": "k"});
        let account = json!({"name": "a", "audiences": ["vault"], "expirationSeconds": 600});
        let user = |value: bool| {
            let name = if value { json!({"value": "u"}) } else { json!({"secretRef": reference}) };
            json!({"mount": "m", "username": name, "password": {"secretRef": reference}})
        };
        let methods = [
            json!({"kubernetes": {"mount": "m", "role": "r", "serviceAccountRef": account}}),
            json!({"jwt": {"mount": "m", "role": "r", "serviceAccountRef": account}}),
            json!({"jwt": {"mount": "m", "role": "r", "secretRef": reference}}),
            json!({"cert": {"mount": "m", "role": "r"}}),
            json!({"userpass": user(true)}),
            json!({"ldap": user(false)}),
        ];
        methods.iter().map(Self::connection).collect()
    }

    pub(super) fn gateway() -> Self {
        let reference = json!({"name": "s", "key": "k"});
        let full = json!({
            "apiVersion": "appconnections.dev/v1alpha1",
            "kind": "VaultGateway",
            "metadata": {"name": "full"},
            "spec": {
                "description": "d",
                "endpoints": [
                    {"url": "https://a.example:8443", "credentials": {"secretRef": {"name": "s"}}, "tls": {
                        "caBundle": {"secretRef": reference, "trust": "WithSystem"},
                        "clientCertificate": {"secretRef": {"name": "s"}},
                        "serverName": "proxy.internal",
                    }},
                    {"url": "https://b.example"},
                ],
                "check": {"interval": "1m", "timeout": "10s", "loginInterval": "1h"},
            },
        });
        Self::new::<VaultGateway>(full, gateway_parses)
    }
}
