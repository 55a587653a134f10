//! The network path to an instance: which addresses may be dialled ([`route`], by the [`entry`]s that an administrator
//! gives and what is [`protected`] without them), the policy that holds now ([`policy`]), and the dialling ([`dial`]).

pub mod carried;
pub mod connect;
mod conversation;
pub mod dial;
pub mod entry;
pub mod http;
mod lookups;
pub mod policy;
pub mod pool;
pub mod protected;
mod race;
pub mod route;
mod stream;
mod tunnel;
pub mod way;
