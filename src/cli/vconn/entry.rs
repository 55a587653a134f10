//! One connection or gateway, as people look at it. Pure.
//!
//! It is read field by field: an object that another version of the operator wrote is shown as far as it can be.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::{Value, json};

use super::kinds::Kind;
use crate::{
    api::{condition::ConditionType, status::State},
    cli::style::Colour,
    conditions,
};

pub(super) use crate::verify::urgency::Urgency;

/// One connection or gateway.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) conditions: Vec<Condition>,
    object: DynamicObject,
}

/// The address of an instance, as commands need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// With the port, and without a slash at its end.
    pub(super) url: String,
    /// Host and port.
    pub(super) authority: String,
    pub(super) host: String,
}

// === impl Urgency ===

impl Urgency {
    /// The colour of a verdict that is so bad.
    pub(in crate::cli) fn colour(self) -> Colour {
        match self {
            Self::Fine => Colour::Green,
            Self::Suspended | Self::Warned | Self::NotKnown => Colour::Yellow,
            Self::Failing | Self::NeedsPerson => Colour::Red,
        }
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(kind: Kind, object: DynamicObject) -> Self {
        let conditions = serde_json::from_value(object.data["status"]["conditions"].clone());
        Self { kind, conditions: conditions.unwrap_or_default(), object }
    }

    pub(super) fn name(&self) -> String {
        self.object.name_any()
    }

    pub(super) fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// `NAME`, or `gateway/NAME`, as it is written on the command line.
    pub(super) fn short_name(&self) -> String {
        match self.kind {
            Kind::Connection => self.name(),
            Kind::Gateway => format!("{}/{}", self.kind.word(), self.name()),
        }
    }

    /// The same with its namespace.
    pub(super) fn full_name(&self) -> String {
        match self.kind {
            Kind::Connection => format!("{}/{}", self.namespace(), self.name()),
            Kind::Gateway => format!("{} {}/{}", self.kind.word(), self.namespace(), self.name()),
        }
    }

    /// As kubectl prints it: `vaultconnection.appconnections.dev/NAME`.
    pub(super) fn kubectl_name(&self) -> String {
        let resource = self.kind.resource();
        format!("{}.{}/{}", resource.kind.to_lowercase(), resource.group, self.name())
    }

    /// The object without the fields that nobody reads.
    pub(super) fn value(&self) -> Value {
        let resource = self.kind.resource();
        let mut value = json!(self.object);
        value["apiVersion"] = resource.api_version.into();
        value["kind"] = resource.kind.into();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        value
    }

    pub(super) fn spec(&self) -> &Value {
        &self.object.data["spec"]
    }

    pub(super) fn status(&self) -> &Value {
        &self.object.data["status"]
    }

    /// A text in the status.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.status().pointer(pointer).and_then(Value::as_str)
    }

    /// A time in the status, by its path there.
    pub(super) fn time(&self, field: &str) -> Option<Timestamp> {
        self.text(&format!("/{field}"))?.parse().ok()
    }

    /// When it is checked next, if that is still to come: checks whose result is the same are not written.
    pub(super) fn next_check(&self, now: Timestamp) -> Option<Timestamp> {
        self.time("nextCheckTime").filter(|time| *time > now)
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        self.object.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    pub(super) fn ready(&self) -> Option<&Condition> {
        conditions::find(&self.conditions, ConditionType::Ready)
    }

    /// Whether it is Ready, for the spec that it has now.
    pub(super) fn is_ready(&self) -> bool {
        self.is_current() && conditions::is_true(&self.conditions, ConditionType::Ready)
    }

    /// Whether the status is about the spec.
    pub(super) fn is_current(&self) -> bool {
        let observed = self.status()["observedGeneration"].as_i64();
        observed.is_some() && observed == self.object.metadata.generation
    }

    /// Whether it was ever checked.
    pub(super) fn is_checked(&self) -> bool {
        !self.conditions.is_empty()
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec()["suspend"].as_bool().unwrap_or_default()
    }

    /// Whether the last check answered this request.
    pub(super) fn has_answered(&self, request: &str) -> bool {
        self.text("/lastHandledReconcileAt") == Some(request)
    }

    /// `status.state`; of a gateway, how many of its endpoints work.
    pub(super) fn state(&self) -> String {
        match self.kind {
            Kind::Connection => self.text("/state").unwrap_or(State::Pending.as_str()).to_owned(),
            Kind::Gateway => match self.status()["healthyEndpoints"].as_u64() {
                Some(healthy) => {
                    let all = self.spec()["endpoints"].as_array().map_or(0, Vec::len);
                    format!("{healthy}/{all} healthy")
                }
                None => State::Pending.as_str().to_owned(),
            },
        }
    }

    /// The gateway itself, or that of the connection.
    pub(super) fn gateway(&self) -> Option<String> {
        match self.kind {
            Kind::Gateway => Some(self.name()),
            Kind::Connection => self.spec()["gatewayRef"]["name"].as_str().map(str::to_owned),
        }
    }

    /// The Secret with the credential of the login, the last of several.
    pub(super) fn credential(&self) -> Option<&str> {
        let method = self.spec()["auth"].as_object()?.values().next()?;
        let direct = method["secretRef"]["name"].as_str();
        let mut parts = ["password", "secretId", "roleId"].iter();
        direct.or_else(|| parts.find_map(|part| method[part]["secretRef"]["name"].as_str()))
    }

    /// The address of the instance, if it can stand in a command: nothing in it means something to a shell.
    pub(super) fn address(&self) -> Option<Address> {
        let url: http::Uri = self.spec()["instanceUrl"].as_str()?.parse().ok()?;
        let (scheme, default_port) = match url.scheme_str()? {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return None,
        };
        let is_harmless =
            |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:/[]".contains(c));
        let host = url.host().filter(|host| !host.is_empty() && is_harmless(host))?.to_owned();
        let authority = format!("{host}:{}", url.port_u16().unwrap_or(default_port));
        let path = url.path().trim_end_matches('/');
        is_harmless(path).then(|| Address { url: format!("{scheme}://{authority}{path}"), authority, host })
    }

    /// What needs attention beside Ready.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.status()["warnings"].as_array().into_iter().flatten();
        let mut warnings: Vec<_> = warnings.filter_map(Value::as_str).map(str::to_owned).collect();
        if self.is_checked() && !self.is_current() {
            warnings.push("SpecChanged".to_owned());
        }
        if self.object.metadata.deletion_timestamp.is_some() {
            warnings.push("Deleting".to_owned());
        }
        warnings
    }

    /// The address of the instance, or those of the endpoints.
    pub(super) fn target(&self) -> String {
        match self.kind {
            Kind::Connection => self.spec()["instanceUrl"].as_str().unwrap_or_default().to_owned(),
            Kind::Gateway => {
                let endpoints = self.spec()["endpoints"].as_array().into_iter().flatten();
                endpoints.filter_map(|endpoint| endpoint["url"].as_str()).collect::<Vec<_>>().join(",")
            }
        }
    }

    pub(super) fn urgency(&self) -> Urgency {
        let ready = self.ready();
        if ready.is_none() && self.is_suspended() {
            return Urgency::Suspended;
        }
        Urgency::of_object(ready, self.is_current(), !self.warnings().is_empty())
    }
}
