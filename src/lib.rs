//! The operator behind the kind `VaultConnection`, as a library for its binaries and its tests.
//!
//! Layers, lowest first; a module uses only what stands above it. `tests/tidy` holds that.
//!
//! ```text
//!   names        names, addresses and mounts, valid by construction                pure
//!   schema       the form of a field, in Rust and in CEL                         pure
//!   auth         one file a login method                                         pure
//!   api          what users write and read                                       pure
//!   spec         specs, parsed into types that make later steps infallible       pure
//!   conditions   the only code that builds a condition                           pure
//!   references   from the objects that a connection names to its credentials     pure
//!   network      which addresses may be dialled, proxies, TLS, the dialling      address policy, route and faults are pure
//!   vault        what to ask Vault, and how to read its answer                   pure, but for client
//!   verify       what a check found, what it means, and when to check again      pure
//!   session      which logins may be tried, and who has the login that is kept   course and decide are pure
//!   cluster      the Kubernetes API                                              I/O
//!   telemetry    logs, metrics, probes                                           I/O
//!   check        the steps of one check                                          I/O
//!   controller   when to check, and what becomes of it                           I/O
//!   cli          the command line                                                I/O
//! ```

pub mod api;
pub mod auth;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod conditions;
pub mod controller;
pub mod manifests;
pub mod names;
pub mod network;
pub mod references;
pub mod schema;
pub mod session;
pub mod spec;
pub mod telemetry;
pub mod vault;
pub mod verify;
