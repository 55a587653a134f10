//! The Kubernetes API: what is read of it, and the one thing that is written.
//!
//! Every call has a deadline: kube's own client would retry for minutes inside one call.

pub mod config;
mod foreign;
mod grouped;
mod metadata;
mod proxy;
mod secret;
mod service_account;

use std::{
    env,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    client::ClientBuilder,
};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use serde_json::{Value, json};
use tower::{BoxError, filter::FilterLayer};

use crate::{
    api::{connection::VaultConnection, gateway::VaultGateway},
    auth::ServiceAccountRef,
    names::{ObjectKind, ObjectName},
    network::fence::Fence,
    references::{Lookup, Object, References, TokenAnswer, Version, gateway},
};

pub use self::metadata::{is_labelled, spec_version, version};
use self::{config::ConfigError, grouped::Grouped};

/// The owner of the fields that we write: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.
pub const FIELD_MANAGER: &str = "vault-connection-operator";

/// Longest wait for one answer of the API server. Ten times what a busy one takes, and a fraction of the 60 s after
/// which it gives up itself.
const DEADLINE: Duration = Duration::from_secs(10);

/// The Kubernetes API failed us.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A CRD is not there.
    #[error("failed to find the kind {kind}: install the CRD (crds/{plural}.appconnections.dev.yaml)")]
    NoCrd {
        /// The kind.
        kind: String,
        /// The name of its resource.
        plural: String,
    },
    /// A kind cannot be listed.
    #[error("failed to list {kind}s at {url}")]
    List {
        /// The kind.
        kind: String,
        /// Address of the API server.
        url: String,
        /// Why.
        source: kube::Error,
    },
    /// An object cannot be read.
    #[error("failed to read {object} in namespace {namespace}")]
    Read {
        /// The object.
        object: ObjectName,
        /// Its namespace.
        namespace: String,
        /// Why.
        source: kube::Error,
    },
    /// An answer about an object is invalid. What is invalid may be a secret, so it is not shown.
    #[error("failed to parse the API server's response about {object} in namespace {namespace}")]
    Unreadable {
        /// The object.
        object: ObjectName,
        /// Its namespace.
        namespace: String,
    },
    /// A status cannot be written.
    #[error("failed to write the status of {kind} {namespace}/{name}")]
    Write {
        /// The kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// No answer came in time.
    #[error("the API server did not respond within {} s", DEADLINE.as_secs())]
    TimedOut,
    /// A read failed that was made for several.
    #[error(transparent)]
    Shared(Arc<ClusterError>),
}

/// Why a read gave nothing.
enum ReadFault {
    /// The API server refuses it, or does not answer.
    Refused(kube::Error),
    /// The answer is invalid.
    Unreadable,
}

/// What became of a status that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was applied, which led to this state of the object.
    Applied(Version),
    /// The object has changed since the state that the status is about, or is another one of the same name.
    Conflict,
    /// The object is gone.
    NotFound,
}

/// A client of the Kubernetes API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    unfenced: Client,
    url: http::Uri,
    own_namespace: String,
    own_audiences: Arc<[String]>,
    /// The reads that several wait for.
    reads: Arc<Grouped>,
}

// === impl Cluster ===

impl Cluster {
    /// Finds the cluster by the pod's ServiceAccount, or by KUBECONFIG. Nothing is asked yet. A request is sent only while the
    /// fence is open, but for those of [`unfenced`](Self::unfenced).
    pub fn infer(fence: Fence) -> Result<Self, ConfigError> {
        let mut config = config::load(&config::Choice::default())?;
        // A retry is the controller's business: it knows what is due.
        config.default_retry = false;
        let url = config.cluster_url.clone();
        let own_namespace = config.default_namespace.clone();
        let permit = move |request: http::Request<kube::client::Body>| -> Result<_, BoxError> {
            fence.check()?;
            Ok(request)
        };
        let own_audiences = service_account::own_audiences(&config.auth_info).into();
        let unfenced = config::client(config.clone())?;
        let builder = ClientBuilder::try_from(config).map_err(ConfigError::Credentials)?;
        let client = builder.with_layer(&FilterLayer::new(permit)).build();
        Ok(Self { client, unfenced, url, own_namespace, own_audiences, reads: Arc::default() })
    }

