//! `kubectl vconn`: connections and gateways, as people who look after them want to see and change them.
//!
//! ```text
//!   arguments ─▶ access: the user's kubeconfig and rights ─▶ entries ─▶ list, explain, timeline: texts   pure
//!                                                         └▶ act: requests, suspend, resume
//! ```
//!
//! Under the name `kubectl-vconn`, kubectl finds this program as its plugin. It needs nothing of the operator but the statuses that
//! it wrote, and can do nothing that its user cannot do.

mod access;
mod act;
mod archive;
mod args;
mod bundle;
mod complete;
mod entry;
mod explain;
mod guide;
mod kinds;
mod list;
mod live;
mod redact;
mod redact_text;
#[cfg(test)]
mod testing;
mod timeline;
mod watch;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use serde_json::{Value, json};

pub(super) use self::args::Vconn;
use self::{
    access::{Access, Scope},
    args::{
        Action, EventsArgs, ListArgs, ListOutput, ObjectOutput, Place, Plugin, StatusArgs, VersionOutput,
    },
    complete::{More, Named},
    entry::Entry,
    explain::document,
    kinds::Kind,
    list::Columns,
};
use crate::{
    api::connection::VaultConnection,
    cli::{
        output::{eprint_line, print, say, write},
        style::{Style, terminal_columns},
    },
    cluster::config,
    names::text::printable,
    telemetry::logs::chain,
};

/// The name under which kubectl finds the plugin.
const PLUGIN: &str = "kubectl-vconn";

/// Longest wait for names from the cluster while a command line is being written.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(3);

/// The argument by which a script of a shell asks for completions.
const COMPLETE: &str = "__complete";

/// The name under which kubectl asks for completions.
const COMPLETER: &str = "kubectl_complete-vconn";

/// What is asked for, by the name that this program was started under.
pub(super) enum Started {
    /// A command of the plugin.
    Plugin(Box<Vconn>),
    /// Completions of a command line of kubectl.
    Completer(Vec<OsString>),
    /// Something else.
    Operator,
}

/// How it went. A later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Done; if it is about whether something is Ready, it is.
    Ready,
    /// Something is not Ready.
    NotReady,
    /// Something could not be found out or done, and was told.
    Failed,
}

/// Reads the name that this program was started under, and its arguments if that is one of ours.
pub(super) fn started() -> Started {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from);
    match name.as_deref().and_then(|path| path.file_stem()).and_then(|stem| stem.to_str()) {
        Some(PLUGIN) => match arguments.next() {
            Some(argument) if argument == COMPLETE => Started::Completer(arguments.collect()),
            Some(_) | None => Started::Plugin(Box::new(Plugin::parse().vconn)),
        },
        Some(COMPLETER) => Started::Completer(arguments.collect()),
        Some(_) | None => Started::Operator,
    }
}

/// Does what is asked for.
pub(super) async fn run(vconn: Vconn) -> anyhow::Result<ExitCode> {
    Box::pin(act(vconn)).await
}

/// Answers kubectl. Whatever fails, or takes too long, leaves less to choose from.
pub(super) async fn complete(words: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let (candidates, more) = complete::candidates(&words);
    let current = words.last().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let names = tokio::time::timeout(COMPLETION_TIMEOUT, names(&words, more)).await;
    print(&complete::lines(candidates, names.ok().flatten().unwrap_or_default(), &current, more))?;
    Ok(ExitCode::SUCCESS)
}

/// The names that may follow a command line without its last word.
async fn names(words: &[OsString], more: More) -> Option<Vec<String>> {
    let wants = |kind| more == More::Objects || kind == Kind::Connection;
    match more {
        More::Nothing | More::Files => None,
        More::Kubeconfig(named) => {
            let config = config::names(&place(words)?.choice());
            Some(match named {
                Named::Context => config.contexts,
                Named::Cluster => config.clusters,
                Named::User => config.users,
            })
        }
        More::Namespaces => Access::connect(place(words)?).ok()?.namespaces().await.ok(),
        More::Objects | More::Connections => {
            let access = Access::connect(place(words)?).ok()?;
            let found = access.list(&Scope::Namespace(access.namespace.clone()), None).await.ok()?;
            Some(found.iter().filter(|it| wants(it.kind)).map(Entry::short_name).collect())
        }
    }
}

