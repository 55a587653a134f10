//! What needs no server: whole parts of the operator in this process, over tables, recorded answers and random histories.

mod agreement;
mod chart_values;
mod check;
mod docs;
mod fixtures;
mod hostile;
mod log_reference;
mod logins;
mod manifests;
mod monitoring;
mod plugin;
mod reconcile;
mod recorded;
mod sessions;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests on real servers need more of it")]
mod support;
#[path = "../manifests/table.rs"]
mod table;