    /// A cluster that is reached by a client of the caller's own, without a fence.
    pub fn with_client(client: Client, url: http::Uri) -> Self {
        let own_namespace = client.default_namespace().to_owned();
        let own_audiences: [String; 0] = [];
        let own_audiences = Arc::new(own_audiences);
        Self { unfenced: client.clone(), client, url, own_namespace, own_audiences, reads: Arc::default() }
    }

    /// The client, for watches and events.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The client for what leads to the right to send: the Lease, and the first look at what there is.
    pub fn unfenced(&self) -> Client {
        self.unfenced.clone()
    }

    /// The namespace of the pod, or that of the context in KUBECONFIG.
    pub fn own_namespace(&self) -> &str {
        &self.own_namespace
    }

    /// The addresses of the API server, which no connection may dial: the one that we use, and its Service, which the
    /// kubelet writes into the environment of every pod. The nodes behind that Service are not known.
    pub async fn api_servers(&self) -> Vec<SocketAddr> {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_u16().unwrap_or(443);
        let resolved = tokio::time::timeout(DEADLINE, tokio::net::lookup_host((host, port))).await;
        let used = resolved.ok().and_then(Result::ok).into_iter().flatten();
        let mut addresses: Vec<_> = used.chain(service_address()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Makes sure that the API server answers, knows our kinds and lets us list them.
    pub async fn probe(&self, namespace: Option<&str>) -> Result<(), ClusterError> {
        self.probe_kind::<VaultConnection>(namespace).await?;
        self.probe_kind::<VaultGateway>(namespace).await
    }

    async fn probe_kind<K>(&self, namespace: Option<&str>) -> Result<(), ClusterError>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.unfenced(), namespace, &resource),
            None => Api::all_with(self.unfenced(), &resource),
        };
        let ApiResource { kind, plural, .. } = resource;
        match within_deadline(api.list_metadata(&ListParams::default().limit(1))).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Err(ClusterError::NoCrd { kind, plural }),
            Err(source) => Err(ClusterError::List { kind, url: self.url.to_string(), source }),
        }
    }

    /// Applies a status to an object of kind `K` in the state that was seen, and takes out what somebody else has added to
    /// it. The API server refuses it for any other state: it does not compare the `uid` of a status, so only the
    /// `resourceVersion` tells one that took the name.
    pub async fn apply_status<K: Resource<DynamicType = ()>>(
        &self,
        (namespace, name): (&str, &str),
        seen: &Version,
        status: &impl Serialize,
    ) -> Result<Written, ClusterError> {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &kind);
        let patch = json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": { "resourceVersion": seen.resource_version },
            "status": status,
        });
        // Otherwise the API server parses the patch a second time, to warn of fields that it does not know.
        let params = PatchParams::apply(FIELD_MANAGER).force().validation_ignore();
        match within_deadline(api.patch_status(name, &params, &Patch::Apply(&patch))).await? {
            Ok(object) => {
                Ok(Written::Applied(match foreign::removal(&patch["status"], &object.data["status"]) {
                    Some(removal) => self.remove(&api, (name, &object.metadata), &removal).await?,
                    None => version(&object.metadata),
                }))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Written::NotFound),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Conflict),
            Err(source) => {
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                Err(ClusterError::Write { kind: kind.kind, namespace, name, source })
            }
        }
    }

    /// Takes out of a status what is not ours: an apply leaves what others have written, and we do not.
    async fn remove(
        &self,
        api: &Api<DynamicObject>,
        (name, state): (&str, &ObjectMeta),
        removal: &Value,
    ) -> Result<Version, ClusterError> {
        let patch = json!({ "metadata": { "resourceVersion": state.resource_version }, "status": removal });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match within_deadline(api.patch_status(name, &params, &Patch::Merge(&patch))).await? {
            Ok(object) => Ok(version(&object.metadata)),
            Err(_) => {
                // Whoever has changed the object meanwhile leads to another event, and that to another write.
                tracing::debug!(name, "failed to remove foreign fields from a status");
                Ok(version(state))
            }
        }
    }

    async fn read_gateway(&self, namespace: &str, name: &str) -> Result<Lookup, ReadFault> {
        let kind = ApiResource::erase::<VaultGateway>(&());
        let gateways: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &kind);
        let Some(gateway) = gateways.get_opt(name).await? else { return Ok(Lookup::Missing) };
        Ok(gateway::lookup_of_spec(&gateway.data["spec"], spec_version(&gateway.metadata)))
    }

    async fn read_config_map(&self, namespace: &str, name: &str) -> Result<Lookup, ReadFault> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        let Some(config_map) = config_maps.get_opt(name).await? else { return Ok(Lookup::Missing) };
        let version = version(&config_map.metadata);
        let labelled = is_labelled(&config_map.metadata);
        let (text, binary) =
            (config_map.data.unwrap_or_default(), config_map.binary_data.unwrap_or_default());
        let text = text.into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = binary.into_iter().map(|(key, value)| (key, value.0));
        Ok(Lookup::Found(Object {
            version,
            labelled,
            data: text.chain(binary).map(|(key, value)| (key, Zeroizing::new(value))).collect(),
        }))
    }

    /// Reads an object.
    async fn read_once(&self, namespace: &str, object: &ObjectName) -> Result<Lookup, ClusterError> {
        let outcome = match object.kind {
            ObjectKind::Secret => within_deadline(self.read_secret(namespace, &object.name)).await?,
            ObjectKind::ConfigMap => within_deadline(self.read_config_map(namespace, &object.name)).await?,
            ObjectKind::VaultGateway => within_deadline(self.read_gateway(namespace, &object.name)).await?,
            ObjectKind::ServiceAccount => {
                within_deadline(self.read_service_account(namespace, &object.name)).await?
            }
        };
        match outcome {
            Ok(lookup) => Ok(lookup),
            Err(ReadFault::Refused(kube::Error::Api(status))) if status.code == 403 => Ok(Lookup::Forbidden),
            Err(fault) => Err(fault.of(object.clone(), namespace)),
        }
    }
}