/// Where a command line without its last word is about. One that lacks a name or a value is none yet: any stands in.
fn place(words: &[OsString]) -> Option<Place> {
    let before = words.split_last().map_or(words, |(_, before)| before);
    let filled: [&[&str]; 3] = [&["x"], &["x", "x"], &[]];
    filled.into_iter().find_map(|filled| {
        let filled = filled.iter().map(OsString::from);
        let line = [OsString::from(PLUGIN)].into_iter().chain(before.iter().cloned()).chain(filled);
        Some(Plugin::try_parse_from(line).ok()?.vconn.place)
    })
}

async fn act(Vconn { place, action }: Vconn) -> anyhow::Result<ExitCode> {
    let style = Style::of_terminal();
    let outcome = match action {
        Action::Check(args) if args.names.is_empty() => return live::check_files(*args).await,
        Action::Check(args) => return live::check_named(&Access::connect(place)?, *args).await,
        Action::List(args) => list(&Access::connect(place)?, &args, style).await,
        Action::Status(args) => status(&Access::connect(place)?, &args, style).await,
        Action::Refresh(args) => act::refresh(&Access::connect(place)?, args, style).await,
        Action::Suspend(args) => act::suspend(&Access::connect(place)?, &args.names, true).await,
        Action::Resume(args) => act::suspend(&Access::connect(place)?, &args.names, false).await,
        Action::Events(args) => events(&Access::connect(place)?, &args, style).await,
        Action::Watch(args) => watch::run(&Access::connect(place)?, &args, style).await,
        Action::Bundle(args) => bundle::run(&Access::connect(place)?, &args).await,
        Action::Version { output } => done(print(&version(output)?)),
        Action::Completion { shell } => done(write(&complete::script(shell))),
        Action::Man { folder } => done(complete::man(&folder)),
    };
    Ok(match outcome? {
        Outcome::Ready => ExitCode::SUCCESS,
        Outcome::NotReady => ExitCode::from(1),
        Outcome::Failed => ExitCode::from(2),
    })
}

async fn list(access: &Access, args: &ListArgs, style: Style) -> anyhow::Result<Outcome> {
    let scope = access.allowed(access.scope_of_list()).await?;
    let mut entries = access.list(&scope, args.selector.as_deref()).await?;
    let count = entries.len();
    entries.retain(|entry| !args.not_ready || !entry.is_ready());
    list::worst_first(&mut entries);
    let columns = |wide| Columns {
        namespace: !matches!(scope, Scope::Namespace(_)),
        wide,
        headers: !args.no_headers,
        room: terminal_columns().filter(|_| !wide),
    };
    let values = || document(entries.iter().map(Entry::value).collect(), true);
    let text = match args.output {
        Some(ListOutput::Json) => json_text(&values()),
        Some(ListOutput::Yaml) => yaml_text(&values())?,
        Some(ListOutput::Name) => list::names(&entries),
        _ if entries.is_empty() => {
            report_nothing_found(&scope, count);
            return Ok(Outcome::Ready);
        }
        Some(ListOutput::Wide) => list::render(&entries, columns(true), Timestamp::now(), style),
        None => list::render(&entries, columns(false), Timestamp::now(), style),
    };
    done(print(&text))
}

/// What to say in the place of an empty table: of so many objects, none is wanted.
fn report_nothing_found(scope: &Scope, count: usize) {
    let place = match scope {
        Scope::Namespace(namespace) => format!(" in namespace {}", printable(namespace)),
        Scope::Everywhere | Scope::EverywhereIfAllowed => String::new(),
    };
    say(&match count {
        0 => format!("No VaultConnections or VaultGateways found{place}.\n"),
        _ => format!("All VaultConnections and VaultGateways{place} are Ready.\n"),
    });
}

async fn status(access: &Access, args: &StatusArgs, style: Style) -> anyhow::Result<Outcome> {
    access.refuse_all_namespaces()?;
    let (mut entries, mut outcome) = (Vec::new(), Outcome::Ready);
    for name in &args.names {
        match access.get(name).await {
            Ok(entry) => {
                outcome = outcome.max(if entry.is_ready() { Outcome::Ready } else { Outcome::NotReady });
                entries.push(entry);
            }
            Err(error) => {
                eprint_line("error", &chained(&error));
                outcome = Outcome::Failed;
            }
        }
    }
    let now = Timestamp::now();
    let text = match args.output {
        Some(_) if entries.is_empty() => String::new(),
        Some(output) => {
            object_text(&document(entries.iter().map(Entry::value).collect(), args.names.len() > 1), output)?
        }
        None => {
            let texts: Vec<_> = entries.iter().map(|entry| explain::render(entry, now, style)).collect();
            texts.join("\n")
        }
    };
    print(&text)?;
    Ok(outcome)
}

