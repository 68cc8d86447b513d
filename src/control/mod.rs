//! From desired state to the snapshot workers read, and everything else the control core does.

mod announce;
pub mod compile;
pub mod desired;
mod drains;
pub mod health;
mod hops;
pub mod ids;
mod meet;
mod notes;
mod observed;
pub mod offer;
mod own;
mod paths;
pub mod peering;
pub mod plan;
mod probe;
pub mod rail;
mod solicit;
mod tables;
pub mod trace;
pub mod traffic;
mod ways;
