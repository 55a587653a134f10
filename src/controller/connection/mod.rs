//! The reconcile of one `VaultConnection`.
//!
//! ```text
//!   1 register  which objects it names              memory
//!   2 due?      schedule::due                       pure
//!   3 observe   Checker::check                      I/O
//!   4 judge     judge::judge                        pure   ┐
//!   5 fold      report::checked                     pure   ┘ one call
//!   6 write     Reconcile::publish                       I/O, only news
//!   7 tell      an event, metrics                   I/O, failure only logged
//!   8 again     schedule::wait                      pure
//! ```
//!
//! An `Err` means that the Kubernetes API failed us. Everything else is an observation. Two things need no reconcile,
//! and wait for none: the end of a Ready that was not earned anew in time, and the report of a panic.

mod check;
pub mod kind;
pub mod publish;
pub mod state;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::events::Recorder};
use tokio::time::Instant;

use self::state::{ConnectionState, LastCheck};
use super::{
    engine::Requeue,
    events::tell,
    registry::{Entry, Registry},
};
use crate::{
    api::{REQUESTED_AT, condition::ConditionType, connection::VaultConnection},
    check::{Checker, Leftover},
    cluster::{self, Cluster, ClusterError},
    conditions,
    names::{ConnectionRef, ObjectName},
    references::{Version, ledger::Freshness},
    spec::Desired,
    verify::{events, report, schedule},
};

/// A connection as the API server has it, readable or not.
pub type Guarded = DeserializeGuard<VaultConnection>;

/// Longest time that the end of tokens may take after a check. They end by themselves, so it is not worth more.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What every reconcile shares.
pub struct Context {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// Makes checks.
    pub checker: Checker<Cluster>,
    /// What is kept of each connection.
    pub registry: Arc<Registry>,
    /// Publishes events.
    pub recorder: Recorder,
    /// How often the times in an unchanged status are written.
    pub heartbeat: Duration,
}

/// One look at one connection.
struct Reconcile<'a> {
    context: &'a Context,
    object: &'a Guarded,
    connection: ConnectionRef,
    entry: Arc<Entry>,
    reference: ObjectReference,
    seen: Version,
    generation: i64,
    requested_at: Option<&'a str>,
    /// Whether a check is asked for by a value that is too long.
    is_too_long: bool,
    now: Timestamp,
}

/// Looks at a connection: checks it if that is due, and makes its status true.
async fn reconcile(object: &Guarded, context: &Context) -> Result<Requeue, ClusterError> {
    let run = Reconcile::new(object, context);
    let mut state = run.entry.state.lock().await;
    let state = run.begin(&mut state).await;
    if object.meta().deletion_timestamp.is_some() {
        run.revoke(state.check.abandon()).await;
        return Ok(Requeue::OnChange);
    }
    match &object.0 {
        Ok(VaultConnection { spec, .. }) => match Desired::parse(spec) {
            Ok(desired) if spec.suspend => run.suspend(state, &desired).await,
            Ok(desired) => run.check_if_due(state, &desired).await,
            Err(error) => run.refuse(state, &error.to_string()).await,
        },
        Err(error) => run.refuse(state, &format!("The spec is invalid: {error}.")).await,
    }
}

/// Ends a Ready that was not earned anew in time, by what the spec says without a check. A check may be under way.
async fn expire(object: &Guarded, context: &Context) -> Result<(), ClusterError> {
    let run = Reconcile::new(object, context);
    let now = std::time::Instant::now();
    let expired = || run.entry.snapshot().expires().is_some_and(|expires| expires <= now);
    run.publish(|status| {
        // It may have been earned anew, or ended, while this waited for its turn.
        if !expired() || !conditions::is_true(&status.conditions, ConditionType::Ready) {
            return None;
        }
        let around = run.circumstances(run.now);
        Some(match &object.0 {
            Ok(VaultConnection { spec, .. }) => match Desired::parse(spec) {
                Ok(desired) if spec.suspend => report::suspended(status, &around, &desired),
                Ok(desired) => report::overdue(status, &around, &desired),
                Err(error) => report::invalid_spec(status, &around, &error.to_string()),
            },
            Err(error) => report::invalid_spec(status, &around, &format!("The spec is invalid: {error}.")),
        })
    })
    .await
}

/// Says in the status that a run panicked, and drops what it may have left half done.
async fn report_panic(object: &Guarded, context: &Context, retry: Duration) -> Result<(), ClusterError> {
    let run = Reconcile::new(object, context);
    let half_done = run.entry.state.lock().await.take();
    let outcome =
        run.publish(|status| Some(report::internal_error(status, &run.circumstances(run.now), retry))).await;
    // The last that is done with it: that may panic, too.
    if let Some(mut half_done) = half_done {
        run.revoke(half_done.check.abandon()).await;
    }
    outcome
}

/// Forgets a connection that is gone, and ends what was logged in for it.
pub(super) async fn forget(connection: &ConnectionRef, context: &Context) {
    let Some(entry) = context.registry.forget(connection) else { return };
    // What is secret in it goes first: neither a Vault nor an API server that hangs may keep it.
    let state = entry.state.lock().await.take();
    let leftovers = state.map(|mut state| state.check.abandon()).unwrap_or_default();
    context.checker.revoke(&connection.namespace, leftovers, Instant::now() + AFTERWARDS).await;
    if let Some(published) = entry.published.lock().await.take() {
        context.checker.metrics.moved(published.status().state, None);
        context.checker.metrics.objects().forget_connection(connection);
    }
}