async fn events(access: &Access, args: &EventsArgs, style: Style) -> anyhow::Result<Outcome> {
    access.refuse_all_namespaces()?;
    let found = access.events(&args.name).await?;
    match args.output {
        Some(output) => {
            let items: Vec<_> = found.iter().map(|event| json!(event)).collect();
            done(print(&object_text(&document(items, true), output)?))
        }
        None if found.is_empty() => {
            say("No events found. Kubernetes keeps events for an hour by default.\n");
            Ok(Outcome::Ready)
        }
        None => done(print(&timeline::render(&found, Timestamp::now(), style))),
    }
}

fn version(output: VersionOutput) -> anyhow::Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let api_version = VaultConnection::api_version(&());
    let document = json!({"clientVersion": {"version": version}, "apiVersion": api_version});
    Ok(match output {
        VersionOutput::Text => format!("{PLUGIN} {version} ({api_version})\n"),
        VersionOutput::Json => json_text(&document),
        VersionOutput::Yaml => yaml_text(&document)?,
    })
}

fn object_text(value: &Value, output: ObjectOutput) -> anyhow::Result<String> {
    match output {
        ObjectOutput::Json => Ok(json_text(value)),
        ObjectOutput::Yaml => yaml_text(value),
    }
}

fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn yaml_text(value: &Value) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("failed to print YAML")
}

fn done(outcome: anyhow::Result<()>) -> anyhow::Result<Outcome> {
    outcome.map(|()| Outcome::Ready)
}

fn note(what: &str) {
    eprint_line("note", what);
}

/// An error with its causes, in one line.
fn chained(error: &anyhow::Error) -> String {
    chain(error.as_ref())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parses(arguments: &[&str]) -> bool {
        Plugin::try_parse_from([PLUGIN].iter().chain(arguments)).is_ok()
    }

    #[test]
    fn arguments_are_taken_and_refused() {
        Plugin::command().debug_assert();
        let table: &[(&[&str], bool)] = &[
            (&[], false),
            (&["list"], true),
            (&["ls", "-n", "team-a", "-o", "json", "--not-ready"], true),
            (&["-n", "team-a", "list", "-o", "wide"], true),
            (&["list", "-n", "team-a", "-A"], false),
            (&["list", "-o", "xml"], false),
            (&["list", "--as", "jane", "--as-group", "team"], true),
            (&["list", "--as-group", "team"], false),
            (&["status"], false),
            (&["status", "a", "gateway/b", "-o", "yaml"], true),
            (&["status", "team-a/b"], false),
            (&["check"], false),
            (&["check", "a", "b", "-o", "junit"], true),
            (&["check", "-f", "a.yaml", "-n", "x"], true),
            (&["check", "a", "-f", "a.yaml"], false),
            (&["bundle", "--file", "a.tar.gz"], true),
            (&["refresh"], false),
            (&["refresh", "a", "--wait"], true),
            (&["refresh", "a", "--wait=30s", "b"], true),
            (&["refresh", "--wait", "a"], true),
            (&["refresh", "--wait=soon", "a"], false),
            (&["refresh", "--all", "-A"], true),
            (&["refresh", "--all", "a"], false),
            (&["suspend"], false),
            (&["resume", "a", "b"], true),
            (&["events", "vgw/a"], true),
            (&["version", "-o", "json"], true),
            (&["completion", "zsh"], true),
        ];
        for (arguments, expected) in table {
            assert_eq!(parses(arguments), *expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_flag_without_a_time_means_the_usual_one() {
        let waits =
            |arguments: &[&str]| match Plugin::parse_from([PLUGIN].iter().chain(arguments)).vconn.action {
                Action::Refresh(args) => args.wait.map(|wait| wait.as_secs()),
                _ => None,
            };
        assert_eq!(waits(&["refresh", "a"]), None);
        assert_eq!(waits(&["refresh", "--wait", "a"]), Some(60));
        assert_eq!(waits(&["refresh", "a", "--wait=5m"]), Some(300));
    }

    #[test]
    fn the_version_is_for_people_and_programs() {
        let text = version(VersionOutput::Json).expect("it serializes");
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["clientVersion"]["version"], env!("CARGO_PKG_VERSION"));
        assert!(version(VersionOutput::Text).expect("text").starts_with("kubectl-vconn "));
    }
}
