//! Logs on standard error.
//!
//! What is never logged: values of Secrets, tokens, bodies of answers, URL queries. The types that hold them do not
//! print.

use std::{
    error::Error,
    io::{self, IsTerminal as _},
    panic,
};

use clap::ValueEnum;
use kube::client::AuthError;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// Starts logging. Libraries below us say more than `info` only when asked for `trace`.
pub fn start(format: LogFormat, level: Level) {
    let below = if level == Level::TRACE { Level::DEBUG } else { level.min(Level::INFO) };
    let filter = Targets::new()
        .with_default(below)
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // It logs what it returns to us, and whole bodies of answers that it cannot read: those of Secrets among them.
        .with_target("kube_client::client", LevelFilter::OFF);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // It would tell of a log that cannot be written on the same standard error, and panic when that is closed.
    let lines = lines.log_internal_errors(false);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // What a panic says may hold anything that was worked on: only its place is told.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        tracing::error!(place, "bug in the operator; please report it with this place");
    }));
}

/// An error with all its causes, in one line. A cause that the text before it already tells is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut hidden = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            let between = if text.is_empty() { "" } else { ": " };
            text.push_str(between);
            text.push_str(&words);
        }
        hidden.extend(shown_instead(error).map(|shown| (words, shown)));
        next = error.source();
    }
    // Errors repeat what their causes say.
    hidden.iter().fold(text, |text, (words, shown)| text.replace(words, shown))
}

/// What is shown of an error whose own text quotes the output of a credential plugin, and so perhaps a token.
fn shown_instead(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<AuthError>()? {
        AuthError::AuthExecRun { out, .. } => Some(format!("the credential plugin failed ({})", out.status)),
        AuthError::AuthExecParse(_) => {
            Some("the credential plugin did not print an ExecCredential".to_owned())
        }
        _ => None,
    }
}
