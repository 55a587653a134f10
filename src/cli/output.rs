//! Standard output and standard error. Whoever reads them may stop reading at any time.

use std::{
    io::{self, Write as _},
    process,
};

use anyhow::Context as _;

use crate::names::text::printable;

/// The exit code of a program that SIGPIPE ends: 128 and the number of the signal. It claims nothing of what was found.
const BROKEN_PIPE: i32 = 141;

/// Writes a text to standard output.
pub(in crate::cli) fn print(text: &str) -> anyhow::Result<()> {
    write(text.as_bytes())
}

/// Writes to standard output. If nobody reads it any more, the process ends, as SIGPIPE ends others.
pub(in crate::cli) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(BROKEN_PIPE),
        written => written.context("failed to write to standard output"),
    }
}

/// One line on standard error.
pub(in crate::cli) fn eprint_line(word: &str, what: &str) {
    say(&format!("{word}: {}\n", printable(what)));
}

/// Writes to standard error. A text that nobody reads is no failure.
pub(in crate::cli) fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
