//! How the TLS certificate of a server is verified, and which certificate is shown to it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    auth::{SecretKeyRef, SecretRef},
    schema::{null, rules},
};

/// TLS settings: trusted CAs, client certificate and server name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// CA certificates to trust. If it is not set, the CAs in the operator's image are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Client certificate to present if the server requests one (mutual TLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Name to verify in the server's certificate and to send as SNI, if it differs from the host of the URL. The
    /// operator still connects to the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::server_name())]
    pub server_name: Option<String>,
}

/// A certificate with its private key, to be shown to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// A Secret of type `kubernetes.io/tls`, with the certificate in `tls.crt` and the private key in `tls.key`.
    pub secret_ref: SecretRef,
}

/// CA certificates in PEM form: exactly one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.configMapRef), has(self.secretRef), has(self.inline)].filter(set, set).size() == 1").message(
    "set exactly one of configMapRef, secretRef and inline"))]
pub struct CaBundle {
    /// The key of a `ConfigMap` that contains the certificates. Changes take effect immediately if the `ConfigMap`
    /// has the label `appconnections.dev/credentials: "true"`, otherwise within 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
    /// The key of a Secret that contains the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// The certificates in PEM format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub inline: Option<String>,
    /// Whether to trust only these certificates, or also the CAs in the operator's image.
    #[serde(default, deserialize_with = "null::default")]
    pub trust: Trust,
}

/// A key of a `ConfigMap` in the connection's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ConfigMapKeyRef {
    /// Name of the `ConfigMap`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("ConfigMap"))]
    pub name: String,
    /// Key within the `ConfigMap`'s data.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::key("ConfigMap"))]
    pub key: String,
}

/// Which other CA certificates are trusted beside those given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Trust {
    /// None: only those given.
    #[default]
    Only,
    /// Those of the operator's image too.
    WithSystem,
}
