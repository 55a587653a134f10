//! The kind `VaultConnection`: what a user asks for.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{status::VaultConnectionStatus, tls::Tls};
use crate::{
    auth::{self, Auth},
    schema::{null, rules},
};

/// A connection to a HashiCorp Vault or OpenBao instance. The operator logs in with the named credentials, checks
/// continuously that the login is usable, and reports the result in `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "appconnections.dev",
    version = "v1alpha1",
    kind = "VaultConnection",
    plural = "vaultconnections",
    namespaced,
    status = "VaultConnectionStatus",
    derive = "PartialEq",
    shortname = "vconn",
    category = "vault",
    doc = "VaultConnection is a connection to a HashiCorp Vault or OpenBao instance. Its status reports whether it works.",
    validation = rules::metadata_name(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceUrl"),
    printcolumn(name = "Method", type_ = "string", json_path = ".status.connection.method"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.server.version"),
    printcolumn(name = "Warnings", type_ = "string", json_path = ".status.warnings[*]"),
    printcolumn(name = "Since", type_ = "date", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime"),
    printcolumn(name = "Last Check", type_ = "date", priority = 1, json_path = ".status.lastCheckTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    selectable = ".spec.instanceUrl",
    selectable = ".status.state"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = auth::needs_client_certificate())]
pub struct VaultConnectionSpec {
    /// Free-text description of this connection.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub description: String,

    /// Address of the instance: scheme, host, optional port and path prefix, such as `https://vault.example.com:8200`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::instance_url(), validation = rules::host(), validation = rules::port())]
    pub instance_url: String,

    /// Vault namespace (Vault Enterprise, HCP Vault Dedicated, OpenBao). Empty, `/` and `root` mean the root namespace.
    /// Write it as Vault lists it, not escaped: `@`, `:` and letters beyond ASCII are allowed.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::vault_namespace())]
    pub namespace: String,

    /// How to log in: exactly one method. It cannot be changed after creation.
    #[x_kube(validation = auth::exactly_one(), validation = auth::unchanged())]
    pub auth: Auth,

    /// TLS settings for Vault: trusted CAs, client certificate and server name.
    #[serde(default, deserialize_with = "null::optional_object", skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// The gateway that all requests of this connection go through. If the gateway does not work, the connection
    /// fails: the operator never connects to the instance directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,

    /// Permissions that the login must have. If it is not set, a successful login is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,

    /// Interval and timeout of checks.
    #[serde(default, deserialize_with = "null::object")]
    pub check: Check,

    /// Whether to stop checking. A suspended connection is never Ready, and the token of its last login is revoked.
    #[serde(default, deserialize_with = "null::default")]
    pub suspend: bool,
}

/// A `VaultGateway` in the connection's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct GatewayRef {
    /// Name of the `VaultGateway`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::gateway_name())]
    pub name: String,
}

/// What the login must be allowed to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretSync) || (has(self.capabilities) && self.capabilities.size() > 0)").message(
    "set secretSync, capabilities or both; leave out `require` to demand nothing"))]
pub struct Require {
    /// Require what is needed to sync secrets to a KV engine: the engine is mounted there with this version, and
    /// the login has create, read, update and delete on `MOUNT/data/PATH` (version 1: `MOUNT/PATH`) and read on
    /// `sys/mounts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sync: Option<SecretSync>,
    /// Capabilities that the login must have, by path.
    #[serde(default, deserialize_with = "null::default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub capabilities: Vec<Capability>,
}

/// Where secrets are to be synced to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSync {
    /// Path at which the KV engine is mounted, as `vault secrets list` shows it, not escaped and without `data/`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::mount("vault secrets list", "kv or team-a/kv"))]
    pub mount: String,
    /// Path below the mount. `*` means everything.
    #[serde(default = "everything", deserialize_with = "or_everything")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::plain())]
    pub path: String,
    /// Version of the KV engine. Version 1 keeps no history and does not protect against lost writes.
    #[serde(default, deserialize_with = "null::default")]
    pub kv_version: KvVersion,
}

/// Version of a KV engine: <https://developer.hashicorp.com/vault/docs/secrets/kv>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KvVersion {
    /// Version 1: one value for each path.
    V1,
    /// Version 2: versioned values.
    #[default]
    V2,
}

/// Required capabilities on one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// Path as in a Vault policy, such as `demo_mount/data/app`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::no_leading_slash(), validation = rules::plain())]
    pub path: String,
    /// Capabilities that the login must have on this path.
    #[schemars(length(min = 1, max = 8))]
    pub verbs: Vec<Verb>,
}

/// A capability of Vault's policies: <https://developer.hashicorp.com/vault/docs/concepts/policies#capabilities>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Create data at the path.
    Create,
    /// Read the data at the path.
    Read,
    /// Change the data at the path.
    Update,
    /// Change the data at the path in part.
    Patch,
    /// Delete the data at the path.
    Delete,
    /// List the names below the path.
    List,
    /// Use paths that are root-protected.
    Sudo,
}

/// Interval and timeout of checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::timeout_within_interval())]
pub struct Check {
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
    /// Maximum time between two logins, from `10s` to `24h`. Between logins, checks use the token of the last login
    /// while it is valid. A static token has no login; each check looks it up.
    #[serde(default = "every_hour", deserialize_with = "or_every_hour")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("10s", "24h", "1h"))]
    pub login_interval: String,
}

// === impl Check ===

impl Default for Check {
    fn default() -> Self {
        Self { interval: every_minute(), timeout: ten_seconds(), login_interval: every_hour() }
    }
}

// === impl KvVersion ===

impl KvVersion {
    /// The number, as Vault's tools show it.
    pub fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

// === impl Verb ===

impl Verb {
    /// The word in a Vault policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Sudo => "sudo",
        }
    }
}

/// A minute bounds how long a dead Vault can look alive, at the cost of one request.
pub(super) fn every_minute() -> String {
    "1m".to_owned()
}

pub(super) fn or_every_minute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, every_minute)
}

/// More than a healthy Vault ever takes, and less than kubectl's users wait.
fn every_hour() -> String {
    "1h".to_owned()
}

pub(super) fn ten_seconds() -> String {
    "10s".to_owned()
}

pub(super) fn or_ten_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, ten_seconds)
}

fn or_every_hour<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, every_hour)
}

/// The documented policy of a secret sync covers the whole mount.
fn everything() -> String {
    "*".to_owned()
}

fn or_everything<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    null::or(deserializer, everything)
}
