//! What a check found, what it means, and when to look again.
//!
//! ```text
//!   Observation ─▶ stability: a second look first?
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
pub mod memory;
mod messages;
pub mod observation;
pub mod report;
pub mod sanitize;
pub mod schedule;
pub mod session;
pub mod stability;
pub mod urgency;

#[cfg(test)]
pub(crate) mod testing;
