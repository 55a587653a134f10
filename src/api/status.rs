//! The kind `VaultConnection`: what the operator found.
//!
//! Every field but the times is a reason to write the status; see `verify::report`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result of the last check, as reported by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultConnectionStatus {
    /// The `metadata.generation` that this status belongs to; -1 before the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Summary of the conditions in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Warnings about upcoming failures: `TokenExpiring`, `SecretIdExpiring` or `ServerCertificateExpiring`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub warnings: Vec<String>,
    /// The effective settings of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ResolvedConnection>,
    /// What the instance reports about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The login that the last check used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
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
    /// If set, the operator does not log in before this time, so that Vault does not lock the role. A changed
    /// credential is tried immediately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_login_time: Option<Time>,
    /// Times of recently rejected logins of this connection. They count against its role for 15 minutes, also after
    /// a restart of the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub refused_login_times: Vec<Time>,
    /// Short hash of the role that `refusedLoginTimes` belong to. It is too short to identify a role ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub refused_login_role: Option<String>,
    /// Time of the last successful login. Later checks may have used its token. It is updated together with other
    /// changes, or every 30 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_time: Option<Time>,
    /// Value of the annotation `appconnections.dev/requestedAt` that the last requested check handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, and one condition for each step of a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Summary of the conditions in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Not checked yet.
    Pending,
    /// The login works and has the required permissions.
    Connected,
    /// No server at the address can serve requests.
    Unreachable,
    /// The instance is sealed or not initialized.
    Sealed,
    /// Vault rejects the credentials.
    Rejected,
    /// The login works but lacks required permissions.
    Denied,
    /// The connection, or an object that it names, must be fixed.
    Misconfigured,
    /// `spec.suspend` disables checks.
    Suspended,
    /// The last check was inconclusive.
    Unknown,
}

/// The effective settings of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedConnection {
    /// Kind of application, for software that reads connections of several kinds.
    pub app: String,
    /// How the connection logs in: `app-role`, `token`, `kubernetes`, `jwt`, `cert`, `userpass` or `ldap`.
    pub method: String,
    /// Address of the instance.
    pub instance_url: String,
    /// Vault namespace. Absent for the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Path of the auth method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The role ID, only if it is inline in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Name of the gateway that all requests go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// What the instance reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Version of Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of the Vault cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// ID of the Vault cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Role of the responding node in its Vault cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServerRole>,
    /// How far the instance's clock is ahead of the operator's, in seconds; negative when it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_seconds: Option<i64>,
    /// When the TLS certificate chain of the instance expires. Absent for plain http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expire_time: Option<Time>,
    /// Days until `certificateExpireTime` when the status was last written; negative if it has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_left: Option<i64>,
}

/// Role of the node in its Vault cluster: <https://developer.hashicorp.com/vault/api-docs/system/health>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ServerRole {
    /// It serves requests.
    Active,
    /// It forwards requests to the active node.
    Standby,
    /// It serves reads and forwards the rest.
    PerformanceStandby,
}

/// The login that the last check used.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Type of the token: `service` or `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The first 64 policies of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub policies: Vec<String>,
    /// True if `policies` is incomplete: the token has more, or some with names longer than 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_truncated: Option<bool>,
    /// Lifetime of the token in seconds when it was issued or last renewed; 0 if it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// When the token expires. Absent if it does not expire, or if it was revoked after the check because it would
    /// expire before the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Time>,
    /// Whether the token can be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewable: Option<bool>,
    /// Remaining uses of the token. Absent if they are not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<i64>,
    /// Maximum lifetime of the token in seconds: without renewals if it is not renewable, otherwise with them.
    /// Absent if unlimited or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_life_seconds: Option<i64>,
    /// Period of a periodic token: its lifetime after each renewal, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<i64>,
    /// Whether the token is an orphan, which stays valid when its parent token is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan: Option<bool>,
    /// Vault's name for the login, as its audit log shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Version of an object that the last check used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialVersion {
    /// `Secret`, `ConfigMap` or `VaultGateway`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// `metadata.uid` of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `metadata.resourceVersion` of the object; for a `VaultGateway`, its `metadata.generation`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

// === impl State ===

impl State {
    /// All of them, in the order of a connection's life.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Connected,
        Self::Unreachable,
        Self::Sealed,
        Self::Rejected,
        Self::Denied,
        Self::Misconfigured,
        Self::Suspended,
        Self::Unknown,
    ];

    /// The word in `status.state`, and the metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Connected => "Connected",
            Self::Unreachable => "Unreachable",
            Self::Sealed => "Sealed",
            Self::Rejected => "Rejected",
            Self::Denied => "Denied",
            Self::Misconfigured => "Misconfigured",
            Self::Suspended => "Suspended",
            Self::Unknown => "Unknown",
        }
    }
}
