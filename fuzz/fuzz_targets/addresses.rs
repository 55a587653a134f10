//! The rules for addresses and paths: what is accepted reaches the host that it names and no path but the one that is
//! meant, and means the same when it is read again.
//!
//! Input: up to six lines: instance URL, namespace, mount, required path, interval, timeout.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use vault_connection_operator::{
    names::{InstanceUrl, MountPath, VaultNamespace, path::escaped},
    spec::Desired,
};

fuzz_target!(|input: &str| {
    let mut lines = input.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (url, namespace, mount, path, interval, timeout) = (next(), next(), next(), next(), next(), next());
    let (url_read, mount_read) = (InstanceUrl::parse(url).ok(), MountPath::parse(mount).ok());
    if let Some(mount) = &mount_read {
        assert_is_path(mount.as_str());
        assert_eq!(MountPath::parse(mount.as_str()).as_ref(), Ok(mount), "it means the same when read again");
    }
    let namespace_read = VaultNamespace::parse(namespace);
    if let Ok(Some(namespace)) = &namespace_read {
        assert_is_path(namespace.as_str());
    }
    if let Some(url) = &url_read {
        let login = mount_read.as_ref().map(|mount| format!("auth/{}/login", mount.as_str()));
        assert_reaches_its_host(url, login.as_deref().unwrap_or("sys/health"));
    }
    let spec = json!({
        "instanceUrl": url,
        "namespace": namespace,
        "auth": {"appRole": {
            "mount": mount,
            "roleId": {"value": "role"},
            "secretId": {"secretRef": {"name": "s", "key": "k"}},
        }},
        "require": {"capabilities": [{"path": path, "verbs": ["read"]}]},
        "check": {"interval": interval, "timeout": timeout},
    });
    let spec = serde_json::from_value(spec).expect("it has the form of a spec");
    if let Ok(desired) = Desired::parse(&spec) {
        assert_eq!(Some(&desired.target.instance), url_read.as_ref());
        assert_eq!(Ok(&desired.target.namespace), namespace_read.as_ref());
        assert!(mount_read.is_some());
        assert!(desired.timeout <= desired.interval);
        assert!((10..=86_400).contains(&desired.interval.as_secs()) && desired.timeout.as_secs() >= 1);
        assert!(desired.require.keys().all(|path| !path.is_empty() && !path.starts_with('/')));
        assert!(InstanceUrl::written(url).is_ok() && url.chars().count() <= 2048);
    }
});

fn assert_is_path(path: &str) {
    for segment in path.split('/') {
        assert!(!matches!(segment, "" | "." | ".."), "{path:?}");
        assert!(!segment.contains(|c: char| c.is_control() || "?#%\u{feff}\u{200b}".contains(c)), "{path:?}");
        assert_eq!(segment.trim(), segment, "{path:?}");
    }
}

fn assert_reaches_its_host(url: &InstanceUrl, path: &str) {
    let again = InstanceUrl::parse(url.as_str()).expect("what is shown can be read again");
    assert_eq!((again.host(), again.port()), (url.host(), url.port()), "{url}");
    let api = url.api(path);
    assert_eq!((api.host(), api.port_or_known_default()), (Some(url.host()), Some(url.port())), "{api}");
    assert!(api.username().is_empty() && api.password().is_none(), "{api}");
    assert!(api.query().is_none() && api.fragment().is_none(), "{api}");
    assert_eq!(api.scheme() == "http", url.is_plain_http(), "{api}");
    assert!(api.path().ends_with(&format!("/v1/{}", escaped(path))), "{api}");
    let base = url.api("x").path().split('/').count();
    assert_eq!(api.path().split('/').count(), base + path.matches('/').count(), "{api}");
    assert_eq!(again.api(path), api, "what is shown is what is asked");
}
