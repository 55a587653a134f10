//! The kind `VaultConnection`: what the operator found.
//!
//! Every field but the times is a reason to write the status; see `verify::report`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultConnectionStatus {
    /// The `metadata.generation` that this status is about; -1 before the first check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What will stop working unless somebody acts: `TokenExpiring`, `SecretIdExpiring` or `ServerCertificateExpiring`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub warnings: Vec<String>,
    /// The connection as the operator understands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ResolvedConnection>,
    /// What the instance tells of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The login that the last check used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The objects that the verdict rests on, never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub credentials: Vec<CredentialVersion>,
    /// When the instance was last checked. Written with other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check_time: Option<Time>,
    /// When the instance will be checked next. Written with other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check_time: Option<Time>,
    /// While set, no login is made before this time, so that Vault does not lock the role. A changed credential
    /// lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_login_time: Option<Time>,
    /// When Vault refused logins of this connection lately. They count against its role for 15 minutes, also for an
    /// operator that starts anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub refused_login_times: Vec<Time>,
    /// A short tag of the role that these logins were of: it tells most roles apart, and is too short to find a role id by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub refused_login_role: Option<String>,
    /// When Vault last accepted a login of this connection. Later checks may have used the session that it gave. Written with
    /// other changes, or every half hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_time: Option<Time>,
    /// The last value of the annotation `appconnections.dev/requestedAt` that was answered by a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The verdicts: Ready, and one for each step of a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// The conditions in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Not checked yet.
    Pending,
    /// The login works and may do what is required.
    Connected,
    /// No server that can serve requests answers at the address.
    Unreachable,
    /// The instance is sealed or not initialized.
    Sealed,
    /// Vault refuses the credentials.
    Rejected,
    /// The login works but may not do what is required.
    Denied,
    /// The connection or an object that it names must be mended.
    Misconfigured,
    /// Checking is switched off by `spec.suspend`.
    Suspended,
    /// The last check could not find out.
    Unknown,
}

/// The connection as the operator understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedConnection {
    /// The kind of application, for software that reads connections of several kinds.
    pub app: String,
    /// How the connection logs in: `app-role`, `token`, `kubernetes`, `jwt`, `cert`, `userpass` or `ldap`.
    pub method: String,
    /// Address of the instance.
    pub instance_url: String,
    /// Vault namespace; absent for the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Path of the auth method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The role id, only if it is written in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Name of the gateway that all requests go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// What the instance tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Version of Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of the Vault cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Id of the Vault cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The part that the answering node plays in its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ServerRole>,
    /// How far the instance's clock is ahead of the operator's, in seconds; negative when it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_seconds: Option<i64>,
    /// When the TLS certificate that the instance shows ends; absent for plain http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expire_time: Option<Time>,
    /// Whole days until then, at the time of the last write; negative when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_days_left: Option<i64>,
}

/// The part that a node plays in its cluster: <https://developer.hashicorp.com/vault/api-docs/system/health>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerRole {
    /// It serves requests.
    Active,
    /// It forwards requests to the active node.
    Standby,
    /// It serves reads and forwards the rest.
    PerformanceStandby,
}

/// The login that the last check used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `service` or `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The policies of the token: the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub policies: Vec<String>,
    /// True when the token has more policies than `policies` lists, or some with names of more than 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_truncated: Option<bool>,
    /// Life of the token as it was issued or last renewed, in seconds; 0 means that it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// When the token ends. Absent when it does not expire, and when it was revoked right after the check because it
    /// would not live until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Time>,
    /// Whether the token can be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewable: Option<bool>,
    /// How often the token can still be used; absent when that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<i64>,
    /// Life of the token if it is never renewed, or the longest that renewals can make it, in seconds; absent when that
    /// is not limited or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_life_seconds: Option<i64>,
    /// For a periodic token: the life that each renewal gives, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<i64>,
    /// Whether the token outlives the one that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphan: Option<bool>,
    /// Vault's name for the login, as its audit log shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// One version of an object that the verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialVersion {
    /// `Secret`, `ConfigMap` or `VaultGateway`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Its `metadata.resourceVersion`; of a `VaultGateway`, whose status changes it, the `metadata.generation`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

// === impl State ===

impl State {
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
