//! Connections, as a kind of the engine.
//!
//! Special to them: sessions, which are released with the connection; refused logins, which the first lists restore; flap
//! damping; and `spec.suspend`.

mod check;
mod lists;
mod summary;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use tokio::time::Instant;

pub use self::check::Found;
use self::lists::FirstLists;
use super::{
    context::Context,
    engine::{
        Listing,
        kind::{self, Check, Kind, Unchecked},
        reconcile::Run,
        registry::Registry,
    },
};
use crate::{
    api::{connection::VaultConnection, status::VaultConnectionStatus},
    check::CheckState,
    cluster::ClusterError,
    names::{ConnectionRef, GatewayName, InstanceUrl, ObjectKind, ObjectName},
    session::lending::TokenToRevoke,
    spec::Desired,
    telemetry::page::board::Summary,
    verify::{
        observation::{Fault, Observation},
        report,
        stability::Timing,
        status::{self, Circumstances},
    },
};

/// A connection as the API server has it, readable or not.
pub type Guarded = kind::Guarded<Connections>;

/// Longest time that revocations may take after a check. Tokens end by themselves, so it is not worth more.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many tokens of one connection wait for their revocation without a check that waits for them.
const MAX_WAITING_TOKENS: usize = 1;

/// The connections of all watched namespaces.
pub struct Connections {
    context: Arc<Context>,
    lists: FirstLists,
}

// === impl Connections ===

impl Connections {
    /// The connections of these namespaces, which are to be listed.
    pub fn new(context: Arc<Context>, scopes: &[Option<String>]) -> Self {
        Self { context, lists: FirstLists::of(scopes) }
    }

    /// Resolves when every namespace was listed, or must not be.
    pub async fn listed_once(&self) {
        self.lists.ended().await;
    }

    fn revoke<'a>(&'a self, name: &'a ConnectionRef, tokens: Vec<TokenToRevoke>) -> BoxFuture<'a, ()> {
        async move {
            let deadline = Instant::now() + REVOKE_TIMEOUT;
            self.context.checker.sessions().revoke(&name.namespace, tokens, deadline).await;
        }
        .boxed()
    }
}

impl Kind for Connections {
    type Resource = VaultConnection;
    type Name = ConnectionRef;
    type Status = VaultConnectionStatus;
    type Desired = Desired;
    type Memory = CheckState;
    type Observation = Found;
    const NAME: &'static str = "VaultConnection";

    fn context(&self) -> &Context {
        &self.context
    }

    fn registry(&self) -> &Registry<Self> {
        &self.context.connections
    }

    fn parse(connection: &VaultConnection) -> Result<Desired, String> {
        Desired::parse(&connection.spec).map_err(|error| error.to_string())
    }

    fn description(connection: &VaultConnection) -> &str {
        &connection.spec.description
    }

    fn summary(status: &VaultConnectionStatus) -> Summary {
        summary::summary(status)
    }

    fn interval(desired: &Desired) -> Duration {
        desired.interval
    }

    fn names(desired: &Desired, memory: &CheckState) -> Vec<ObjectName> {
        memory.session.known().named_by(&desired.target)
    }

    async fn observe(
        &self,
        run: &Run<'_, Self>,
        check: &Check<'_, Self>,
        memory: &CheckState,
    ) -> Result<Option<Found>, ClusterError> {
        check::observe(&self.context, run, check, memory).await
    }

    fn has_passed(found: &Found) -> bool {
        found.observation.fault.is_none()
    }

    fn report(
        &self,
        _: &ConnectionRef,
        previous: &VaultConnectionStatus,
        around: &Circumstances<'_>,
        (desired, found): (&Desired, &Found),
    ) -> (VaultConnectionStatus, Duration) {
        report::checked(previous, around, desired, &found.observation)
    }

    fn report_unchecked(
        &self,
        _: &ConnectionRef,
        previous: &VaultConnectionStatus,
        around: &Circumstances<'_>,
        why: Unchecked<'_, Self>,
    ) -> VaultConnectionStatus {
        match why {
            Unchecked::Invalid(message) => status::invalid_spec(previous, around, message),
            Unchecked::Overdue(desired, None) => report::overdue(previous, around, desired),
            Unchecked::Overdue(desired, Some(CheckState { session, .. })) => {
                let overdue = {
                    let memory = &session.known().memory;
                    Observation {
                        fault: Some(Fault::Overdue),
                        versions: memory.versions(),
                        refused: memory.refused_lately(around.now),
                        ..Observation::default()
                    }
                };
                report::checked(previous, around, desired, &overdue).0
            }
            Unchecked::Panicked(retry) => report::internal_error(previous, around, retry),
        }
    }

