//! What the tests stand on.

pub mod access;
pub mod audit;
pub mod bed;
pub mod canary;
pub mod check;
pub mod cluster;
pub mod curl;
pub mod docs;
pub mod endpoint;
pub mod fakes;
pub mod history;
pub mod limit;
pub mod memory;
pub mod operator;
pub mod private;
pub mod process;
pub mod proxy;
pub mod root;
pub mod scene;
pub mod specs;
pub mod tamper;
pub mod throttle;
pub mod tunnel;
pub mod vault;
pub mod verdict;
pub mod wait;
