//! A spec, parsed once into types that make later steps infallible.
//!
//! The CRD's schema refuses all of this earlier; the operator does not rely on it, because the installed CRD may be
//! older than the operator, and because `check` reads manifests that no API server has seen.

mod gateway;
mod tls;

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

pub use self::{
    gateway::{DesiredEndpoint, DesiredGateway},
    tls::{Ca, CaSource, TlsSettings},
};
use crate::{
    api::connection::{GatewayRef, KvVersion, Require, SecretSync, VaultConnectionSpec, Verb},
    auth::Method,
    names::{
        EndpointUrlError, InstanceUrl, InstanceUrlError, MountPath, ObjectName, ServerNameError,
        VaultNamespace, VaultNamespaceError,
    },
    schema::{
        FieldError,
        text::{self, bounded, duration, mount, policy_path},
    },
};

/// Shortest and longest time between checks.
const INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));

/// Most paths in `require`, and most verbs of one path.
const MAX_CAPABILITIES: usize = 32;
const MAX_VERBS: usize = 8;

/// Shortest and longest time that a check may take.
const TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Shortest and longest time until a login is proved anew.
const LOGIN_INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(24));

/// What a user asks for, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Where and how to log in.
    pub target: Target,
    /// What the login must be allowed to do, by path.
    pub require: BTreeMap<String, Vec<Verb>>,
    /// The secrets engine that must be there.
    pub engine: Option<DesiredEngine>,
    /// Time between checks.
    pub interval: Duration,
    /// Longest time that one check may take.
    pub timeout: Duration,
    /// Longest time until a login that is kept as a session is proved anew.
    pub login_interval: Duration,
}

/// A secrets engine that secrets are to be synced to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredEngine {
    /// Where it is mounted.
    pub mount: MountPath,
    /// The version of KV that it is.
    pub version: KvVersion,
}

/// Where and how to log in. A session that was made for one target says nothing about another. Whatever is remembered is remembered
/// of a target, so that a clone is the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Arc<TargetFields>);

/// What a target is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFields {
    /// The instance to check.
    pub instance: InstanceUrl,
    /// The Vault namespace to log in to; none means the root namespace.
    pub namespace: Option<VaultNamespace>,
    /// How to log in.
    pub method: Method,
    /// How to verify the instance's certificate, and which one to show.
    pub tls: TlsSettings,
    /// Name of the gateway to go through.
    pub gateway: Option<String>,
}

/// Why a spec makes no sense. Each names the field and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The instance URL does not parse.
    #[error("spec.instanceUrl: {0}")]
    InstanceUrl(InstanceUrlError),
    /// The Vault namespace does not parse.
    #[error("spec.namespace: {0}")]
    Namespace(VaultNamespaceError),
    /// The text of a field is invalid.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// There is no certificate to log in with.
    #[error("spec.auth.cert: it logs in with a client certificate: set spec.tls.clientCertificate")]
    NoClientCertificate,
    /// A gateway's name is none.
    #[error("spec.gatewayRef.name: write the name of a VaultGateway: lower case letters, digits and '-'")]
    GatewayName,
    /// A CA bundle has no source, or several.
    #[error("{field}: set exactly one of configMapRef, secretRef and inline")]
    CaSource {
        /// The field that holds it.
        field: &'static str,
    },
    /// A server name does not parse.
    #[error("{field}: {error}")]
    ServerName {
        /// The field that holds it.
        field: &'static str,
        /// Why not.
        error: ServerNameError,
    },
    /// A gateway lists no endpoint, or too many.
    #[error("spec.endpoints: list between 1 and 8 endpoints")]
    Endpoints,
    /// An endpoint's URL does not parse.
    #[error("spec.endpoints.url: {0}")]
    EndpointUrl(EndpointUrlError),
    /// An endpoint is listed twice.
    #[error("spec.endpoints: list each url once")]
    SameEndpoint,
    /// TLS settings are given for an endpoint that does not speak TLS.
    #[error("spec.endpoints.tls: it is for an endpoint with https://")]
    EndpointTls,
    /// A requirement demands nothing.
    #[error("spec.require: set secretSync, capabilities or both; leave out `require` to demand nothing")]
    EmptyRequire,
    /// A required path starts with a slash.
    #[error("spec.require.capabilities: write the path without a leading slash, as in a Vault policy")]
    CapabilityPath,
    /// A required path lists no verb, or too many.
    #[error("spec.require.capabilities: list between 1 and 8 verbs for each path")]
    Verbs,
    /// Too many paths are required.
    #[error("spec.require.capabilities: list at most 32 paths")]
    Capabilities,
    /// The interval does not parse or is out of bounds.
    #[error("spec.check.interval: write a duration from 10s to 24h, such as 1m or 1h30m")]
    Interval,
    /// The timeout does not parse or is out of bounds.
    #[error("spec.check.timeout: write a duration from 1s to 60s, such as 10s")]
    Timeout,
    /// The interval between logins does not parse or is out of bounds.
    #[error("spec.check.loginInterval: write a duration from 10s to 24h, such as 1h")]
    LoginInterval,
    /// The timeout is longer than the interval.
    #[error("spec.check: timeout must not be longer than interval")]
    TimeoutOverInterval,
}

// === impl Desired ===

