//! Whole passes: the real binary against a real API server and a real Vault, all on 127.0.0.1.
//!
//! ```text
//!   hack/bed run -- cargo test --locked --test it
//! ```
//!
//! Each test has a namespace of its own, an operator that watches only that, and an auth method (or a whole Vault) of
//! its own; so tests run side by side, and what one counts is its own doing.

mod address_policy;
mod addresses;
mod admin_port;
mod bad_input;
mod check;
mod check_files;
mod check_gateways;
mod check_ledger;
mod cluster_nodes;
mod crash;
mod descriptors;
mod engines;
mod fairness;
mod fakes_gateway;
mod fakes_tls;
mod fakes_tunnel;
mod faults_answers;
mod faults_credentials;
mod faults_fake;
mod faults_matrix;
mod faults_network;
mod faults_openbao;
mod faults_server;
mod faults_table;
mod first_check;
mod forged;
mod gateway_access;
mod gateway_count;
mod gateway_faults;
mod gateway_pools;
mod gateway_tunnel;
mod gateways;
mod hostile;
mod hostile_load;
mod kube_busy;
mod kube_faults;
mod kube_proxy;
mod kube_rights;
mod kube_watch;
mod leases;
mod lifecycle;
mod login_accounts;
mod login_methods;
mod manifests;
mod memory_limit;
mod metrics;
mod names;
mod oracle;
mod outages;
mod overdue;
mod plugin;
mod rebinding;
mod replicas;
mod rotation;
mod scale;
mod secrets;
mod secrets_in_memory;
mod security_table;
mod settled;
mod shards;
mod start;
mod status_page;
mod support;
mod tls;
mod tls_rotation;
mod truth;
