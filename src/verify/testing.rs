//! Good values that tests change in one place.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::observation::Fault;
use crate::{
    api::{
        auth::{RoleId, SecretKeyRef},
        connection::Verb,
    },
    names::{InstanceUrl, MountPath, ObjectName},
    references::{Version, Versions},
    spec::{Desired, Method, Target, TlsSettings},
};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

pub(crate) fn app_role() -> Desired {
    Desired {
        target: Target {
            instance: InstanceUrl::parse("https://vault.example.com").expect("valid"),
            namespace: None,
            method: Method::AppRole {
                mount: MountPath::parse("approle").expect("valid"),
                role_id: RoleId::Value("role".to_owned()),
                secret_id: key(),
                wrapped: false,
            },
            tls: TlsSettings::default(),
            gateway: None,
        },
        require: BTreeMap::new(),
        engine: None,
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(10),
        login_interval: Duration::from_hours(1),
    }
}

pub(crate) fn token() -> Desired {
    let desired = app_role();
    Desired { target: Target { method: Method::Token(key()), ..desired.target }, ..desired }
}

pub(crate) fn missing() -> Fault {
    Fault::Missing(BTreeMap::from([("kv/data/*".to_owned(), vec![Verb::Create, Verb::Read])]))
}

pub(crate) fn versions(resource_version: &str) -> Versions {
    let version = Version { uid: "u".to_owned(), resource_version: resource_version.to_owned() };
    BTreeMap::from([(ObjectName::secret("vault"), Some(version))])
}

fn key() -> SecretKeyRef {
    SecretKeyRef { name: "vault".to_owned(), key: "secret".to_owned() }
}
