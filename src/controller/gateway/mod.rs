//! Gateways, as a kind of the engine.
//!
//! Connections do not ask for their status: they go through the endpoints themselves, and see what works. What a check
//! here finds only orders the endpoints for them, and triggers those that wait for one. Special to gateways: connections
//! name them, and their status says how many do.

mod probe;
mod summary;

use std::{sync::Arc, time::Duration};

use super::{
    context::Context,
    engine::{
        kind::{Check, Kind, Refresh, Unchecked},
        reconcile::Run,
        registry::Registry,
    },
};
use crate::{
    api::gateway::{VaultGateway, VaultGatewayStatus},
    cluster::ClusterError,
    names::{ConnectionRef, GatewayName, ObjectName},
    spec::DesiredGateway,
    telemetry::page::board::Summary,
    verify::{
        events::{Notice, Transition},
        gateway::{self, GatewaySeen},
        status::{self, Circumstances, Judged as _},
    },
};

/// Shortest time between two writes of a number of connections. A thousand connections that are checked one after the
/// other, as at a start, are a few writes by that and not a thousand.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(2);

/// The gateways of all watched namespaces.
pub struct Gateways {
    context: Arc<Context>,
}

// === impl Gateways ===

impl Gateways {
    /// The gateways.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// The connections that name a gateway.
    fn users(&self, name: &GatewayName) -> Vec<ConnectionRef> {
        self.context.connections.users_of(&name.namespace, &ObjectName::gateway(&name.name))
    }

    /// Has the connections that wait for a gateway try it now.
    fn trigger_users(&self, name: &GatewayName) {
        self.context.checker.instances.forget_gateway(name);
        for connection in self.users(name) {
            self.context.connections.trigger(connection);
        }
    }
}

impl Kind for Gateways {
    type Resource = VaultGateway;
    type Name = GatewayName;
    type Status = VaultGatewayStatus;
    type Desired = DesiredGateway;
    type Memory = ();
    type Observation = GatewaySeen;
    const NAME: &'static str = "VaultGateway";

    fn context(&self) -> &Context {
        &self.context
    }

    fn registry(&self) -> &Registry<Self> {
        &self.context.gateways
    }

    fn parse(gateway: &VaultGateway) -> Result<DesiredGateway, String> {
        DesiredGateway::parse(&gateway.spec).map_err(|error| error.to_string())
    }

    fn description(gateway: &VaultGateway) -> &str {
        &gateway.spec.description
    }

    fn summary(status: &VaultGatewayStatus) -> Summary {
        summary::summary(status)
    }

    fn interval(desired: &DesiredGateway) -> Duration {
        desired.interval
    }

    fn names(desired: &DesiredGateway, (): &()) -> Vec<ObjectName> {
        desired.references()
    }

    async fn observe(
        &self,
        run: &Run<'_, Self>,
        check: &Check<'_, Self>,
        (): &(),
    ) -> Result<Option<GatewaySeen>, ClusterError> {
        probe::probe(&self.context.checker, run, check.desired).await.map(Some)
    }

    fn has_passed(seen: &GatewaySeen) -> bool {
        seen.works()
    }

    fn report(
        &self,
        name: &GatewayName,
        previous: &VaultGatewayStatus,
        around: &Circumstances<'_>,
        (desired, seen): (&DesiredGateway, &GatewaySeen),
    ) -> (VaultGatewayStatus, Duration) {
        let (status, wait) = gateway::checked(previous, around, desired, seen);
        (gateway::counted(status, self.users(name).len()), wait)
    }

    fn report_unchecked(
        &self,
        name: &GatewayName,
        previous: &VaultGatewayStatus,
        around: &Circumstances<'_>,
        why: Unchecked<'_, Self>,
    ) -> VaultGatewayStatus {
        let status = match why {
            Unchecked::Invalid(message) => status::invalid_spec(previous, around, message),
            Unchecked::Overdue(_, _) => gateway::overdue(previous, around),
            Unchecked::Panicked(retry) => status::internal_error(previous, around, retry),
        };
        gateway::counted(status, self.users(name).len())
    }

    fn as_object(name: &GatewayName) -> Option<ObjectName> {
        Some(ObjectName::gateway(&name.name))
    }

    /// A number of connections stays for a while before another one is written.
    fn refresh(
        &self,
        name: &GatewayName,
        status: &VaultGatewayStatus,
        age: Option<Duration>,
    ) -> Refresh<VaultGatewayStatus> {
        let counted = gateway::counted(status.clone(), self.users(name).len());
        match age.and_then(|age| RECOUNT_INTERVAL.checked_sub(age)) {
            Some(rest) if VaultGatewayStatus::is_news(status, &counted) => Refresh::Later(rest),
            Some(_) | None => Refresh::Replace(counted),
        }
    }

    fn status_changed(
        &self,
        name: &GatewayName,
        before: Option<&VaultGatewayStatus>,
        now: Option<&VaultGatewayStatus>,
    ) {
        if before.zip(now).is_some_and(|(before, now)| gateway::is_back(before, now)) {
            self.trigger_users(name);
        }
        let objects = self.context.checker.metrics.objects();
        match now {
            Some(status) => objects.gateway(name, status),
            None => objects.forget_gateway(name),
        }
    }

    /// Its connections fail from now on, and each reports that itself.
    fn forgotten(&self, name: &GatewayName) -> Option<Transition> {
        self.context.checker.dialer.forget(name);
        let users = self.users(name);
        let names: Vec<_> = users.iter().take(10).map(|user| &*user.name).collect();
        let note = format!(
            "The gateway was deleted while in use. The connections that name it now fail ({} in all): {}",
            users.len(),
            names.join(", ")
        );
        (!users.is_empty()).then(|| Notice::DeletedInUse.event(note))
    }
}
