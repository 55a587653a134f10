//! The reconcile of one `VaultGateway`.
//!
//! ```text
//!   1 register  which objects it names                        memory
//!   2 due?      schedule::due                                 pure
//!   3 observe   read the objects, try every endpoint          I/O
//!   4 judge, 5 fold   verify::gateway::checked                pure
//!   6 write     Reconcile::publish                            I/O, only news
//!   7 tell      an event; a call to the connections that wait I/O, failure only logged
//!   8 again     the same                                      pure
//! ```
//!
//! Connections do not ask for this status: they go through the endpoints themselves, and see what works. What a check
//! here finds only orders the endpoints for them, and calls those that wait for one. The end of a Ready that was not earned
//! anew in time, and the report of a panic, need no reconcile and wait for none.

mod kind;
mod probe;
mod publish;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{Resource, ResourceExt, core::DeserializeGuard};
use tokio::sync::{Mutex as AsyncMutex, mpsc::UnboundedSender};

use self::{
    probe::probe,
    state::{GatewayState, LastCheck},
};
use super::{
    connection::Context, engine::Requeue, events::tell, published::Published, registry::Change,
    snapshot::Snapshot,
};
use crate::{
    api::{
        REQUESTED_AT,
        gateway::{VaultGateway, VaultGatewayStatus},
    },
    cluster::{self, ClusterError},
    names::{GatewayName, ObjectName},
    references::Version,
    spec::DesiredGateway,
    verify::{events::Transition, gateway, report::Circumstances, schedule},
};

/// A gateway as the API server has it, readable or not.
pub type GuardedGateway = DeserializeGuard<VaultGateway>;

/// What every reconcile of a gateway shares.
pub struct GatewayContext {
    /// What it shares with the connections.
    pub shared: Arc<Context>,
    /// Takes connections that rest on another state of a gateway than the one seen now.
    pub changed: UnboundedSender<Change>,
    entries: Mutex<HashMap<GatewayName, Arc<Entry>>>,
}

/// What is kept of one gateway.
#[derive(Default)]
struct Entry {
    /// What is kept between checks. Held during a check; none before the first look.
    state: AsyncMutex<Option<GatewayState>>,
    /// The status. Held while it is written, never during a check; none before the first look.
    published: AsyncMutex<Option<Published<VaultGatewayStatus>>>,
    snapshot: Mutex<Snapshot>,
}

/// One look at one gateway.
struct Reconcile<'a> {
    context: &'a GatewayContext,
    object: &'a GuardedGateway,
    name: GatewayName,
    entry: Arc<Entry>,
    seen: Version,
    around: Circumstances<'a>,
}

/// Looks at a gateway: checks it if that is due, and makes its status true.
async fn reconcile(object: &GuardedGateway, context: &GatewayContext) -> Result<Requeue, ClusterError> {
    let run = Reconcile::new(object, context);
    context.saw(&run.name, Some(&cluster::spec_version(object.meta())));
    let mut state = run.entry.state.lock().await;
    let state = GatewayState::begin(&mut state, object);
    match object.0.as_ref().map(|gateway| DesiredGateway::parse(&gateway.spec)) {
        Ok(Ok(desired)) => run.check_if_due(state, &desired).await,
        Ok(Err(error)) => run.refuse(state, &error.to_string()).await,
        Err(error) => run.refuse(state, &format!("The spec is invalid: {error}.")).await,
    }
}

/// Ends a Ready that was not earned anew in time. A check may be under way.
async fn expire(object: &GuardedGateway, context: &GatewayContext) -> Result<(), ClusterError> {
    let run = Reconcile::new(object, context);
    let now = std::time::Instant::now();
    run.publish(|status| {
        // It may have been earned anew, or ended, while this waited for its turn.
        let expired = run.entry.snapshot().expires().is_some_and(|expires| expires <= now);
        (expired && gateway::is_ready(status)).then(|| gateway::overdue(status, &run.around, run.users()))
    })
    .await
}

/// Says in the status that a run panicked. The next one begins anew.
async fn report_panic(
    object: &GuardedGateway,
    context: &GatewayContext,
    retry: Duration,
) -> Result<(), ClusterError> {
    let run = Reconcile::new(object, context);
    if let Some(state) = run.entry.state.lock().await.as_mut() {
        state.checked = None;
    }
    run.publish(|status| Some(gateway::internal_error(status, &run.around, retry, run.users()))).await
}

/// Forgets a gateway that is gone. Its connections fail from now on, and each tells so itself.
async fn forget(name: &GatewayName, context: &GatewayContext) {
    let registry = &context.shared.registry;
    registry.forget_gateway(name);
    context.shared.checker.dialer.forget(name);
    context.shared.checker.metrics.objects().forget_gateway(name);
    context.saw(name, None);
    let Some(entry) = context.lock().remove(name) else { return };
    let Some(published) = entry.published.lock().await.take() else { return };
    let users = registry.users_of(name);
    if !users.is_empty() {
        let names: Vec<_> = users.iter().take(10).map(|user| user.name.as_str()).collect();
        let note = format!(
            "The gateway was deleted while in use. The connections that name it now fail ({} in all): {}",
            users.len(),
            names.join(", ")
        );
        let transition = Transition { warning: true, reason: "DeletedInUse".to_owned(), note, before: None };
        tell(&context.shared.recorder, &reference(name, published.uid), transition).await;
    }
}