impl Desired {
    /// Parses every field, and stops at the first that makes no sense.
    pub fn parse(spec: &VaultConnectionSpec) -> Result<Self, SpecError> {
        bounded("spec.description", &spec.description, 0, 256)?;
        let (interval, timeout) = times(&spec.check.interval, &spec.check.timeout)?;
        bounded("spec.instanceUrl", &spec.instance_url, 1, 2048)?;
        bounded("spec.namespace", &spec.namespace, 0, 256)?;
        let target = TargetFields {
            instance: InstanceUrl::written(&spec.instance_url).map_err(SpecError::InstanceUrl)?,
            namespace: VaultNamespace::parse(&spec.namespace).map_err(SpecError::Namespace)?,
            method: Method::parse(&spec.auth)?,
            tls: TlsSettings::parse(spec.tls.as_ref(), &tls::OF_CONNECTION)?,
            gateway: spec.gateway_ref.as_ref().map(gateway_name).transpose()?,
        };
        if target.method.uses_client_certificate() && target.tls.client_certificate.is_none() {
            return Err(SpecError::NoClientCertificate);
        }
        Ok(Self {
            target: target.into(),
            require: spec.require.as_ref().map(require).transpose()?.unwrap_or_default(),
            engine: spec.require.as_ref().map(engine).transpose()?.flatten(),
            interval,
            timeout,
            login_interval: duration(&spec.check.login_interval, LOGIN_INTERVAL_BOUNDS)
                .ok_or(SpecError::LoginInterval)?,
        })
    }
}

// === impl Target ===

impl Deref for Target {
    type Target = TargetFields;

    fn deref(&self) -> &TargetFields {
        &self.0
    }
}

impl DerefMut for Target {
    /// What is changed is this one alone: a clone stays as it was.
    fn deref_mut(&mut self) -> &mut TargetFields {
        Arc::make_mut(&mut self.0)
    }
}

impl From<TargetFields> for Target {
    fn from(fields: TargetFields) -> Self {
        Self(Arc::new(fields))
    }
}

impl TargetFields {
    /// The objects that hold what is logged in with, each once.
    pub fn credentials(&self) -> Vec<ObjectName> {
        let certificate =
            self.tls.client_certificate.as_deref().filter(|_| self.method.uses_client_certificate());
        let mut names = self.method.references();
        names.extend(certificate.map(ObjectName::secret));
        names.sort();
        names.dedup();
        names
    }

    /// Every object that the connection itself names, each once.
    pub fn references(&self) -> Vec<ObjectName> {
        let mut names = self.method.references();
        names.extend(self.tls.references());
        names.extend(self.gateway.as_deref().map(ObjectName::gateway));
        names.sort();
        names.dedup();
        names
    }
}

fn gateway_name(reference: &GatewayRef) -> Result<String, SpecError> {
    if text::label(&reference.name) { Ok(reference.name.clone()) } else { Err(SpecError::GatewayName) }
}

/// Joins both ways to demand something into one list by path; verbs of the same path are merged.
fn require(require: &Require) -> Result<BTreeMap<String, Vec<Verb>>, SpecError> {
    let mut demands: BTreeMap<String, Vec<Verb>> = BTreeMap::new();
    if let Some(sync) = &require.secret_sync {
        let engine = mount("spec.require.secretSync.mount", &sync.mount)?;
        policy_path("spec.require.secretSync.path", &sync.path)?;
        let path = sync.path.trim_start_matches('/');
        let path = match sync.kv_version {
            KvVersion::V1 => format!("{}/{path}", engine.as_str()),
            KvVersion::V2 => format!("{}/data/{path}", engine.as_str()),
        };
        demands.insert(path, vec![Verb::Create, Verb::Read, Verb::Update, Verb::Delete]);
        demands.insert("sys/mounts".to_owned(), vec![Verb::Read]);
    }
    if require.capabilities.len() > MAX_CAPABILITIES {
        return Err(SpecError::Capabilities);
    }
    for capability in &require.capabilities {
        policy_path("spec.require.capabilities.path", &capability.path)?;
        if capability.path.starts_with('/') {
            return Err(SpecError::CapabilityPath);
        }
        if !(1..=MAX_VERBS).contains(&capability.verbs.len()) {
            return Err(SpecError::Verbs);
        }
        demands.entry(capability.path.clone()).or_default().extend(&capability.verbs);
    }
    if demands.is_empty() {
        return Err(SpecError::EmptyRequire);
    }
    for verbs in demands.values_mut() {
        verbs.sort_unstable();
        verbs.dedup();
    }
    Ok(demands)
}

fn engine(require: &Require) -> Result<Option<DesiredEngine>, SpecError> {
    let engine = |sync: &SecretSync| {
        let mount = mount("spec.require.secretSync.mount", &sync.mount)?;
        Ok(DesiredEngine { mount, version: sync.kv_version })
    };
    require.secret_sync.as_ref().map(engine).transpose()
}

fn times(interval: &str, timeout: &str) -> Result<(Duration, Duration), SpecError> {
    let interval = duration(interval, INTERVAL_BOUNDS).ok_or(SpecError::Interval)?;
    let timeout = duration(timeout, TIMEOUT_BOUNDS).ok_or(SpecError::Timeout)?;
    if timeout > interval {
        return Err(SpecError::TimeoutOverInterval);
    }
    Ok((interval, timeout))
}
