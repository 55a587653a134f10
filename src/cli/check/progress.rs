//! How far a run is, on a terminal only.

use std::{
    io::{self, IsTerminal as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::cli::output::say;

/// Back to the begin of the line, and nothing in it.
const CLEAR: &str = "\r\u{1b}[K";

/// Counts what is done.
pub(super) struct Progress {
    all: usize,
    done: AtomicUsize,
    shown: bool,
}

// === impl Progress ===

impl Progress {
    /// Says how much there is to do. One check needs no progress.
    pub(super) fn begin(all: usize) -> Self {
        let progress = Self { all, done: AtomicUsize::new(0), shown: all > 1 && is_terminal() };
        progress.show(0);
        progress
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.show(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }

    fn show(&self, done: usize) {
        if self.shown {
            say(&format!("{CLEAR}checked {done} of {}", self.all));
        }
    }
}

/// Makes room for another line.
pub(super) fn clear() {
    if is_terminal() {
        say(CLEAR);
    }
}

fn is_terminal() -> bool {
    io::stderr().is_terminal()
}
