//! Sessions: who may log in, what became of it, and who has the login that is kept.
//!
//! ```text
//!   Sessions::acquire ─▶ course ─▶ decide ─▶ permit ─▶ login ─▶ Lease ─▶ given back ─▶ kept, or revoked
//!   (check, later others)   ▲         ▲                  │
//!                        Entry     accounts of the role ◄┘ accepted | refused | unknown
//! ```
//!
//! Vault locks an AppRole for everybody after five refused logins
//! (<https://developer.hashicorp.com/vault/docs/concepts/user-lockout>), so the order of these questions stands in one place:
//! [`course`] for one connection, [`decide`] for the right to log in. The operator, the property model and the tests call them. Both are
//! pure, as are `account`, `ledger`, `pace` and `restored`.

pub mod account;
pub mod acquire;
pub mod course;
pub mod decide;
pub mod entry;
pub mod instances;
pub mod ledger;
pub mod lending;
mod login;
pub mod logins;
pub mod pace;
mod reach;
pub mod restored;
pub mod sessions;
pub mod shutdown;