// === impl Reconcile ===

impl<'a> Reconcile<'a> {
    fn new(object: &'a Guarded, context: &'a Context) -> Self {
        let meta = object.meta();
        let annotation = meta.annotations.as_ref().and_then(|map| map.get(REQUESTED_AT)).map(String::as_str);
        let connection =
            ConnectionRef { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        Self {
            context,
            object,
            entry: context.registry.of(&connection),
            connection,
            reference: object.object_ref(&()),
            seen: cluster::version(meta),
            generation: meta.generation.unwrap_or_default(),
            requested_at: annotation.and_then(schedule::request),
            is_too_long: annotation.is_some_and(|text| schedule::request(text).is_none()),
            now: Timestamp::now(),
        }
    }

    /// What is kept, as far as this connection goes: one that was deleted and created again begins anew.
    async fn begin<'s>(&self, state: &'s mut Option<ConnectionState>) -> &'s mut ConnectionState {
        let uid = self.object.uid().unwrap_or_default();
        if let Some(mut former) = state.take_if(|state| state.uid != uid) {
            self.revoke(former.check.abandon()).await;
        }
        state.get_or_insert_with(|| ConnectionState::new(uid))
    }

    async fn check_if_due(
        &self,
        state: &mut ConnectionState,
        desired: &Desired,
    ) -> Result<Requeue, ClusterError> {
        self.register(state.check.named_by(&desired.target));
        self.end_overdue(state, desired, self.now).await?;
        let freshness = self.freshness(state);
        if freshness == Freshness::Settling && state.checked.is_some() {
            // Whatever else is due: half of a change must not be read. The end of the settle time asks for a look.
            return Ok(Requeue::OnChange);
        }
        let (outdated, triggered) = (freshness == Freshness::Stale, self.entry.take_trigger());
        let answered = self.status().await.last_handled_reconcile_at;
        let requests = (self.requested_at, answered.as_deref());
        let inputs = state.due_inputs(self.generation, requests, outdated, triggered);
        let (due, postponed) = (schedule::due(&inputs, self.now), schedule::postponed(&inputs, self.now));
        match due {
            Some(cause) => self.check(state, desired, cause, outdated).await?,
            None => self.publish(|_| None).await?,
        }
        self.report_long_request(state).await;
        Ok(again(state, postponed.filter(|_| due.is_none())))
    }

    async fn suspend(&self, state: &mut ConnectionState, desired: &Desired) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        state.checked = None;
        let leftovers = state.check.abandon();
        let around = self.circumstances(self.now);
        let outcome = self.publish(|status| Some(report::suspended(status, &around, desired))).await;
        self.revoke(leftovers).await;
        outcome.map(|()| Requeue::OnChange)
    }

    /// Nothing can be asked for a spec that makes no sense; nothing but another spec can help.
    async fn refuse(&self, state: &mut ConnectionState, message: &str) -> Result<Requeue, ClusterError> {
        self.register(Vec::new());
        state.checked = None;
        let around = self.circumstances(self.now);
        self.publish(|status| Some(report::invalid_spec(status, &around, message))).await?;
        Ok(Requeue::OnChange)
    }

    /// Notes that a check was made, and when the next is to be.
    fn note(&self, state: &mut ConnectionState, wait: Duration) {
        let now = Timestamp::now();
        state.checked = Some(LastCheck {
            generation: self.generation,
            request: self.requested_at.map(str::to_owned),
            at: now,
            next: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        });
    }

    /// How the objects stand to what was read of them. One that no watch tells of is stale after a while.
    fn freshness(&self, state: &ConnectionState) -> Freshness {
        match self.entry.ledger.lock().unwrap_or_else(PoisonError::into_inner).freshness() {
            Freshness::Fresh if state.check.read_again.is_some_and(|time| time <= self.now) => {
                Freshness::Stale
            }
            freshness => freshness,
        }
    }

    /// Says once that a request is too long to be answered: its value would be copied into the status.
    async fn report_long_request(&self, state: &mut ConnectionState) {
        if !self.is_too_long || state.too_long_reported {
            return;
        }
        state.too_long_reported = true;
        tell(&self.context.recorder, &self.reference, events::request_too_long()).await;
    }

    fn register(&self, names: Vec<ObjectName>) {
        self.context.registry.register(&self.connection, names);
    }

    async fn revoke(&self, leftovers: Vec<Leftover>) {
        let namespace = &self.connection.namespace;
        self.context.checker.revoke(namespace, leftovers, Instant::now() + AFTERWARDS).await;
    }
}

/// When to look again, if nothing changes: at the latest when what was postponed may be done.
fn again(state: &ConnectionState, postponed: Option<Timestamp>) -> Requeue {
    let Some(next) = state.next().into_iter().chain(postponed).min() else { return Requeue::OnChange };
    Requeue::After(Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default())
}
