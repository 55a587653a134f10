//! What the kinds share.

use std::{sync::Arc, time::Duration};

use super::{
    connection::Connections,
    engine::{
        publisher::Publisher,
        registry::{Follower, Registry},
    },
    gateway::Gateways,
};
use crate::{check::Checker, cluster::Cluster, telemetry::page::board::Board};

/// What every reconcile shares.
pub struct Context {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// Makes checks.
    pub checker: Checker<Cluster>,
    /// What is remembered of each connection.
    pub connections: Arc<Registry<Connections>>,
    /// What is remembered of each gateway.
    pub gateways: Arc<Registry<Gateways>>,
    /// What the status page shows.
    pub board: Board,
    /// Creates events.
    pub publisher: Publisher,
    /// How often the times in an unchanged status are written.
    pub heartbeat: Duration,
}

// === impl Context ===

impl Context {
    /// The registries of all kinds.
    pub fn registries(&self) -> Vec<Arc<dyn Follower>> {
        vec![Arc::clone(&self.connections) as _, Arc::clone(&self.gateways) as _]
    }
}
