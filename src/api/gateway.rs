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

/// A way into a private network: proxies through which `VaultConnection`s of the same namespace reach their instances.
/// The operator keeps checking them, and reports in `status` which of them work.
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
    doc = "A way into a private network: proxies through which VaultConnections reach their instances, checked again and again; `status` tells which of them work.",
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
    /// What this gateway is for, in a user's words.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub description: String,

    /// Proxies, each of which leads to the instances. Healthy ones are used in random order; when one fails, the same
    /// check goes on with the next.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(validation = rules::each_endpoint_once())]
    pub endpoints: Vec<Endpoint>,

    /// When and how long to check.
    #[serde(default, deserialize_with = "null::object")]
    pub check: GatewayCheck,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || self.url.matches('^[Hh][Tt][Tt][Pp][Ss]://')").message(
    "tls is for an endpoint with https://, whose proxy speaks TLS itself; TLS to Vault is set in the connection"))]
pub struct Endpoint {
    /// Address of the proxy. `http://` and `https://` proxies are asked by CONNECT, `socks5://` and `socks5h://` speak
    /// SOCKS version 5. The name of the Vault host is resolved by the proxy, but for `socks5://`, where the operator does
    /// it. Without a port, 80, 443 and 1080 are meant.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::endpoint_url(), validation = rules::host(), validation = rules::port())]
    pub url: String,
    /// The login at the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<EndpointCredentials>,
    /// How to verify the proxy's own certificate, and which certificate to show to the proxy; for `https://` only.
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
    /// Longest time that one check may take, from `1s` to `60s`.
    #[serde(default = "ten_seconds", deserialize_with = "or_ten_seconds")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("1s", "60s", "10s"))]
    pub timeout: String,
}

/// A login at a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCredentials {
    /// The Secret that holds it under the keys of the type `kubernetes.io/basic-auth`: `username` and `password`.
    pub secret_ref: SecretRef,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultGatewayStatus {
    /// The `metadata.generation` that this status is about; -1 before the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many endpoints work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_endpoints: Option<i64>,
    /// What was found of each endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub endpoints: Vec<EndpointStatus>,
    /// How many connections name this gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
    /// The objects that the verdict rests on, never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub credentials: Vec<CredentialVersion>,
    /// When the endpoints were last checked. Written with other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check_time: Option<Time>,
    /// When they will be checked next. Written with other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_time: Option<Time>,
    /// The last value of the annotation `appconnections.dev/requestedAt` that was answered by a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The verdicts: Ready, and one for each step of a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// What was found of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Its address, as the spec has it.
    pub url: String,
    /// Whether it took a connection, and the login if there is one.
    pub healthy: bool,
    /// Why not, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it took to get a connection, in milliseconds. Written with other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<i64>,
}

// === impl GatewayCheck ===

impl Default for GatewayCheck {
    fn default() -> Self {
        Self { interval: every_minute(), timeout: ten_seconds() }
    }
}
