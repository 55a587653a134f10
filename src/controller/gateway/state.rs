//! What is kept of one gateway from one check to the next.

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use super::GuardedGateway;
use crate::{
    api::gateway::VaultGatewayStatus,
    controller::last_write::LastWrite,
    verify::{report::Circumstances, schedule::Inputs},
};

/// How things stand with one gateway, from one look at it to the next.
pub(super) struct GatewayState {
    pub(super) uid: String,
    pub(super) reference: ObjectReference,
    pub(super) written: VaultGatewayStatus,
    pub(super) unwritten: Option<VaultGatewayStatus>,
    pub(super) last_write: LastWrite,
    pub(super) written_at: Option<Instant>,
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
    /// One that was deleted and created again begins anew.
    pub(super) fn begin(&mut self, object: &GuardedGateway) {
        if self.uid != object.uid().unwrap_or_default() {
            *self = Self::new(object);
        }
    }

    pub(super) fn new(object: &GuardedGateway) -> Self {
        let status = object.0.as_ref().ok().and_then(|gateway| gateway.status.clone());
        Self {
            uid: object.uid().unwrap_or_default(),
            reference: object.object_ref(&()),
            written: status.unwrap_or_default(),
            unwritten: None,
            last_write: LastWrite::default(),
            written_at: None,
            checked: None,
            is_stale: false,
            last_extra: None,
        }
    }

    /// The status that is true, whether the API server has it yet or not.
    pub(super) fn status(&self) -> &VaultGatewayStatus {
        self.unwritten.as_ref().unwrap_or(&self.written)
    }

    pub(super) fn due_inputs<'a>(&'a self, around: &'a Circumstances<'_>) -> Inputs<'a> {
        let answered = self.written.last_handled_reconcile_at.as_deref();
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
