//! A watch on which nothing comes any more, as behind a firewall that has forgotten the connection. Time is the test's
//! own here, since it takes minutes until anybody can notice; so the API server is a fake.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::Uri};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PartialObjectMeta};
use serde_json::json;
use tokio::time::{Instant, timeout};
use vault_connection_operator::{
    controller::{
        connection::Connections,
        engine::{
            registry::{Follower, Registry},
            watch::{WATCH_SECONDS, follow},
        },
    },
    names::{ConnectionRef, ObjectKind, ObjectName},
    references::Version,
    telemetry::metrics::Metrics,
};

/// The time that a watch may last, and what kube and a back-off add to it.
const NOTICED: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// An API server whose first watch says nothing; the second tells that the Secret has changed. Counts the watches.
fn api_server(watches: Arc<AtomicUsize>) -> Router {
    let answer = move |uri: Uri| {
        let query = uri.query().unwrap_or_default().to_owned();
        let watches = Arc::clone(&watches);
        async move {
            if !query.contains("watch=") {
                let list = json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                    "metadata": {"resourceVersion": "1"}, "items": [secret("1")],
                });
                return Body::from(list.to_string());
            }
            assert!(query.contains(&format!("timeoutSeconds={WATCH_SECONDS}")), "{query}");
            let changed = json!({"type": "MODIFIED", "object": secret("2")});
            let number = watches.fetch_add(1, Ordering::SeqCst);
            let told = (number > 0).then(|| Ok::<_, std::convert::Infallible>(format!("{changed}\n")));
            Body::from_stream(stream::iter(told).chain(stream::pending()))
        }
    };
    Router::new().fallback(answer)
}

fn secret(resource_version: &str) -> serde_json::Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "s", "namespace": "ns", "uid": "u", "resourceVersion": resource_version},
    })
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_silent_is_opened_anew_when_its_time_is_up() {
    let watches = Arc::new(AtomicUsize::new(0));
    let client = Client::new(api_server(Arc::clone(&watches)), "ns");
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, "ns");
    let (registry, name) = (Arc::new(Registry::<Connections>::default()), ObjectName::secret("s"));
    let connection = ConnectionRef { namespace: "ns".into(), name: "connection".into() };
    let version = Version { uid: "u".into(), resource_version: "1".to_owned() };
    registry.register(&connection, vec![name.clone()]);
    registry.of(&connection).ledger.lock().expect("nobody panicked").rest_on([(name, Some(version))].into());

    let mut changed = registry.changes();
    let registries: Vec<Arc<dyn Follower>> = vec![registry];
    let shared = (registries, Metrics::new(true));
    let follow = tokio::spawn(follow(api, ObjectKind::Secret, Some("ns".to_owned()), shared));
    let begin = Instant::now();
    let told = timeout(NOTICED, changed.next()).await.expect("the change is noticed in time");
    assert_eq!(told.map(|change| change.owner), Some(connection));
    assert!(begin.elapsed() >= Duration::from_secs(WATCH_SECONDS.into()), "a silent watch may be a calm one");
    assert_eq!(watches.load(Ordering::SeqCst), 2, "it is asked again once, and not in a storm");
    follow.abort();
}
