//! One check of a gateway: its objects are read, and every endpoint is tried.

use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::{
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
    references: &R,
    dialer: &Dialer,
    name: &GatewayName,
    desired: &DesiredGateway,
) -> Result<GatewaySeen, R::Error> {
    let mut objects = Lookups::new();
    for object in desired.references() {
        let lookup = references.read(&name.namespace, &object).await?;
        objects.insert(object, lookup);
    }
    let endpoints = match Gateway::resolve(&name.name, desired, &objects, "") {
        Ok(gateway) => {
            let tries =
                gateway.endpoints.iter().map(|endpoint| try_endpoint(dialer, name, desired, endpoint));
            Ok(join_all(tries).await)
        }
        Err(fault) => Err(fault),
    };
    Ok(GatewaySeen { endpoints, versions: resolve::versions(&objects) })
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
