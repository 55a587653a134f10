//! The network path to an instance: which addresses may be dialled ([`address_policy`], by the [`entry`]s that an administrator
//! gives and what is [`protected`] without them), the policy that holds now ([`policy_file`]), and the dialling ([`dial`]).

pub mod address_policy;
pub mod carried;
pub mod chain;
pub mod connect;
mod conversation;
pub mod dial;
pub mod entry;
pub mod faults;
pub mod fence;
pub mod http;
mod lookups;
pub mod p521;
pub mod policy_file;
pub mod pool;
pub mod protected;
mod race;
pub mod route;
mod stream;
pub mod tls;
mod tunnel;
pub mod wire;
