//! How a server's certificate is verified, and which one it is shown, parsed.

use std::sync::Arc;

use super::SpecError;
use crate::{
    api::tls::{CaBundle, ConfigMapKeyRef, Tls, Trust},
    auth::SecretKeyRef,
    names::{ObjectName, ServerName, pool::Pool},
    schema::text::{bounded, object_name, reference},
};

/// How to verify a server's certificate, and which one to show to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// CA certificates to trust.
    pub ca: Option<Ca>,
    /// Name of the Secret with our certificate and its key.
    pub client_certificate: Option<String>,
    /// The name that the certificate must be for, if not the host of the URL.
    pub server_name: Option<ServerName>,
}

/// CA certificates to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ca {
    /// Where they are.
    pub source: CaSource,
    /// Whether they are trusted alone.
    pub trust: Trust,
}

/// Where CA certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// In a `ConfigMap`.
    ConfigMap(ConfigMapKeyRef),
    /// In a Secret.
    Secret(SecretKeyRef),
    /// In the spec. A bundle that many connections have is held once.
    Inline(Arc<str>),
}

/// CA certificates that stand in specs.
static BUNDLES: Pool<str> = Pool::new();

/// The names of the fields, for messages: the same type stands in two kinds.
pub(super) struct Fields {
    ca: &'static str,
    client_certificate: &'static str,
    server_name: &'static str,
}

/// Those of a connection.
pub(super) const OF_CONNECTION: Fields = Fields {
    ca: "spec.tls.caBundle",
    client_certificate: "spec.tls.clientCertificate.secretRef",
    server_name: "spec.tls.serverName",
};

/// Those of an endpoint of a gateway.
pub(super) const OF_ENDPOINT: Fields = Fields {
    ca: "spec.endpoints.tls.caBundle",
    client_certificate: "spec.endpoints.tls.clientCertificate.secretRef",
    server_name: "spec.endpoints.tls.serverName",
};

// === impl TlsSettings ===

impl TlsSettings {
    pub(super) fn parse(tls: Option<&Tls>, fields: &Fields) -> Result<Self, SpecError> {
        let Some(Tls { ca_bundle, client_certificate, server_name }) = tls else {
            return Ok(Self::default());
        };
        let client_certificate = client_certificate.as_ref().map(|shown| shown.secret_ref.name.clone());
        if let Some(name) = &client_certificate {
            object_name(fields.client_certificate, name)?;
        }
        let named = |text: &String| {
            let field = fields.server_name;
            ServerName::parse(text).map_err(|error| SpecError::ServerName { field, error })
        };
        Ok(Self {
            ca: ca_bundle.as_ref().map(|bundle| Ca::parse(bundle, fields.ca)).transpose()?,
            client_certificate,
            server_name: server_name.as_ref().map(named).transpose()?,
        })
    }

    /// Every object that they name.
    pub fn references(&self) -> Vec<ObjectName> {
        let ca = match self.ca.as_ref().map(|ca| &ca.source) {
            Some(CaSource::ConfigMap(reference)) => Some(ObjectName::config_map(&reference.name)),
            Some(CaSource::Secret(reference)) => Some(ObjectName::secret(&reference.name)),
            Some(CaSource::Inline(_)) | None => None,
        };
        ca.into_iter().chain(self.client_certificate.as_deref().map(ObjectName::secret)).collect()
    }
}

// === impl Ca ===

impl Ca {
    fn parse(bundle: &CaBundle, field: &'static str) -> Result<Self, SpecError> {
        let CaBundle { config_map_ref, secret_ref, inline, trust } = bundle;
        let source = match (config_map_ref, secret_ref, inline) {
            (Some(config_map), None, None) => {
                reference(field, &config_map.name, &config_map.key)?;
                CaSource::ConfigMap(config_map.clone())
            }
            (None, Some(secret), None) => {
                reference(field, &secret.name, &secret.key)?;
                CaSource::Secret(secret.clone())
            }
            (None, None, Some(pem)) => {
                bounded(field, pem, 1, 65536)?;
                CaSource::Inline(BUNDLES.share(pem.as_str()))
            }
            _ => return Err(SpecError::CaSource { field }),
        };
        Ok(Self { source, trust: *trust })
    }
}