    fn instance(connection: &VaultConnection) -> Option<String> {
        InstanceUrl::parse(&connection.spec.instance_url).ok().map(|instance| instance.origin())
    }

    fn is_ending(metadata: &ObjectMeta) -> bool {
        metadata.deletion_timestamp.is_some()
    }

    fn is_suspended(connection: &VaultConnection) -> bool {
        connection.spec.suspend
    }

    fn report_suspended(
        previous: &VaultConnectionStatus,
        around: &Circumstances<'_>,
        desired: &Desired,
    ) -> VaultConnectionStatus {
        report::suspended(previous, around, desired)
    }

    fn is_overdue(memory: &CheckState, desired: &Desired, next: Timestamp) -> bool {
        memory.session.known().memory.stability.is_overdue(desired.interval, next)
    }

    /// A Ready that another credential earned has nothing to say for this one.
    fn damp(memory: &CheckState, timing: &Timing, desired: &Desired, found: &Found) -> Option<Duration> {
        let memory = &mut memory.session.known().memory;
        let was_ready = timing.was_ready && memory.has_passed_with_current(&desired.target);
        memory.stability.damp(&Timing { was_ready, ..*timing }, desired, &found.observation)
    }

    fn read_again(memory: &CheckState) -> Option<Timestamp> {
        memory.session.known().read_again
    }

    async fn after_check(
        &self,
        name: &ConnectionRef,
        found: Found,
        ended: Timestamp,
        next: Option<Timestamp>,
    ) {
        let credential_ends = found.observation.login.as_ref().and_then(|login| login.ends_soon);
        let checker = &self.context.checker;
        checker.metrics.objects().checked(name, ended, next, credential_ends);
        // Where revocations cannot keep up, checks wait for them: no more tokens wait than there are connections.
        if found.session.count_due() > MAX_WAITING_TOKENS {
            checker.sessions().revoke_due(name, &found.session, Instant::now() + REVOKE_TIMEOUT).await;
        }
    }

    fn status_changed(
        &self,
        name: &ConnectionRef,
        before: Option<&VaultConnectionStatus>,
        now: Option<&VaultConnectionStatus>,
    ) {
        let metrics = &self.context.checker.metrics;
        metrics.moved(before.and_then(|status| status.state), now.and_then(|status| status.state));
        match now {
            Some(status) => metrics.objects().connection(name, status),
            None => metrics.objects().forget_connection(name),
        }
    }

    /// A gateway's status says how many connections name it.
    fn names_changed(&self, ConnectionRef { namespace, .. }: &ConnectionRef, objects: &[ObjectName]) {
        for object in objects.iter().filter(|object| object.kind == ObjectKind::VaultGateway) {
            let gateway = GatewayName { namespace: namespace.clone(), name: Arc::clone(&object.name) };
            self.context.gateways.requeue(gateway);
        }
    }

    /// What earlier processes counted is noted before anything of a first list is checked.
    fn status_seen(&self, name: &ConnectionRef, status: &VaultConnectionStatus) {
        if self.lists.is_pending(&name.namespace) {
            self.context.checker.logins.restore(name, status);
        }
    }

    /// What another replica counted until now.
    fn taken_over(&self, name: &ConnectionRef, status: &VaultConnectionStatus) {
        self.context.checker.logins.restore(name, status);
    }

    fn list_ended(&self, namespace: Option<&str>, listing: Listing) {
        if self.lists.end(namespace, listing) {
            self.context.checker.logins.listed();
        }
    }

    fn leaves_open(&self, memory: &CheckState) -> bool {
        self.context.checker.sessions().can_revoke_due(&memory.session)
    }

    /// The former session serves until the new one works, and is revoked then.
    fn close<'a>(&'a self, name: &'a ConnectionRef, memory: &CheckState) -> BoxFuture<'a, ()> {
        let session = Arc::clone(&memory.session);
        async move {
            let deadline = Instant::now() + REVOKE_TIMEOUT;
            self.context.checker.sessions().revoke_due(name, &session, deadline).await;
        }
        .boxed()
    }

    fn release<'a>(&'a self, name: &'a ConnectionRef, memory: &CheckState) -> BoxFuture<'a, ()> {
        self.revoke(name, memory.session.release())
    }

    fn discard<'a>(&'a self, name: &'a ConnectionRef, memory: &CheckState) -> BoxFuture<'a, ()> {
        self.revoke(name, memory.session.reset())
    }
}
