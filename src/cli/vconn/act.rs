//! What `kubectl vconn` changes: it asks for checks, and suspends and resumes connections.

use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{api::DynamicObject, core::Duration as KubeDuration, runtime::wait::await_condition};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    Outcome,
    access::Access,
    args::RefreshArgs,
    entry::Entry,
    kinds::{Kind, Name},
    note, print,
};
use crate::{api::REQUESTED_AT, cli::style::Style, names::text::printable, verify::events::shown};

/// How many objects are asked for and waited for at once.
const AT_ONCE: usize = 16;

/// Asks for checks, and waits for the results if there is a time for that.
pub(super) async fn refresh(access: &Access, args: RefreshArgs, style: Style) -> anyhow::Result<Outcome> {
    let wanted = if args.all {
        let found = access.list(&access.scope_of_change(), None).await?;
        let wanted: Vec<_> =
            found.iter().map(|entry| (access.elsewhere(&entry.namespace()), named(entry))).collect();
        if wanted.is_empty() {
            bail!("no VaultConnections or VaultGateways found");
        }
        wanted
    } else {
        access.refuse_all_namespaces()?;
        // `--wait 5m` is read as a name. It is told before anything is asked for and waited for.
        for name in args.names.iter().filter(|name| name.name.parse::<KubeDuration>().is_ok()) {
            access.get(name).await?;
        }
        args.names.into_iter().map(|name| (access.elsewhere(&access.namespace), name)).collect()
    };
    let single = wanted.len() == 1;
    let request = Timestamp::now().to_string();
    let deadline = args.wait.map(|wait| (Instant::now() + wait, wait));
    let mut results = stream::iter(wanted)
        .map(|(access, name)| {
            let request = request.as_str();
            async move { refresh_one(&access, &name, request, deadline).await }
        })
        .buffered(AT_ONCE);
    let mut outcome = Outcome::Ready;
    while let Some(result) = results.next().await {
        let (line, seen) = match result {
            Ok(refreshed) => (Some(refreshed.line(style)), refreshed.outcome()),
            Err(error) => {
                super::eprint_line("error", &super::chained(&error));
                (None, Outcome::Failed)
            }
        };
        if let Some(line) = line {
            print(&line)?;
        }
        outcome = outcome.max(seen);
    }
    if single && outcome == Outcome::NotReady {
        note("`kubectl vconn status` shows the cause and the fix");
    }
    Ok(outcome)
}

/// What became of one request.
enum Refreshed {
    Requested(Entry),
    Suspended(Entry),
    Answered(Entry),
}

// === impl Refreshed ===

impl Refreshed {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Requested(_) => Outcome::Ready,
            Self::Answered(entry) if entry.is_ready() => Outcome::Ready,
            Self::Suspended(_) | Self::Answered(_) => Outcome::NotReady,
        }
    }

    fn line(&self, style: Style) -> String {
        match self {
            Self::Requested(entry) => format!("{}: check requested\n", entry.full_name()),
            Self::Suspended(entry) => {
                format!("{}: Suspended: it is not checked until it is resumed\n", entry.full_name())
            }
            Self::Answered(entry) => {
                let ready = entry.ready();
                let state = style.paint(entry.urgency().colour(), &printable(&entry.state()));
                let why = match ready.filter(|_| !entry.is_ready()) {
                    Some(ready) => format!(": {}: {}", ready.reason, ready.message),
                    None => String::new(),
                };
                format!("{}: {state}{}\n", entry.full_name(), printable(&why))
            }
        }
    }
}

async fn refresh_one(
    access: &Access,
    name: &Name,
    request: &str,
    deadline: Option<(Instant, Duration)>,
) -> anyhow::Result<Refreshed> {
    let patch = json!({"metadata": {"annotations": {REQUESTED_AT: request}}});
    let asked = access.change(name, &patch).await?;
    if asked.is_suspended() {
        return Ok(Refreshed::Suspended(asked));
    }
    let Some((deadline, wait)) = deadline else { return Ok(Refreshed::Requested(asked)) };
    let kind = name.kind;
    let is_answered = |object: Option<&DynamicObject>| {
        // One that is gone will not answer.
        object.is_none_or(|object| Entry::new(kind, object.clone()).has_answered(request))
    };
    let waiting = await_condition(access.here(kind), &name.name, is_answered);
    match timeout_at(deadline, waiting).await {
        Ok(Ok(Some(object))) => Ok(Refreshed::Answered(Entry::new(kind, object))),
        Ok(Ok(None)) => Err(anyhow!("{} was deleted", asked.full_name())),
        Ok(Err(error)) => {
            Err(anyhow::Error::new(error).context(format!("failed to watch {}", asked.full_name())))
        }
        Err(_) => Err(anyhow!(
            "{}: no result within {}; check whether the operator is running and watches namespace {:?}",
            asked.full_name(),
            shown(wait),
            asked.namespace()
        )),
    }
}

/// Suspends connections, or resumes them.
pub(super) async fn suspend(access: &Access, names: &[Name], suspend: bool) -> anyhow::Result<Outcome> {
    access.refuse_all_namespaces()?;
    let mut outcome = Outcome::Ready;
    for name in names {
        match suspend_one(access, name, suspend).await {
            Ok(line) => print(&line)?,
            Err(error) => {
                super::eprint_line("error", &super::chained(&error));
                outcome = Outcome::Failed;
            }
        }
    }
    Ok(outcome)
}

async fn suspend_one(access: &Access, name: &Name, suspend: bool) -> anyhow::Result<String> {
    let word = if suspend { "suspended" } else { "resumed" };
    match name.kind {
        Kind::Connection => {}
        Kind::Gateway => bail!("a VaultGateway cannot be {word}; suspend the connections that use it"),
    }
    // A patch that changes nothing is not told from one that does.
    let before = access.get(name).await?;
    let name_for_kubectl = before.kubectl_name();
    if before.is_suspended() == suspend {
        let state = if suspend { "already suspended" } else { "not suspended" };
        return Ok(format!("{name_for_kubectl} {state}\n"));
    }
    access.change(name, &json!({"spec": {"suspend": suspend}})).await?;
    Ok(format!("{name_for_kubectl} {word}\n"))
}

fn named(entry: &Entry) -> Name {
    Name { kind: entry.kind, name: entry.name() }
}
