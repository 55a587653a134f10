//! A gateway's spec, parsed.

use std::time::Duration;

use super::{SpecError, times, tls};
use crate::{
    api::gateway::{Endpoint, VaultGatewaySpec},
    names::{EndpointUrl, ObjectName},
    schema::text::{bounded, object_name},
    spec::TlsSettings,
};

/// Most endpoints of one gateway.
const MAX_ENDPOINTS: usize = 8;

/// What a user asks for, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredGateway {
    /// The proxies.
    pub endpoints: Vec<DesiredEndpoint>,
    /// Time between checks.
    pub interval: Duration,
    /// Longest time that one check may take.
    pub timeout: Duration,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredEndpoint {
    /// Its address.
    pub url: EndpointUrl,
    /// Its address as the spec has it.
    pub written: String,
    /// Name of the Secret with the login.
    pub credentials: Option<String>,
    /// How to verify its certificate, and which one to show.
    pub tls: TlsSettings,
}

// === impl DesiredGateway ===

impl DesiredGateway {
    /// Parses every field, and stops at the first that makes no sense.
    pub fn parse(spec: &VaultGatewaySpec) -> Result<Self, SpecError> {
        bounded("spec.description", &spec.description, 0, 256)?;
        let (interval, timeout) = times(&spec.check.interval, &spec.check.timeout)?;
        if !(1..=MAX_ENDPOINTS).contains(&spec.endpoints.len()) {
            return Err(SpecError::Endpoints);
        }
        let mut endpoints: Vec<DesiredEndpoint> = Vec::new();
        for endpoint in &spec.endpoints {
            let endpoint = DesiredEndpoint::parse(endpoint)?;
            if endpoints.iter().any(|other| other.is_written_as(&endpoint)) {
                return Err(SpecError::SameEndpoint);
            }
            endpoints.push(endpoint);
        }
        Ok(Self { endpoints, interval, timeout })
    }

    /// Every object that the gateway names, each once.
    pub fn references(&self) -> Vec<ObjectName> {
        let of = |endpoint: &DesiredEndpoint| {
            let login = endpoint.credentials.as_deref().map(ObjectName::secret);
            endpoint.tls.references().into_iter().chain(login)
        };
        let mut names: Vec<_> = self.endpoints.iter().flat_map(of).collect();
        names.sort();
        names.dedup();
        names
    }
}

// === impl DesiredEndpoint ===

impl DesiredEndpoint {
    fn parse(endpoint: &Endpoint) -> Result<Self, SpecError> {
        let Endpoint { url: written, credentials, tls } = endpoint;
        bounded("spec.endpoints.url", written, 1, 512)?;
        let url = EndpointUrl::parse(written).map_err(SpecError::EndpointUrl)?;
        if tls.is_some() && !url.is_tls() {
            return Err(SpecError::EndpointTls);
        }
        let credentials = credentials.as_ref().map(|login| login.secret_ref.name.clone());
        if let Some(name) = &credentials {
            object_name("spec.endpoints.credentials.secretRef", name)?;
        }
        let tls = TlsSettings::parse(tls.as_ref(), &tls::OF_ENDPOINT)?;
        Ok(Self { url, written: written.clone(), credentials, tls })
    }

    /// Whether two addresses differ in nothing but upper case, a slash at the end, or a port that is meant anyway. Two
    /// spellings of one IP address differ.
    fn is_written_as(&self, other: &Self) -> bool {
        let host = |endpoint: &Self| {
            let written = endpoint.written.trim_end_matches('/').to_ascii_lowercase();
            let port = format!(":{}", endpoint.url.port);
            written.strip_suffix(&port).map(str::to_owned).unwrap_or(written)
        };
        self.url.port == other.url.port && host(self) == host(other)
    }
}
