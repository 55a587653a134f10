//! `check`: the same check, on manifests in files.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, bail};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{CheckArgs, Output, files::Files};
use crate::{
    api::{
        condition::ConditionType,
        connection::VaultConnection,
        desired::{Desired, Method},
        status::VaultConnectionStatus,
    },
    conditions,
    controller::connection::{
        checker::{Checked, Checker, Subject},
        instances::Instances,
        logins::Logins,
        observe::Kept,
    },
    gateway::{connect::SystemNames, dial::Dialer},
    refs::ConnectionRef,
    secrets::ledger::Ledger,
    telemetry::metrics::Metrics,
    verify::report::{self, Circumstances},
};

/// The generation of a new object.
const FIRST_GENERATION: i64 = 1;

/// Longest time that the end of the logins may take.
const REVOKE_DEADLINE: Duration = Duration::from_secs(2);

/// One connection, and what was found.
struct Found {
    connection: VaultConnection,
    status: VaultConnectionStatus,
}

/// Checks every connection in the files, and prints its status. Fails on bad input.
pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let plain_http = args.addresses.allow_plain_http;
    let mut files = Files::read(&args.files)?;
    let connections = std::mem::take(&mut files.connections);
    let desired = connections.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let checker = Checker {
        references: files,
        // Without a cluster there is no API server to protect.
        dialer: Dialer::new(args.addresses.policy(Vec::new())?, plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::new(10),
        metrics: Metrics::new(),
        known: Mutex::default(),
    };
    let mut found = Vec::new();
    for (connection, desired) in connections.into_iter().zip(&desired) {
        let status = status(&checker, &connection, desired).await;
        found.push(Found { connection, status });
    }
    let text = match args.output {
        Output::Table => table(&found),
        Output::Yaml => serde_saphyr::to_string(&document(&found)).context("failed to print YAML")?,
        Output::Json => format!("{:#}\n", document(&found)),
    };
    io::stdout().write_all(text.as_bytes()).context("failed to write to standard output")?;
    Ok(if found.iter().all(Found::is_ready) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn parse(connection: &VaultConnection) -> anyhow::Result<Desired> {
    let name = connection.name_any();
    let desired = Desired::parse(&connection.spec)
        .with_context(|| format!("VaultConnection {name:?} makes no sense"))?;
    if matches!(desired.target.method, Method::AppRole { wrapped: true, .. }) {
        bail!("VaultConnection {name:?} has a wrapped secret id: a check would use up its wrapping token");
    }
    Ok(desired)
}

async fn status(
    checker: &Checker<Files>,
    connection: &VaultConnection,
    desired: &Desired,
) -> VaultConnectionStatus {
    let now = Timestamp::now();
    let around = Circumstances { generation: FIRST_GENERATION, requested_at: None, now, jitter: 0.0 };
    let nothing = VaultConnectionStatus::default();
    if connection.spec.suspend {
        return report::suspended(&nothing, &around, desired);
    }
    let name =
        ConnectionRef { namespace: connection.namespace().unwrap_or_default(), name: connection.name_any() };
    let ledger = Mutex::new(Ledger::default());
    let subject = Subject {
        connection: &name,
        desired,
        ledger: &ledger,
        stale: false,
        register: &|_| {},
        now,
        deadline: None,
    };
    let mut kept = Kept::default();
    let Checked { observation, mut leftovers, .. } =
        checker.check(&subject, &mut kept).await.unwrap_or_else(|never| match never {});
    leftovers.extend(kept.abandon());
    checker.revoke(&name.namespace, leftovers, Instant::now() + REVOKE_DEADLINE).await;
    report::checked(&nothing, &around, desired, &observation).0
}

// === impl Found ===

impl Found {
    fn is_ready(&self) -> bool {
        conditions::is_true(&self.status.conditions, ConditionType::Ready)
    }

    fn manifest(&self) -> Value {
        json!({
            "apiVersion": VaultConnection::api_version(&()),
            "kind": VaultConnection::kind(&()),
            "metadata": { "name": self.connection.name_any(), "namespace": self.connection.namespace() },
            "status": self.status,
        })
    }
}

/// One object, or a list of several, as `kubectl get` prints them.
fn document(found: &[Found]) -> Value {
    match found {
        [one] => one.manifest(),
        several => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": several.iter().map(Found::manifest).collect::<Vec<_>>(),
        }),
    }
}

fn table(found: &[Found]) -> String {
    let mut text = String::new();
    for Found { connection, status } in found {
        let state = status.state.map_or("Unknown", |state| state.as_str());
        let name = format!("{}/{}", connection.namespace().unwrap_or_default(), connection.name_any());
        let version = status.server.as_ref().and_then(|server| server.version.as_deref());
        let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
        let _ = writeln!(text, "{name}: {state}, {}{version}", connection.spec.instance_url);
        let _ = writeln!(text, "  {:<20} {:<8} {:<26} MESSAGE", "CONDITION", "STATUS", "REASON");
        for c in &status.conditions {
            let _ = writeln!(text, "  {:<20} {:<8} {:<26} {}", c.type_, c.status, c.reason, c.message);
        }
    }
    text
}
