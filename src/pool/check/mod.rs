//! The rules that a configuration obeys beyond what single values can say.
//!
//! [`pool`](pool()) holds a pool against itself, wherever it comes from; [`rail`](rail()) holds one
//! rail's own part against itself, against the pool and against the machine.

mod claims;
mod packet_size;
mod paths;
mod pool;
mod ports;
mod rail;

pub use pool::{MAX_SERVICE_BACKENDS, pool};
pub use rail::{Rail, rail};
