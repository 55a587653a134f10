//! What a check found, what it means, and when to look again.
//!
//! ```text
//!   Observation ─▶ belief: a second look first?
//!        └─▶ judge ─▶ verdicts ─▶ report ─▶ next status ─▶ transition ─▶ event
//!                                    │
//!   Memory ─▶ plan                   └─▶ schedule ─▶ time of the next check
//! ```
//!
//! Pure: values in, values out. `now` and jitter are arguments.

pub mod belief;
pub mod engine;
pub mod events;
pub mod gateway;
pub mod judge;
pub mod memory;
pub mod observation;
pub mod report;
pub mod schedule;
pub mod session;
pub mod shown;
mod words;

#[cfg(test)]
pub(crate) mod testing;
