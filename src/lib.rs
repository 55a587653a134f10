//! The operator behind the kind `VaultConnection`, as a library for its binaries and its tests.
//!
//! Layers, lowest first; a module uses only what stands above it. `layers.rs` holds that.
//!
//! ```text
//!   text         which characters may be shown                                  pure
//!   refs         names and addresses, valid by construction                     pure
//!   api          what users write and read                                      pure
//!   conditions   the only code that builds a condition                          pure
//!   secrets      from the objects that a connection names to its credentials    pure
//!   gateway      which addresses may be dialled, and the dialling               entry, protected, route, way are pure
//!   vault        what to ask Vault, and how to read its answer                  pure, but for client and tls
//!   verify       what a check found, what it means, and when to look again      pure
//!   session      which logins may be tried, and what became of them            pure, but for logins
//!   cluster      the Kubernetes API                                             I/O
//!   telemetry    logs, metrics, probes                                          I/O
//!   controller   the order of the steps                                         I/O
//!   cli          the command line                                               I/O
//! ```

pub mod api;
pub mod cli;
pub mod cluster;
pub mod conditions;
pub mod controller;
pub mod gateway;
#[cfg(test)]
mod layers;
pub mod manifests;
pub mod refs;
pub mod secrets;
pub mod session;
#[cfg(test)]
mod supply_chain;
pub mod telemetry;
pub mod text;
pub mod vault;
pub mod verify;
