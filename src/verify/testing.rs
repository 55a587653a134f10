//! Good values that tests change in one place.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::observation::Fault;
use crate::{
    api::connection::Verb,
    auth::{Auth, Method, SecretKeyRef, Token},
    names::{InstanceUrl, ObjectName},
    references::{Version, Versions},
    spec::{Desired, TargetFields, TlsSettings},
    vault::testing,
};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

pub(crate) fn app_role() -> Desired {
    Desired {
        target: TargetFields {
            instance: InstanceUrl::parse("https://vault.example.com").expect("valid"),
            namespace: None,
            method: testing::app_role(),
            tls: TlsSettings::default(),
            gateway: None,
        }
        .into(),
        require: BTreeMap::new(),
        engine: None,
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(10),
        login_interval: Duration::from_hours(1),
    }
}

pub(crate) fn token() -> Desired {
    let desired = app_role();
    let method = Method::parse(&Auth::Token(Token { secret_ref: key() })).expect("valid");
    Desired { target: TargetFields { method, ..TargetFields::clone(&desired.target) }.into(), ..desired }
}

pub(crate) fn missing() -> Fault {
    Fault::Missing(BTreeMap::from([("kv/data/*".to_owned(), vec![Verb::Create, Verb::Read])]))
}

pub(crate) fn versions(resource_version: &str) -> Versions {
    let version = Version { uid: "u".into(), resource_version: resource_version.to_owned() };
    Versions::from([(ObjectName::secret("vault"), Some(version))])
}

/// The status of a connection with everything in it.
pub(crate) fn full_status() -> Value {
    let condition = |type_: &str, second: u8| {
        json!({
            "type": type_, "status": "True", "reason": "Connected", "message": "The login works.", "observedGeneration": 3,
            "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z"),
        })
    };
    json!({
        "observedGeneration": 3,
        "state": "Connected",
        "warnings": ["TokenExpiring"],
        "connection": {
            "app": "hashicorp-vault", "method": "app-role", "instanceUrl": "https://vault.example.com", "namespace": "admin",
            "mount": "approle", "roleId": "r", "gateway": "g",
        },
        "server": {
            "version": "2.7.2", "clusterName": "c", "clusterId": "i", "role": "Active", "clockSkewSeconds": 1,
            "certificateExpireTime": "2027-01-01T00:00:00Z", "certificateDaysLeft": 364,
        },
        "session": {
            "tokenType": "service", "policies": ["default"], "policiesTruncated": true, "ttlSeconds": 3600,
            "expireTime": "2026-01-01T01:00:00Z", "renewable": true, "usesLeft": 7, "longestLifeSeconds": 7200,
            "periodSeconds": 60, "orphan": true, "displayName": "d",
        },
        "credentials": [{"kind": "Secret", "name": "vault-approle", "uid": "u", "resourceVersion": "1"}],
        "lastCheckTime": "2026-01-01T00:01:00Z",
        "nextCheckTime": "2026-01-01T00:02:00Z",
        "nextLoginTime": "2026-01-01T00:15:00Z",
        "refusedLoginTimes": ["2026-01-01T00:00:30Z"],
        "refusedLoginRole": "abcd",
        "lastLoginTime": "2026-01-01T00:00:01Z",
        "lastHandledReconcileAt": "now",
        "conditions": [
            condition("Ready", 1), condition("Reachable", 2), condition("Theirs", 3), condition("Reconciling", 4),
        ],
    })
}

fn key() -> SecretKeyRef {
    SecretKeyRef { name: "vault".to_owned(), key: "secret".to_owned() }
}
