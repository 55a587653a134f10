//! `kubectl vconn check`: the check of the operator, from here: of connections of the cluster, or of manifests.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use super::{
    access::Access,
    args::LiveCheck,
    kinds::{Kind, Name},
};
use crate::{
    api::connection::VaultConnection,
    cli::{CheckArgs, check},
    cluster::Cluster,
};

/// Checks manifests.
pub(super) async fn check_files(args: LiveCheck) -> anyhow::Result<ExitCode> {
    let LiveCheck { input, output, memory, addresses, .. } = args;
    check::check(CheckArgs { input, output, memory, addresses }).await
}

/// Checks connections of the cluster, with the objects that they name as the user may read them.
pub(super) async fn check_named(access: &Access, args: LiveCheck) -> anyhow::Result<ExitCode> {
    access.refuse_all_namespaces()?;
    let mut connections = Vec::new();
    for name in &args.names {
        connections.push(connection(access, name).await?);
    }
    let LiveCheck { input, output, memory, addresses, .. } = args;
    let options = check::Options { verbose: input.verbose, output, memory, addresses };
    let cluster = Cluster::with_client(access.client.clone(), access.url.clone());
    check::check_live(cluster, connections, options).await
}

async fn connection(access: &Access, name: &Name) -> anyhow::Result<VaultConnection> {
    let entry = access.get(name).await?;
    match name.kind {
        Kind::Connection => serde_json::from_value(entry.value())
            .with_context(|| format!("failed to read the spec of VaultConnection {:?}", name.name)),
        Kind::Gateway => Err(anyhow!(
            "VaultGateway {:?} cannot be checked by itself; check a connection that uses it",
            name.name
        )),
    }
}