/// What an event names, of a gateway that is gone.
fn reference(name: &GatewayName, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some(VaultGateway::api_version(&()).into_owned()),
        kind: Some(VaultGateway::kind(&()).into_owned()),
        namespace: Some(name.namespace.clone()),
        name: Some(name.name.clone()),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

// === impl GatewayContext ===

impl GatewayContext {
    /// Nothing is known yet.
    pub fn new(shared: Arc<Context>, changed: UnboundedSender<Change>) -> Self {
        Self { shared, changed, entries: Mutex::default() }
    }

    /// Notes the state of a gateway, and asks its connections to look again if they rest on another.
    fn saw(&self, name: &GatewayName, version: Option<&Version>) {
        let object = ObjectName::gateway(&name.name);
        for change in self.shared.registry.saw(&name.namespace, &object, version) {
            // The receiver is gone only when the operator stops.
            let _ = self.changed.send(change);
        }
    }

    /// The entry of a gateway, new if there is none.
    fn entry(&self, name: &GatewayName) -> Arc<Entry> {
        Arc::clone(self.lock().entry(name.clone()).or_default())
    }

    /// The entry of a gateway, if there is one.
    fn known(&self, name: &GatewayName) -> Option<Arc<Entry>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GatewayName, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    /// What can be told at any time. Never held while anything is awaited.
    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reconcile ===

impl<'a> Reconcile<'a> {
    fn new(object: &'a GuardedGateway, context: &'a GatewayContext) -> Self {
        let meta = object.meta();
        let name = GatewayName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        Self {
            context,
            object,
            entry: context.entry(&name),
            name,
            seen: cluster::version(meta),
            around: Circumstances {
                generation: meta.generation.unwrap_or_default(),
                requested_at: meta
                    .annotations
                    .as_ref()
                    .and_then(|map| map.get(REQUESTED_AT))
                    .and_then(|text| schedule::request(text)),
                now: Timestamp::now(),
                jitter: fastrand::f64(),
            },
        }
    }

    async fn check_if_due(
        &self,
        state: &mut GatewayState,
        desired: &DesiredGateway,
    ) -> Result<Requeue, ClusterError> {
        let registry = &self.context.shared.registry;
        registry.register_gateway(&self.name, desired.references());
        state.is_stale |= registry.take_stale(&self.name);
        let answered = self.status().await.last_handled_reconcile_at;
        let inputs = state.due_inputs(&self.around, answered.as_deref());
        let now = self.around.now;
        let (due, postponed) = (schedule::due(&inputs, now), schedule::postponed(&inputs, now));
        if let Some(cause) = due {
            if cause.is_extra() {
                state.last_extra = Some(now);
            }
            state.is_stale = false;
            self.check(state, desired).await?;
            return Ok(again(state, None));
        }
        // A number of connections that must stand for a while is looked at again then; a check is due no sooner.
        Ok(self.recount().await?.map_or_else(|| again(state, postponed), Requeue::After))
    }

    async fn check(&self, state: &mut GatewayState, desired: &DesiredGateway) -> Result<(), ClusterError> {
        let shared = &self.context.shared;
        let seen = probe(&shared.checker.references, &shared.checker.dialer, &self.name, desired).await?;
        let now = Timestamp::now();
        let around = Circumstances { now, ..self.around };
        self.publish(|before| {
            let (status, wait) = gateway::checked(before, &around, desired, &seen, self.users());
            state.checked = Some(LastCheck {
                generation: around.generation,
                request: around.requested_at.map(str::to_owned),
                at: now,
                next: now.checked_add(wait).unwrap_or(Timestamp::MAX),
            });
            if gateway::is_ready(&status) {
                self.entry.snapshot().earned(desired.interval, std::time::Instant::now());
            }
            if gateway::is_back(before, &status) {
                self.call_users();
            }
            Some(status)
        })
        .await
    }

    /// Nothing can be tried of a spec that makes no sense; nothing but another spec can help.
    async fn refuse(&self, state: &mut GatewayState, message: &str) -> Result<Requeue, ClusterError> {
        self.context.shared.registry.register_gateway(&self.name, Vec::new());
        state.checked = None;
        self.publish(|status| Some(gateway::invalid_spec(status, &self.around, message, self.users())))
            .await?;
        Ok(Requeue::OnChange)
    }

    fn users(&self) -> usize {
        self.context.shared.registry.users_of(&self.name).len()
    }

    /// Asks the connections that wait for this gateway to try it now.
    fn call_users(&self) {
        let Context { checker, registry, .. } = &*self.context.shared;
        checker.instances.forget_gateway(&self.name);
        for connection in registry.users_of(&self.name) {
            registry.trigger(connection);
        }
    }
}

/// When to look again, if nothing changes: at the latest when what was postponed may be done.
fn again(state: &GatewayState, postponed: Option<Timestamp>) -> Requeue {
    let next = state.checked.as_ref().map(|checked| checked.next);
    let Some(next) = next.into_iter().chain(postponed).min() else { return Requeue::OnChange };
    let wait = Duration::try_from(next.duration_since(Timestamp::now()));
    Requeue::After(wait.unwrap_or_default())
}
