//! What the tree promises: layers, budgets, no orphans, complete kinds and login methods, and what may become part of the operator.
//!
//! These tests read files of the repository and nothing else. What they find is a rule of `CONTRIBUTING.md` or of
//! `docs/architecture.md` that a change has broken; the message says which file, and what to do.

mod budgets;
mod kinds;
mod layers;
mod methods;
mod orphans;
mod sources;
mod supply_chain;
