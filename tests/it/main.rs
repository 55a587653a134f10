//! Whole passes: the real binary against a real API server and a real Vault, all on 127.0.0.1.
//!
//! ```text
//!   hack/bed run -- cargo test --locked --test it
//! ```
//!
//! Each test has a namespace of its own, an operator that watches only that, and an auth method (or a whole Vault) of
//! its own; so tests run side by side, and what one counts is its own doing.

mod bad_input;
mod check;
mod crash;
mod faults_credentials;
mod faults_fake;
mod faults_matrix;
mod faults_network;
mod faults_openbao;
mod faults_server;
mod faults_table;
mod first_check;
mod kube_busy;
mod kube_faults;
mod kube_rights;
mod kube_watch;
mod leases;
mod lifecycle;
mod manifests;
mod outages;
mod overdue;
mod replicas;
mod rotation;
mod settled;
mod start;
mod support;
