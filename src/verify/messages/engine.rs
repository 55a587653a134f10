//! What is wrong with the secrets engine that a connection is for.

use crate::{
    api::condition::Reason,
    spec::{Desired, DesiredEngine},
    verify::observation::EngineFault,
};

/// The reason and the message.
pub(super) fn of_engine(fault: &EngineFault, desired: &Desired) -> (Reason, String) {
    let Some(DesiredEngine { mount, version }) = &desired.engine else {
        // A fault of another spec than this one: the next check tells.
        return (
            Reason::SecretsMountNotFound,
            "spec.require.secretSync has changed. It is checked again soon.".to_owned(),
        );
    };
    let mount = mount.as_str();
    let place = match &desired.target.namespace {
        Some(namespace) => format!("{mount:?} in Vault namespace {:?}", namespace.as_str()),
        None => format!("{mount:?}"),
    };
    match fault {
        EngineFault::NotFound => (
            Reason::SecretsMountNotFound,
            format!(
                "The login works, but no secrets engine is mounted at {place}. Correct spec.require.secretSync.mount or spec.namespace; `vault secrets list` shows the mounts."
            ),
        ),
        EngineFault::Inside(engine) => {
            let rest = mount.get(engine.len()..).unwrap_or_default().trim_matches('/');
            let advice = if rest == "data" {
                "the operator adds data/ itself"
            } else {
                "the rest belongs in spec.require.secretSync.path"
            };
            (
                Reason::SecretsMountNotFound,
                format!(
                    "The login works, but {place} is not a mount: it is a path inside the secrets engine at {engine:?}. Set spec.require.secretSync.mount to {engine:?}; {advice}."
                ),
            )
        }
        EngineFault::NotKv => (
            Reason::NotKv,
            format!(
                "The login works, but the secrets engine at {place} is not a KV engine, so secrets cannot be synced to it. Correct spec.require.secretSync.mount; `vault secrets list` shows the mounts."
            ),
        ),
        EngineFault::Version(found) => (
            Reason::KvVersionMismatch,
            format!(
                "The login works, but the KV engine at {place} has version {0}, and spec.require.secretSync requires version {1}. Set spec.require.secretSync.kvVersion to V{0}, or name another mount.",
                found.number(),
                version.number()
            ),
        ),
    }
}
