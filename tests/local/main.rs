//! What needs no server: whole parts of the operator in this process, over tables, recorded answers and random histories.

mod agreement;
mod check;
mod fixtures;
mod hostile;
mod log_reference;
mod logins;
mod manifests;
mod monitoring;
mod recorded;
#[path = "../manifests/table.rs"]
mod table;
