//! Logins: which may be tried now, and what became of those that were.
//!
//! ```text
//!   first list of connections ─▶ restored ──┐
//!   what this connection remembers ─────────┼─▶ decide ─▶ Try ──▶ permit ─▶ accepted | refused | unknown
//!   the accounts of its role ───────────────┘        ├──▶ Wait ─▶ for the logins under way
//!                                                     └──▶ Hold ─▶ not before a time
//! ```
//!
//! Vault locks an AppRole for everybody after five refused logins
//! (<https://developer.hashicorp.com/vault/docs/concepts/user-lockout>), so the order of these questions stands in one place,
//! [`decide`]: the operator, the property model and the tests call it. Everything but [`logins`] and [`shutdown`] is pure.

pub mod account;
pub mod decide;
pub mod ledger;
pub mod logins;
pub mod pace;
pub mod restored;
pub mod shutdown;
