//! The network path to an instance: which addresses may be dialled ([`route`], by the [`entry`]s that an administrator
//! gives and what is [`protected`] without them), the policy that holds now ([`policy`]), and the dialling ([`dial`]).

pub mod dial;
pub mod entry;
pub mod policy;
pub mod protected;
pub mod route;
