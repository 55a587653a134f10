//! Follows the file of the address policy, and leads to a check of the objects that a change is about.

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::engine::registry::Follower;
use crate::{
    network::policy_file::{PolicyHandle, Reload},
    telemetry::{logs::chain, metrics::Metrics},
};

/// How often the file is read. The kubelet itself takes up to a minute to write a changed ConfigMap.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the policy that of its file, for as long as it is polled. Without a file there is nothing to do.
pub async fn follow(
    policy: PolicyHandle,
    registries: Vec<Arc<dyn Follower>>,
    metrics: Metrics,
) -> Infallible {
    if !policy.has_file() {
        return future::pending().await;
    }
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let read = policy.clone();
        // A file system may hang; the operator does not.
        match spawn_blocking(move || read.reload()).await.unwrap_or(Reload::Unchanged) {
            Reload::Unchanged => {}
            Reload::Failed(error) => {
                metrics.address_policy_file(false);
                tracing::error!(
                    error = chain(&error),
                    "failed to reload the address policy; the previous one stays in effect"
                );
            }
            Reload::Changed(before) => {
                metrics.address_policy_file(true);
                let is_meant = |namespace: &str| before.rules_for(namespace) != policy.rules_for(namespace);
                let objects: usize = registries.iter().map(|it| it.trigger_in(&is_meant)).sum();
                tracing::info!(objects, "reloaded the address policy");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf, process};

    use futures::StreamExt;

    use super::*;
    use crate::{
        controller::{connection::Connections, engine::registry::Registry},
        names::ConnectionRef,
        network::address_policy::AddressPolicy,
        telemetry::metrics::exposition::Format,
    };

    /// A file that ends with its test.
    struct TempFile(PathBuf);

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn connection(namespace: &str) -> ConnectionRef {
        ConnectionRef { namespace: namespace.into(), name: "a".into() }
    }

    fn ok(metrics: &Metrics) -> bool {
        metrics.text(Format::Classic).contains("vault_connection_operator_address_policy_file_ok 1")
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_asks_for_a_look_at_the_connections_that_it_is_about_and_a_bad_file_changes_nothing() {
        let file = TempFile(env::temp_dir().join(format!("address-policy-{}.yaml", process::id())));
        let write = |text: &str| fs::write(&file.0, text).expect("a file is written");
        write("rules: [{allow: [10.0.0.7]}]");
        let policy = PolicyHandle::with_file(AddressPolicy::default(), file.0.clone()).expect("a good file");
        let (registry, metrics) = (Arc::new(Registry::<Connections>::default()), Metrics::new(true));
        let (a, b) = (connection("a"), connection("b"));
        let (of_a, of_b) = (registry.of(&a), registry.of(&b));
        let mut triggered = registry.queue(None);
        tokio::spawn(follow(policy.clone(), vec![registry.clone()], metrics.clone()));
        let (rules_of_a, rules_of_b) = (policy.rules_for("a"), policy.rules_for("b"));

        write("rules: [{allow: [10.0.0.7]}, {namespaces: [b], allow: [10.0.0.8]}]");
        assert_eq!(triggered.next().await, Some(b));
        assert!(of_b.take_trigger() && !of_a.take_trigger());
        assert_eq!(policy.rules_for("a"), rules_of_a);
        assert_ne!(policy.rules_for("b"), rules_of_b);

        let rules_of_b = policy.rules_for("b");
        write("rules: [{allow: [\"10.0.0.0/33\"]}]");
        while ok(&metrics) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        assert_eq!(policy.rules_for("b"), rules_of_b);
        assert!(triggered.try_recv().is_err(), "nobody is triggered");

        write("rules: []");
        let mut both = [triggered.next().await, triggered.next().await];
        both.sort();
        assert_eq!(both, [Some(a), Some(connection("b"))]);
        assert!(ok(&metrics));
    }
}
