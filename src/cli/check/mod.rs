//! `check`: the same check, on manifests in files.
//!
//! ```text
//!   sources ─▶ documents ─▶ manifests ─▶ one check a connection ─▶ report
//!   (files)    (text)       (objects)         ▲
//!                                          ledger: which logins were refused lately, over runs
//! ```
//!
//! What is wrong with the input is told whole, and keeps back only what it concerns.

mod documents;
mod foreign;
mod glob;
mod ledger;
mod ledger_file;
mod manifests;
mod names;
mod progress;
mod report;
mod run;
mod shape;
mod sources;

use std::{env, error::Error, net::SocketAddr, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{
    documents::Place,
    ledger_file::{LedgerFile, Location},
    manifests::{InputError, Manifests},
    run::Run,
};
use super::{AddressArgs, CheckArgs, MemoryArgs, Output, output, stop};
use crate::{
    api::{condition::Reason, connection::VaultConnection, status::VaultConnectionStatus},
    check::Checker,
    cluster::Cluster,
    names::ConnectionRef,
    network::{connect::SystemNames, dial::Dialer},
    references::References,
    session::{account::Limits, instances::Instances, logins::Logins, shutdown},
    spec::Desired,
    telemetry::{logs::chain, metrics::Metrics},
};

/// How many objects that are of no use are named, unless all are asked for.
const MAX_IGNORED_NAMED: usize = 10;

/// How long checks may go on when they are interrupted: the answer to a login, and the revocation of its token.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);

/// One connection, and what was found.
struct Found {
    /// Where it stands; none in a cluster.
    place: Option<Place>,
    connection: VaultConnection,
    status: VaultConnectionStatus,
}

/// How to check, wherever the connections come from.
pub(super) struct Options {
    pub(super) verbose: bool,
    pub(super) output: Output,
    pub(super) memory: MemoryArgs,
    pub(super) addresses: AddressArgs,
}

/// A connection that can be checked.
struct Checkable {
    /// Where it stands; none in a cluster.
    place: Option<Place>,
    connection: VaultConnection,
    desired: Desired,
}

/// Checks every connection of files that can be, and prints its status. Fails when nothing can be checked at all.
pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let CheckArgs { input, output, memory, addresses } = args;
    let options = Options { verbose: input.verbose, output, memory, addresses };
    let mut manifests = Manifests::of(sources::read(&input));
    let (mut checkable, mut is_held_back) = (Vec::new(), false);
    for (place, connection) in std::mem::take(&mut manifests.connections) {
        match parse(&connection, &place) {
            Ok(desired) => checkable.push(Checkable { place: Some(place), connection, desired }),
            Err(error) => manifests.errors.push(error),
        }
    }
    report_input(&manifests, options.verbose, checkable.is_empty());
    let errors: Vec<_> =
        manifests.errors.iter().map(|error| chain(error as &(dyn Error + 'static))).collect();
    checkable.retain(|it| {
        let broken = broken(&manifests, it);
        is_held_back |= broken;
        !broken
    });
    // Without a cluster there is no API server to protect.
    let found = run(manifests, Vec::new(), checkable, &options).await?.unwrap_or_else(|never| match never {});
    finish(&found, &errors, is_held_back, &options)
}

/// Checks connections of a cluster from here, with the rights of the user.
pub(super) async fn check_live(
    cluster: Cluster,
    connections: Vec<VaultConnection>,
    options: Options,
) -> anyhow::Result<ExitCode> {
    let (mut checkable, mut errors) = (Vec::new(), Vec::new());
    for connection in connections {
        let place = Place { source: "the cluster".to_owned(), document: None };
        match parse(&connection, &place) {
            Ok(desired) => checkable.push(Checkable { place: None, connection, desired }),
            Err(error) => {
                let error = chain(&error as &(dyn Error + 'static));
                eprint_line("error", &error);
                errors.push(error);
            }
        }
    }
    let api_servers = cluster.api_servers().await;
    let found = run(cluster, api_servers, checkable, &options).await?.context("the check ended early")?;
    let is_forbidden = |found: &Found| {
        found.status.conditions.iter().any(|condition| condition.reason == Reason::ReadForbidden.as_str())
    };
    if found.iter().any(is_forbidden) {
        eprint_line(
            "note",
            "this check reads Secrets and ConfigMaps with your permissions, not with the operator's, and you cannot read some of them",
        );
    }
    finish(&found, &errors, false, &options)
}

async fn run<R: References>(
    references: R,
    api_servers: Vec<SocketAddr>,
    checkable: Vec<Checkable>,
    options: &Options,
) -> anyhow::Result<Result<Vec<Found>, R::Error>> {
    let plain_http = options.addresses.allow_plain_http;
    let policy = options.addresses.clone().policy(api_servers)?;
    let checker = Checker {
        references,
        dialer: Dialer::new(policy, plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::new(10, Limits::default()),
        metrics: Metrics::new(false),
    };
    let (run, interrupted, stopping) =
        (Run::new(checker, ledger_file(&options.memory)), stop::signal()?, CancellationToken::new());
    let mut checks = pin!(shutdown::Run::new(&stopping).scope(run.all(checkable)));
    let found = tokio::select! {
        found = &mut checks => found,
        () = interrupted => {
            stopping.cancel();
            timeout(INTERRUPT_TIMEOUT, checks).await.unwrap_or(Ok(None))
        }
    };
    found.transpose().context("interrupted before every connection was checked")
}

/// Prints what was found. The exit code says how it is.
fn finish(
    found: &[Found],
    errors: &[String],
    is_held_back: bool,
    options: &Options,
) -> anyhow::Result<ExitCode> {
    let text = report::render(found, errors, options)?;
    output::print(&text)?;
    Ok(ExitCode::from(match (is_held_back || !errors.is_empty(), found.iter().all(Found::is_ready)) {
        (true, _) => 2,
        (false, false) => 1,
        (false, true) => 0,
    }))
}

/// Whether an object that a connection names is there and cannot be used. Prints that, too.
fn broken(manifests: &Manifests, Checkable { connection, desired, .. }: &Checkable) -> bool {
    let name = name_of(connection);
    let broken = manifests.broken_of(&name.namespace, &desired.target.references());
    if let Some(object) = &broken {
        eprint_line(
            "error",
            &format!(
                "VaultConnection {name} is not checked, because it uses {object}, which has an error (see above)"
            ),
        );
    }
    broken.is_some()
}

fn name_of(connection: &VaultConnection) -> ConnectionRef {
    ConnectionRef {
        namespace: connection.namespace().unwrap_or_default().into(),
        name: connection.name_any().into(),
    }
}

fn ledger_file(args: &MemoryArgs) -> LedgerFile {
    let location = match (args.no_state_file, args.state_file.clone()) {
        (true, _) => Location::Nowhere,
        (false, Some(path)) => Location::File(path),
        (false, None) => Location::by_default(|name| env::var_os(name)),
    };
    LedgerFile::at(location, args.force.then(Timestamp::now))
}

fn parse(connection: &VaultConnection, place: &Place) -> Result<Desired, InputError> {
    let (name, place) = (connection.name_any(), place.clone());
    match Desired::parse(&connection.spec) {
        Err(source) => Err(InputError::Connection { place, name, source }),
        Ok(Desired { target, .. }) if target.method.is_wrapped() => Err(InputError::Wrapped { place, name }),
        Ok(Desired { target, .. }) if target.method.service_account().is_some() => {
            Err(InputError::ServiceAccount { place, name })
        }
        Ok(desired) => Ok(desired),
    }
}

/// Reports what is wrong with the input, and what in it is of no use.
fn report_input(manifests: &Manifests, verbose: bool, nothing_useful: bool) {
    for error in &manifests.errors {
        eprint_line("error", &chain(error as &(dyn Error + 'static)));
    }
    for hint in &manifests.hints {
        eprint_line("note", hint);
    }
    if !(verbose || nothing_useful) {
        return;
    }
    let named = if verbose { usize::MAX } else { MAX_IGNORED_NAMED };
    for ignored in manifests.ignored.iter().take(named) {
        eprint_line(
            "note",
            &format!(
                "{ignored} is ignored: check reads VaultConnections, VaultGateways, Secrets and ConfigMaps only"
            ),
        );
    }
    let more = manifests.ignored.len().saturating_sub(named);
    if more > 0 {
        eprint_line("note", &format!("{more} more objects are ignored; -v lists them"));
    }
}

/// One line on standard error, which moves nothing else on a terminal.
fn eprint_line(word: &str, what: &str) {
    progress::clear();
    output::eprint_line(word, what);
}
