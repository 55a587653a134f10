//! The reconcile of one `VaultGateway`.
//!
//! ```text
//!   1 register  which objects it names                        memory
//!   2 due?      schedule::due                                 pure
//!   3 observe   read the objects, try every endpoint          I/O
//!   4 judge, 5 fold   verify::gateway::checked                pure
//!   6 write     Cluster::apply_status                         I/O, only news
//!   7 tell      an event; a call to the connections that wait I/O, failure only logged
//!   8 again     the same                                      pure
//! ```
//!
//! Connections do not ask for this status: they go through the endpoints themselves, and see what works. What a check
//! here finds only orders the endpoints for them, and calls those that wait for one.

mod probe;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt, core::DeserializeGuard};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc::UnboundedSender},
    time::Instant,
};

use self::{
    probe::probe,
    state::{GatewayState, LastCheck},
};
use super::{
    connection::Context,
    engine::{
        Kind, Listing, Requeue,
        queue::{Lane, Priority},
    },
    events::tell,
    registry::Change,
};
use crate::{
    api::{
        REQUESTED_AT,
        gateway::{VaultGateway, VaultGatewayStatus},
    },
    cluster::{self, ClusterError, Written},
    names::{GatewayName, ObjectName},
    references::Version,
    spec::DesiredGateway,
    verify::{
        events::{self, Transition},
        gateway,
        report::{self, Circumstances},
        schedule,
    },
};

/// How long a number of connections may stand before another one is written. A thousand connections that are looked at
/// one after the other, as at a start, are a few writes by that and not a thousand.
const RECOUNT: Duration = Duration::from_secs(2);

/// A gateway as the API server has it, readable or not.
pub type GuardedGateway = DeserializeGuard<VaultGateway>;

/// What every reconcile of a gateway shares.
pub struct GatewayContext {
    /// What it shares with the connections.
    pub shared: Arc<Context>,
    /// Takes connections that rest on another state of a gateway than the one seen now.
    pub changed: UnboundedSender<Change>,
    states: Mutex<HashMap<GatewayName, Arc<AsyncMutex<GatewayState>>>>,
}

/// One look at one gateway.
struct Reconcile<'a> {
    context: &'a GatewayContext,
    name: GatewayName,
    seen: Version,
    around: Circumstances<'a>,
}

/// Looks at a gateway: checks it if that is due, and makes its status true.
async fn reconcile(object: &GuardedGateway, context: &GatewayContext) -> Result<Requeue, ClusterError> {
    let run = Reconcile::new(object, context);
    context.saw(&run.name, Some(&cluster::spec_version(object.meta())));
    let state = context.state(&run.name, object);
    let mut state = state.lock().await;
    state.begin(object);
    match object.0.as_ref().map(|gateway| DesiredGateway::parse(&gateway.spec)) {
        Ok(Ok(desired)) => run.check_if_due(&mut state, &desired).await,
        Ok(Err(error)) => run.refuse(&mut state, &error.to_string()).await,
        Err(error) => run.refuse(&mut state, &format!("the spec cannot be read: {error}")).await,
    }
}

/// Says in the status that a run panicked. The next one begins anew.
async fn report_panic(
    object: &GuardedGateway,
    context: &GatewayContext,
    retry: Duration,
) -> Result<(), ClusterError> {
    let run = Reconcile::new(object, context);
    let state = context.state(&run.name, object);
    let mut state = state.lock().await;
    state.begin(object);
    state.checked = None;
    let status = gateway::internal_error(state.status(), &run.around, retry, run.users());
    run.write(&mut state, status).await
}

/// Forgets a gateway that is gone. Its connections fail from now on, and each tells so itself.
async fn forget(name: &GatewayName, context: &GatewayContext) {
    let registry = &context.shared.registry;
    registry.forget_gateway(name);
    context.shared.checker.dialer.forget(name);
    context.shared.checker.metrics.objects().forget_gateway(name);
    context.saw(name, None);
    let Some(state) = context.lock().remove(name) else { return };
    let users = registry.users_of(name);
    if !users.is_empty() {
        let names: Vec<_> = users.iter().take(10).map(|user| user.name.as_str()).collect();
        let note = format!(
            "the gateway was deleted in use; the connections that name it fail now ({} in all): {}",
            users.len(),
            names.join(", ")
        );
        let transition = Transition { warning: true, reason: "DeletedInUse".to_owned(), note };
        tell(&context.shared.recorder, &state.lock().await.reference, transition).await;
    }
}

// === impl GatewayContext ===

impl GatewayContext {
    /// Nothing is known yet.
    pub fn new(shared: Arc<Context>, changed: UnboundedSender<Change>) -> Self {
        Self { shared, changed, states: Mutex::default() }
    }

    /// Notes the state of a gateway, and asks its connections to look again if they rest on another.
    fn saw(&self, name: &GatewayName, version: Option<&Version>) {
        let object = ObjectName::gateway(&name.name);
        for change in self.shared.registry.saw(&name.namespace, &object, version) {
            // The receiver is gone only when the operator stops.
            let _ = self.changed.send(change);
        }
    }

