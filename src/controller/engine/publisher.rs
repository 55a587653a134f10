//! Creates events. Every transition is an event of its own, with its own time and note; nothing is remembered of those before.
//!
//! There is no series that counts repetitions. The note of an event cannot be changed, and that of a recovery says how long the object
//! was not Ready, so only half of the events of one that comes and goes could be counted. And whoever looks for a cause needs the
//! time of each of them.

use std::sync::Arc;

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};

use crate::{cluster::FIELD_MANAGER, verify::events::Transition};

/// What the operator did when it saw a transition.
const ACTION: &str = "Check";

/// Longest note that the API server takes, in bytes. It refuses an event with a longer one.
const MAX_NOTE_BYTES: usize = 1024;

/// Longest name of a reporting instance that the API server takes, in bytes. The name of a pod may have 253.
const MAX_INSTANCE_BYTES: usize = 128;

/// Creates events in the name of one process. A clone does so, too.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    instance: Arc<str>,
}

// === impl Publisher ===

impl Publisher {
    /// Creates them in the name of a pod, or of the operator where there is none.
    pub fn new(client: Client, pod: Option<&str>) -> Self {
        let instance = pod.filter(|pod| !pod.is_empty()).unwrap_or(FIELD_MANAGER);
        Self { client, instance: cut(instance, MAX_INSTANCE_BYTES).into() }
    }

    /// The event of a transition that an object made at this time.
    pub(super) fn event(&self, object: ObjectReference, transition: Transition, at: Timestamp) -> Event {
        let Transition { warning, reason, note, before: _ } = transition;
        let name = object.name.as_deref().unwrap_or(FIELD_MANAGER);
        Event {
            metadata: ObjectMeta {
                namespace: object.namespace.clone(),
                name: Some(format!("{name}.{:x}", at.as_nanosecond())),
                ..ObjectMeta::default()
            },
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(reason),
            note: Some(cut(&note, MAX_NOTE_BYTES).to_owned()),
            action: Some(ACTION.to_owned()),
            event_time: Some(MicroTime(at)),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.to_string()),
            regarding: Some(object),
            ..Event::default()
        }
    }

    /// Creates an event in the namespace of its object.
    pub(super) async fn create(&self, event: &Event) -> Result<(), kube::Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let events = Api::namespaced(self.client.clone(), namespace);
        events.create(&PostParams::default(), event).await.map(|_: Event| ())
    }
}

/// The begin of a text that has at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn publisher(pod: Option<&str>) -> Publisher {
        let nobody =
            tower::service_fn(async |_: Request<Body>| Ok::<_, kube::Error>(Response::new(Body::empty())));
        Publisher::new(Client::new(nobody, "default"), pod)
    }

    fn event(pod: Option<&str>, warning: bool, note: &str) -> Event {
        let object = ObjectReference {
            api_version: Some("appconnections.dev/v1alpha1".to_owned()),
            kind: Some("VaultConnection".to_owned()),
            namespace: Some("team-a".to_owned()),
            name: Some("vault".to_owned()),
            uid: Some("uid-1".to_owned()),
            ..ObjectReference::default()
        };
        let (reason, note) = ("Sealed".to_owned(), note.to_owned());
        let at = Timestamp::from_nanosecond(0x1234_5678_9abc_def0).expect("in range");
        publisher(pod).event(object, Transition { warning, reason, note, before: None }, at)
    }

    #[tokio::test]
    async fn an_event_says_what_happened_to_which_object_and_when() {
        let event =
            serde_json::to_value(event(Some("pod-1"), true, "It is sealed.")).expect("it can be written");
        let expected = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "team-a", "name": "vault.123456789abcdef0"},
            "type": "Warning",
            "reason": "Sealed",
            "note": "It is sealed.",
            "action": "Check",
            "eventTime": "2011-07-27T12:07:47.463790Z",
            "reportingController": "vault-connection-operator",
            "reportingInstance": "pod-1",
            "regarding": {
                "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
                "namespace": "team-a", "name": "vault", "uid": "uid-1",
            },
        });
        assert_eq!(event, expected);
    }

    #[tokio::test]
    async fn what_the_api_server_would_refuse_is_cut_or_replaced() {
        let long = "ä".repeat(1000);
        let pod_of_253 = "p".repeat(253);
        let table = [(None, FIELD_MANAGER), (Some(""), FIELD_MANAGER), (Some("pod-1"), "pod-1")];
        for (pod, expected) in table.into_iter().chain([(Some(&*pod_of_253), &pod_of_253[..128])]) {
            let event = event(pod, false, &format!("x{long}"));
            assert_eq!(event.reporting_instance.as_deref(), Some(expected));
            assert_eq!(
                (event.note.map(|note| note.len()), event.type_.as_deref()),
                (Some(1023), Some("Normal"))
            );
        }
    }
}
