//! What a check found, what it means, and when to check again.
//!
//! ```text
//!   Observation ─▶ stability: report it at once?
//!        └─▶ judge ─▶ verdicts ─▶ report ─▶ next status ─▶ transition ─▶ event
//!                                    │
//!   Memory ─▶ plan                   └─▶ schedule ─▶ time of the next check
//! ```
//!
//! Pure: values in, values out. `now` and jitter are arguments.

pub mod ages;
pub mod engine;
pub mod events;
pub mod gateway;
pub mod judge;
pub mod kept;
pub mod memory;
mod messages;
pub mod observation;
pub mod report;
pub mod sanitize;
pub mod schedule;
pub mod session;
pub mod stability;
pub mod status;
pub mod urgency;

#[cfg(test)]
pub(crate) mod testing;
