//! The network path to an instance: which addresses may be dialled ([`route`]), and the dialling ([`dial`]).

pub mod dial;
pub mod route;
