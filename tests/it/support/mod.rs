//! What the tests stand on.

pub mod access;
pub mod audit;
pub mod bed;
pub mod cluster;
pub mod endpoint;
pub mod fakes;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod root;
pub mod specs;
pub mod throttle;
pub mod vault;
pub mod verdict;
pub mod wait;
