//! What the operator tells of itself: logs, metrics, probes, the status page.

pub mod logs;
pub mod metrics;
pub mod page;
pub mod serve;
