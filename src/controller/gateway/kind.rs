//! Gateways, as the engine reconciles them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::{GatewayContext, GuardedGateway, expire, forget, reconcile, report_panic};
use crate::{
    cluster::{self, ClusterError},
    controller::{
        engine::{
            Kind, Listing, Requeue,
            queue::{Lane, Priority},
        },
        published,
        snapshot::Shown,
    },
    names::GatewayName,
    spec::DesiredGateway,
    verify::gateway,
};

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

    /// All of them are checked within seconds.
    fn last_check(_: &GuardedGateway) -> Option<Timestamp> {
        None
    }

    /// Until it is gone, connections use it: its checks go on.
    fn is_ending(_: &GuardedGateway) -> bool {
        false
    }

    fn seen(&self, name: &GatewayName, object: &GuardedGateway) {
        let status = object.0.as_ref().ok().and_then(|gateway| gateway.status.as_ref());
        let shown = Shown {
            version: &cluster::version(object.meta()),
            generation: object.meta().generation.unwrap_or_default(),
            ready: status.is_some_and(gateway::is_ready),
            digest: &|| status.map(published::digest),
            interval: &|| interval(object),
        };
        self.entry(name).snapshot().saw(&shown, Instant::now());
    }

    fn listed(&self, _: Option<&str>, _: Listing) {}

    fn priority(&self, name: &GatewayName) -> Priority {
        let is_ready = self.known(name).is_some_and(|entry| entry.snapshot().is_ready());
        if is_ready { Priority::Renewal } else { Priority::Normal }
    }

    fn expires(&self, name: &GatewayName) -> Option<Instant> {
        self.known(name)?.snapshot().wake()
    }

    async fn reconcile(self: Arc<Self>, object: Arc<GuardedGateway>) -> Result<Requeue, ClusterError> {
        reconcile(&object, &self).await
    }

    async fn expire(self: Arc<Self>, object: Arc<GuardedGateway>) -> Result<(), ClusterError> {
        expire(&object, &self).await
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

/// How often a gateway is checked, if it can be.
fn interval(object: &GuardedGateway) -> Option<Duration> {
    let spec = &object.0.as_ref().ok()?.spec;
    DesiredGateway::parse(spec).ok().map(|desired| desired.interval)
}
