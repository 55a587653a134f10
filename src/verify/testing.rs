//! Good values that tests change in one place.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;

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

fn key() -> SecretKeyRef {
    SecretKeyRef { name: "vault".to_owned(), key: "secret".to_owned() }
}
