//! One check of a gateway: its objects are read, and every endpoint is tried.

use std::sync::PoisonError;

use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::Gateways;
use crate::{
    check::Checker,
    controller::engine::reconcile::Run,
    names::GatewayName,
    network::dial::Dialer,
    references::{
        References,
        gateway::{Endpoint, Gateway},
        resolve::{self, Lookups},
    },
    spec::DesiredGateway,
    verify::gateway::{EndpointSeen, GatewaySeen},
};

/// Makes one check. `Err` says that the source of the references failed.
pub(super) async fn probe<R: References>(
    checker: &Checker<R>,
    run: &Run<'_, Gateways>,
    desired: &DesiredGateway,
) -> Result<GatewaySeen, R::Error> {
    let (name, dialer) = (&run.name, &checker.dialer);
    let ledger = || run.ledger().lock().unwrap_or_else(PoisonError::into_inner);
    ledger().begin_reading();
    let mut objects = Lookups::new();
    for object in desired.references() {
        let lookup = checker.references.read(&name.namespace, &object).await?;
        objects.insert(object, lookup);
    }
    let versions = resolve::versions(&objects);
    ledger().rest_on(versions.clone());
    let endpoints = match Gateway::resolve(&name.name, desired, &objects, "") {
        Ok(gateway) => {
            let tries =
                gateway.endpoints.iter().map(|endpoint| try_endpoint(dialer, name, desired, endpoint));
            Ok(join_all(tries).await)
        }
        Err(fault) => Err(fault),
    };
    Ok(GatewaySeen { endpoints, versions })
}

async fn try_endpoint(
    dialer: &Dialer,
    name: &GatewayName,
    desired: &DesiredGateway,
    endpoint: &Endpoint,
) -> EndpointSeen {
    let started = Instant::now();
    let problem = match timeout(desired.timeout, dialer.probe(name, endpoint)).await {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(dialer.gave_up(name, &endpoint.url)),
    };
    EndpointSeen { url: endpoint.written.clone(), latency: started.elapsed(), problem }
}