    fn state(&self, name: &GatewayName, object: &GuardedGateway) -> Arc<AsyncMutex<GatewayState>> {
        let new = || Arc::new(AsyncMutex::new(GatewayState::new(object)));
        Arc::clone(self.lock().entry(name.clone()).or_insert_with(new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GatewayName, Arc<AsyncMutex<GatewayState>>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind for GatewayContext {
    type Key = GatewayName;
    type Object = GuardedGateway;
    const NAME: &'static str = "VaultGateway";

    fn key(object: &GuardedGateway) -> GatewayName {
        GatewayName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// A gateway has several endpoints, which are tried at once.
    fn lane(object: &GuardedGateway) -> Lane {
        Lane { namespace: object.namespace().unwrap_or_default(), instance: None }
    }

    fn revision(object: &GuardedGateway) -> (String, i64) {
        (object.uid().unwrap_or_default(), object.meta().generation.unwrap_or_default())
    }

    fn seen(&self, _: &GatewayName, _: &GuardedGateway) {}

    fn listed(&self, _: Option<&str>, _: Listing) {}

    fn priority(&self, _: &GatewayName) -> Priority {
        Priority::Normal
    }

    /// Connections go through the endpoints themselves, so that nothing depends on the age of this status.
    fn expires(&self, _: &GatewayName) -> Option<std::time::Instant> {
        None
    }

    async fn reconcile(self: Arc<Self>, object: Arc<GuardedGateway>) -> Result<Requeue, ClusterError> {
        reconcile(&object, &self).await
    }

    async fn expire(self: Arc<Self>, _: Arc<GuardedGateway>) -> Result<(), ClusterError> {
        Ok(())
    }

    async fn report_panic(
        self: Arc<Self>,
        object: Arc<GuardedGateway>,
        retry: Duration,
    ) -> Result<(), ClusterError> {
        report_panic(&object, &self, retry).await
    }

    async fn forget(self: Arc<Self>, key: GatewayName) {
        forget(&key, &self).await;
    }
}

// === impl Reconcile ===

impl<'a> Reconcile<'a> {
    fn new(object: &'a GuardedGateway, context: &'a GatewayContext) -> Self {
        let meta = object.meta();
        Self {
            context,
            name: GatewayContext::key(object),
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
        let inputs = state.due_inputs(&self.around);
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
        let status = gateway::counted(state.status(), self.users());
        let stands = state.written_at.map(|at| at.elapsed());
        if let Some(rest) = stands.and_then(|stands| RECOUNT.checked_sub(stands))
            && gateway::is_news(state.status(), &status)
        {
            return Ok(Requeue::After(rest));
        }
        self.write(state, status).await?;
        Ok(again(state, postponed))
    }

    async fn check(&self, state: &mut GatewayState, desired: &DesiredGateway) -> Result<(), ClusterError> {
        let shared = &self.context.shared;
        let seen = probe(&shared.checker.references, &shared.checker.dialer, &self.name, desired).await?;
        let now = Timestamp::now();
        let around = Circumstances { now, ..self.around };
        let (status, wait) = gateway::checked(state.status(), &around, desired, &seen, self.users());
        state.checked = Some(LastCheck {
            generation: around.generation,
            request: around.requested_at.map(str::to_owned),
            at: now,
            next: now.checked_add(wait).unwrap_or(Timestamp::MAX),
        });
        if gateway::is_back(state.status(), &status) {
            self.call_users();
        }
        self.write(state, status).await
    }

    /// Nothing can be tried of a spec that makes no sense; nothing but another spec can help.
    async fn refuse(&self, state: &mut GatewayState, message: &str) -> Result<Requeue, ClusterError> {
        self.context.shared.registry.register_gateway(&self.name, Vec::new());
        state.checked = None;
        let status = gateway::invalid_spec(state.status(), &self.around, message, self.users());
        self.write(state, status).await?;
        Ok(Requeue::OnChange)
    }

    /// Writes a status, if it says something new or its times are too old, and tells of a transition.
    async fn write(&self, state: &mut GatewayState, status: VaultGatewayStatus) -> Result<(), ClusterError> {
        let Context { cluster, checker, recorder, heartbeat, .. } = &*self.context.shared;
        let before = state.status();
        let aged = report::needs_heartbeat(before.last_check_time.as_ref(), self.around.now, *heartbeat);
        if gateway::is_news(before, &status) || aged {
            state.unwritten = Some(status);
        }
        checker.metrics.objects().gateway(&self.name, state.status());
        let Some(status) = state.unwritten.clone() else { return Ok(()) };
        let place = (self.name.namespace.as_str(), self.name.name.as_str());
        let to_write = state.last_write.state_to_write(&self.seen);
        match cluster.apply_status::<VaultGateway>(place, &to_write, &status).await? {
            Written::Stands(after) => state.last_write.wrote(self.seen.clone(), after),
            // The watch will show what has changed, and then it is written, or replaced by a newer verdict.
            Written::Outdated | Written::Gone => return Ok(()),
        }
        (state.unwritten, state.written_at) = (None, Some(Instant::now()));
        let before = std::mem::replace(&mut state.written, status);
        checker.metrics.status_written();
        if let Some(transition) = events::transition(&before.conditions, &state.written.conditions) {
            tell(recorder, &state.reference, transition).await;
        }
        Ok(())
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
