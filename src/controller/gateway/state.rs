//! How things stand with one gateway, from one look at it to the next.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::GuardedGateway;
use crate::verify::{report::Circumstances, schedule::Inputs};

/// How things stand with one gateway, from one look at it to the next.
pub(super) struct GatewayState {
    pub(super) uid: String,
    pub(super) checked: Option<LastCheck>,
    /// Whether an object that it names has changed since the last check.
    pub(super) is_stale: bool,
    /// When the last check was that a change of an object or a request asked for.
    pub(super) last_extra: Option<Timestamp>,
}

/// When and for what a gateway was last checked.
pub(super) struct LastCheck {
    pub(super) generation: i64,
    pub(super) request: Option<String>,
    pub(super) at: Timestamp,
    pub(super) next: Timestamp,
}

// === impl GatewayState ===

impl GatewayState {
    /// What is kept, as far as this gateway goes: one that was deleted and created again begins anew.
    pub(super) fn begin<'s>(state: &'s mut Option<Self>, object: &GuardedGateway) -> &'s mut Self {
        let uid = object.uid().unwrap_or_default();
        state.take_if(|state| state.uid != uid);
        state.get_or_insert_with(|| Self { uid, checked: None, is_stale: false, last_extra: None })
    }

    pub(super) fn due_inputs<'a>(
        &'a self,
        around: &'a Circumstances<'_>,
        answered: Option<&'a str>,
    ) -> Inputs<'a> {
        let checked = self.checked.as_ref();
        Inputs {
            generation: around.generation,
            checked_generation: checked.map(|checked| checked.generation),
            requested_at: around.requested_at,
            handled_request: checked.map_or(answered, |checked| checked.request.as_deref()),
            stale: self.is_stale,
            triggered: false,
            next_check: checked.map(|checked| checked.next),
            last_check: checked.map(|checked| checked.at),
            last_extra: self.last_extra,
        }
    }
}
