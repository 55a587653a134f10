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
mod report;
mod sources;

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use self::{
    ledger::{Counted, Held, LoginResult},
    ledger_file::{LedgerFile, Location},
    manifests::{InputError, Manifests},
};
use super::{CheckArgs, MemoryArgs};
use crate::{
    api::{connection::VaultConnection, status::VaultConnectionStatus},
    auth::LoginFault,
    check::{CheckState, Checked, Checker, Subject, instances::Instances},
    names::{ConnectionRef, text::printable},
    network::{connect::SystemNames, dial::Dialer},
    references::{
        References,
        ledger::Ledger,
        resolve::{self, Lookups},
    },
    session::{account::Limits, logins::Logins},
    spec::Desired,
    telemetry::{logs::chain, metrics::Metrics},
    verify::{
        observation::{Fault, Observation},
        report::{self as status_report, Circumstances},
        session::Basis,
    },
};

/// The generation of a new object.
const FIRST_GENERATION: i64 = 1;

/// Longest time that the end of the logins may take.
const REVOKE_DEADLINE: Duration = Duration::from_secs(2);

/// How many objects that are of no use are named, unless all are asked for.
const MAX_IGNORED_NAMED: usize = 10;

/// One connection, and what was found.
struct Found {
    connection: VaultConnection,
    status: VaultConnectionStatus,
}

/// A run of `check`.
struct Run {
    checker: Checker<Manifests>,
    ledger: LedgerFile,
}

/// Checks every connection that can be, and prints its status. Fails when nothing can be checked at all.
pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let mut manifests = Manifests::of(sources::read(&args.input));
    let mut checkable = Vec::new();
    for (place, connection) in std::mem::take(&mut manifests.connections) {
        match parse(&connection, place) {
            Ok(desired) => checkable.push((connection, desired)),
            Err(error) => manifests.errors.push(error),
        }
    }
    tell_of_input(&manifests, args.input.verbose, checkable.is_empty());
    let mut is_bad_input = !manifests.errors.is_empty();
    let plain_http = args.addresses.allow_plain_http;
    let checker = Checker {
        references: manifests,
        // Without a cluster there is no API server to protect.
        dialer: Dialer::new(args.addresses.policy(Vec::new())?, plain_http, Arc::new(SystemNames)),
        instances: Instances::default(),
        logins: Logins::new(10, Limits::default()),
        metrics: Metrics::new(false),
    };
    let mut run = Run { checker, ledger: ledger_file(args.memory) };
    let mut found = Vec::new();
    for (connection, desired) in checkable {
        match Box::pin(run.status(&connection, &desired)).await {
            Some(status) => found.push(Found { connection, status }),
            None => is_bad_input = true,
        }
    }
    if !found.is_empty() {
        let text = report::render(&found, args.output)?;
        io::stdout().write_all(text.as_bytes()).context("failed to write to standard output")?;
    }
    Ok(ExitCode::from(match (is_bad_input, found.iter().all(Found::is_ready)) {
        (true, _) => 2,
        (false, false) => 1,
        (false, true) => 0,
    }))
}

fn ledger_file(args: MemoryArgs) -> LedgerFile {
    let location = match (args.no_state_file, args.state_file) {
        (true, _) => Location::Nowhere,
        (false, Some(path)) => Location::File(path),
        (false, None) => Location::by_default(|name| env::var_os(name)),
    };
    LedgerFile::at(location, args.force.then(Timestamp::now))
}

fn parse(connection: &VaultConnection, place: documents::Place) -> Result<Desired, InputError> {
    let name = connection.name_any();
    match Desired::parse(&connection.spec) {
        Err(source) => Err(InputError::Connection { place, name, source }),
        Ok(Desired { target, .. }) if target.method.is_wrapped() => Err(InputError::Wrapped { place, name }),
        Ok(Desired { target, .. }) if target.method.service_account().is_some() => {
            Err(InputError::ServiceAccount { place, name })
        }
        Ok(desired) => Ok(desired),
    }
}

