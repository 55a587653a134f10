//! The kind `VaultGateway`: a way into a private network.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    connection::{every_minute, or_every_minute, or_ten_seconds, ten_seconds},
    status::CredentialVersion,
    tls::Tls,
};
use crate::{
    auth::SecretRef,
    schema::{null, rules},
};

/// Proxies through which `VaultConnection`s in the same namespace reach Vault in a private network. The operator
/// checks them continuously and reports in `status` which of them work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "appconnections.dev",
    version = "v1alpha1",
    kind = "VaultGateway",
    plural = "vaultgateways",
    namespaced,
    status = "VaultGatewayStatus",
    derive = "PartialEq",
    shortname = "vgw",
    category = "vault",
    doc = "VaultGateway is a list of proxies through which VaultConnections reach Vault in a private network. Its status reports which of them work.",
    validation = rules::metadata_name(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Healthy", type_ = "integer", json_path = ".status.healthyEndpoints"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Endpoints", type_ = "string", priority = 1, json_path = ".spec.endpoints[*].url"),
    printcolumn(name = "Since", type_ = "date", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Last Check", type_ = "date", priority = 1, json_path = ".status.lastCheckTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
pub struct VaultGatewaySpec {
    /// Free-text description of this gateway.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub description: String,

    /// Proxies to the private network. Healthy endpoints are used in random order; if one fails, the same check
    /// continues with the next.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = rules::each_endpoint_once())]
    pub endpoints: Vec<Endpoint>,

    /// Interval and timeout of checks.
    #[serde(default, deserialize_with = "null::object")]
    pub check: GatewayCheck,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || self.url.matches('^[Hh][Tt][Tt][Pp][Ss]://')").message(
    "tls is for an endpoint with https://, whose proxy speaks TLS itself; TLS to Vault is set in the connection"))]
pub struct Endpoint {
    /// Address of the proxy. `http://` and `https://` use HTTP CONNECT; `socks5://` and `socks5h://` use SOCKS
    /// version 5. The proxy resolves Vault's host name, except with `socks5://`, where the operator does. The
    /// default ports are 80, 443 and 1080.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::endpoint_url(), validation = rules::host(), validation = rules::port())]
    pub url: String,
    /// Credentials for the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<EndpointCredentials>,
    /// TLS settings for the connection to the proxy, for `https://` only: trusted CAs, client certificate and
    /// server name.
    #[serde(default, deserialize_with = "null::optional_object", skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// When and how long to check the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::timeout_within_interval())]
pub struct GatewayCheck {
    /// Time between checks, from `10s` to `24h`.
    #[serde(default = "every_minute", deserialize_with = "or_every_minute")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("10s", "24h", "1m or 1h30m"))]
    pub interval: String,
    /// Maximum duration of a check, from `1s` to `60s`.
    #[serde(default = "ten_seconds", deserialize_with = "or_ten_seconds")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("1s", "60s", "10s"))]
    pub timeout: String,
}

/// A login at a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCredentials {
    /// A Secret of type `kubernetes.io/basic-auth`, with the keys `username` and `password`.
    pub secret_ref: SecretRef,
}

/// Result of the last check, as reported by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultGatewayStatus {
    /// The `metadata.generation` that this status belongs to; -1 before the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of endpoints that work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_endpoints: Option<i64>,
    /// Result of the last check for each endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub endpoints: Vec<EndpointStatus>,
    /// Number of connections that use this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// Versions of the objects that the last check used. They contain no values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub credentials: Vec<CredentialVersion>,
    /// Time of the last check. It is updated together with other changes, or every 30 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check_time: Option<Time>,
    /// Time of the next check. It is updated together with other changes, or every 30 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_time: Option<Time>,
    /// Value of the annotation `appconnections.dev/requestedAt` that the last requested check handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, and one condition for each step of a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Result of the last check of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Address of the endpoint, as in the spec.
    pub url: String,
    /// Whether the endpoint accepted a connection, and the login if one is configured.
    pub healthy: bool,
    /// Why the endpoint does not work, and how to fix it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Time to establish a connection, in milliseconds. It is updated together with other changes, or every 30
    /// minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<i64>,
}

// === impl GatewayCheck ===

impl Default for GatewayCheck {
    fn default() -> Self {
        Self { interval: every_minute(), timeout: ten_seconds() }
    }
}
