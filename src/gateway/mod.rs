//! The network path to an instance: which addresses may be dialled ([`route`]), and the dialling ([`dial`]).

pub mod connect;
pub mod dial;
mod handover;
pub mod http;
pub mod pool;
mod race;
pub mod route;
mod tunnel;
pub mod way;