/// Tells what is wrong with the input, and what in it is of no use.
fn tell_of_input(manifests: &Manifests, verbose: bool, nothing_useful: bool) {
    for error in &manifests.errors {
        tell("error", &chain(error as &(dyn Error + 'static)));
    }
    for hint in &manifests.hints {
        tell("note", hint);
    }
    if !(verbose || nothing_useful) {
        return;
    }
    let named = if verbose { usize::MAX } else { MAX_IGNORED_NAMED };
    for ignored in manifests.ignored.iter().take(named) {
        tell(
            "note",
            &format!("{ignored} is ignored: check takes VaultConnection, VaultGateway, Secret and ConfigMap"),
        );
    }
    let more = manifests.ignored.len().saturating_sub(named);
    if more > 0 {
        tell("note", &format!("{more} other objects are ignored (-v lists them)"));
    }
}

/// One line on standard error, which moves nothing else on a terminal.
fn tell(word: &str, what: &str) {
    eprintln!("{word}: {}", printable(what));
}

// === impl Run ===

impl Run {
    /// The status that the cluster would show; none if an object that the connection names is there and cannot be used.
    async fn status(
        &mut self,
        connection: &VaultConnection,
        desired: &Desired,
    ) -> Option<VaultConnectionStatus> {
        let now = Timestamp::now();
        let around = Circumstances { generation: FIRST_GENERATION, requested_at: None, now, jitter: 0.0 };
        let nothing = VaultConnectionStatus::default();
        if connection.spec.suspend {
            return Some(status_report::suspended(&nothing, &around, desired));
        }
        let name = ConnectionRef {
            namespace: connection.namespace().unwrap_or_default(),
            name: connection.name_any(),
        };
        let broken = self.checker.references.broken_of(&name.namespace, &desired.target.references());
        if let Some(object) = broken {
            tell(
                "error",
                &format!(
                    "VaultConnection {name} is not checked, because it names {object}, which is invalid (see above)"
                ),
            );
            return None;
        }
        let observation = Box::pin(self.observe(&name, desired, now)).await;
        Some(status_report::checked(&nothing, &around, desired, &observation).0)
    }

    /// Makes the check, if the ledger allows its login; else everything but the login.
    async fn observe(&mut self, name: &ConnectionRef, desired: &Desired, now: Timestamp) -> Observation {
        let mut state = CheckState::default();
        let mut attempt = None;
        if let Some((counted, basis)) = self.counted(name, desired).await {
            match self.ledger.begin((name, &desired.target), &counted, desired.timeout).await {
                Ok(begun) => attempt = Some((begun, basis)),
                Err(held) => {
                    let (fault, until) = told_of(name, held);
                    state.memory.denied(basis, fault, until);
                }
            }
        }
        let ledger = Mutex::new(Ledger::default());
        let subject = Subject {
            connection: name,
            desired,
            ledger: &ledger,
            stale: false,
            is_ready: false,
            register: &|_| {},
            now,
            deadline: None,
        };
        let Checked { observation, mut leftovers, .. } =
            self.checker.check(&subject, &mut state).await.unwrap_or_else(|never| match never {});
        if let Some((attempt, basis)) = attempt {
            let is_accepted = state.memory.is_proven(&basis);
            self.ledger.settle(attempt, result(&observation, is_accepted)).await;
        }
        for warning in self.ledger.take_warnings() {
            tell("warning", &warning);
        }
        leftovers.extend(state.abandon());
        self.checker.revoke(&name.namespace, leftovers, Instant::now() + REVOKE_DEADLINE).await;
        observation
    }

    /// What Vault would count the login by; none if there is no login to make that it counts.
    async fn counted(&self, name: &ConnectionRef, desired: &Desired) -> Option<(Counted, Basis)> {
        let mut objects = Lookups::new();
        for object in desired.target.credentials() {
            let read = self.checker.references.read(&name.namespace, &object).await;
            objects.insert(object, read.unwrap_or_else(|never| match never {}));
        }
        let basis = Basis::new(&desired.target, &resolve::versions(&objects));
        let credentials = resolve::credentials(&desired.target, &objects).ok()?;
        let alias = desired.target.method.lockout_alias(credentials.values())?;
        Some((Counted { alias, proof: credentials.proof()?.clone() }, basis))
    }
}

/// Why a login is not made, and until when; it is told, too.
fn told_of(name: &ConnectionRef, held: Held) -> (Fault, Timestamp) {
    match held {
        Held::Refused { fault, at, until } => {
            tell(
                "warning",
                &format!(
                    "{name}: no login was attempted, because Vault rejected the same credential at {at:.0}, and too many rejected logins lock the role for everyone. A changed credential is tried immediately; the same one after {until:.0}, or now with --force"
                ),
            );
            (fault, until)
        }
        Held::Spent { until } => {
            tell(
                "warning",
                &format!(
                    "{name}: no login was attempted, because Vault recently rejected logins of this role, and too many lock it for everyone. The next attempt is possible after {until:.0}, or now with --force"
                ),
            );
            (Fault::BudgetSpent, until)
        }
    }
}

/// How the login of a check went.
fn result(observation: &Observation, is_accepted: bool) -> LoginResult {
    match &observation.fault {
        _ if is_accepted => LoginResult::Accepted,
        Some(Fault::Login(LoginFault::Denied)) => LoginResult::Denied,
        // Whatever else Vault says of a login that it counts.
        _ if !observation.refused.is_empty() => LoginResult::InvalidCredentials,
        _ => LoginResult::NotMade,
    }
}