// === impl ClusterError ===

impl ClusterError {
    /// Whether the API server knows us and says no.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::List { source: kube::Error::Api(status), .. } if status.code == 403)
    }
}

impl References for Cluster {
    type Error = ClusterError;

    /// One read serves all who asked for the object before it was sent.
    async fn read(&self, namespace: &str, object: &ObjectName) -> Result<Lookup, ClusterError> {
        let key = (namespace.to_owned(), object.clone());
        self.reads.read(key, || self.read_once(namespace, object)).await
    }

    async fn request_token(
        &self,
        namespace: &str,
        account: &ServiceAccountRef,
    ) -> Result<TokenAnswer, ClusterError> {
        self.issue_token(namespace, account).await
    }
}

// === impl ReadFault ===

/// The reason that kube gives to an answer that is no `Status`, whose whole body it makes the message.
const NO_STATUS: &str = "Failed to parse error data";

impl From<kube::Error> for ReadFault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.reason == NO_STATUS => Self::Unreadable,
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Unreadable,
            error => Self::Refused(error),
        }
    }
}

/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>
fn service_address() -> Option<SocketAddr> {
    let host: IpAddr = env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()?;
    Some(SocketAddr::new(host, env::var("KUBERNETES_SERVICE_PORT").ok()?.parse().ok()?))
}

async fn within_deadline<T>(call: impl Future<Output = T>) -> Result<T, ClusterError> {
    tokio::time::timeout(DEADLINE, call).await.map_err(|_| ClusterError::TimedOut)
}
