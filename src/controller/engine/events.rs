//! Events: what a person sees of a transition with `kubectl describe`.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};

use crate::verify::events::Transition;

/// Longest time that an event may take. It is nobody's only source.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Publishes a transition of an object, and logs it. That it cannot be published is only logged.
pub async fn publish(recorder: &Recorder, object: &ObjectReference, transition: Transition) {
    let named = |text: &Option<String>| text.clone().unwrap_or_default();
    let subject = format!("{}/{}", named(&object.namespace), named(&object.name));
    let kind = named(&object.kind);
    log(&kind, &subject, &transition);
    let Transition { warning, reason, note, before: _ } = transition;
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason,
        note: Some(note),
        action: "Check".to_owned(),
        secondary: None,
    };
    match tokio::time::timeout(PUBLISH_TIMEOUT, recorder.publish(&event, object)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(kind, object = subject, %error, "failed to publish an event"),
        Err(_) => tracing::warn!(kind, object = subject, "timed out publishing an event"),
    }
}

/// Logs a transition: a failure is a warning.
fn log(kind: &str, object: &str, Transition { warning, reason, note, before }: &Transition) {
    let lasted_seconds = before.as_ref().map(|before| before.lasted.as_secs());
    let before = before.as_ref().map(|before| before.reason.as_str());
    if *warning {
        tracing::warn!(kind, object, before, lasted_seconds, reason, detail = note, "failed");
    } else {
        tracing::info!(kind, object, before, lasted_seconds, reason, detail = note, "changed");
    }
}
