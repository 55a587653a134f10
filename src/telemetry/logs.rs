//! Logs on standard error.
//!
//! What is never logged: values of Secrets, tokens, bodies of answers, URL queries. The types that hold them do not
//! print.

use std::{
    io::{self, IsTerminal as _},
    panic,
};

use clap::ValueEnum;
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
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    // What a panic says may hold anything that was worked on: only its place is told.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        tracing::error!(place, "a defect of the operator; report it with this place");
    }));
}

/// An error with all its causes, in one line. A cause that the text before it already tells is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
