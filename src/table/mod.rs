//! State that packets look up: Maglev tables, connections, neighbours, and the snapshot all workers
//! share. Everything here is pure: time is passed in, nothing reads a clock or a file.
//!
//! | module | what it holds | who writes |
//! |---|---|---|
//! | [`counters`] | what a worker counts, and the closed list of drop reasons | its worker |
//! | [`hash`] | the pool's hash key and the flow hash every lookup starts from | nobody |
//! | [`adjacency`] | the way of plain packets to a backend, in one cache line | control |
//! | [`conn`] | flow to backend, for the flows seen: one table per worker | its worker |
//! | [`fragment`] | datagram to backend, while its fragments arrive: one table per rail | every worker |
//! | [`host`] | what the bridge to the host counts | its thread |
//! | [`limiter`] | a token bucket | its owner |
//! | [`maglev`] | slot to backend, rebuilt whole when a service changes | control |
//! | [`neighbor`] | next hop to MAC address, and when to ask for it | control |
//! | [`service`] | which service a packet is for | control |
//! | [`routes`] | services steered by hashes alone: key to slots to ways | control |
//! | [`shortcuts`] | what plain packets look up, in as few cache lines as can be | control |
//! | [`slots`] | the slots of a Maglev table, a byte or two each | control |
//! | [`snapshot`] | everything above that workers share, at one moment | control |
//! | [`template`] | the headers in front of a packet to one backend | control |
//! | [`news`] | what workers tell the control core | workers |
//! | [`peers`] | the other rails: who owns which fragments, and the way there | control |
//! | [`path`] | what routers said about the MTU of paths to tunnel ends | control |
//! | [`port`] | a port's state and counters, to show | nobody |
//! | [`publish`] | the swap: one publisher's value, read by every worker once per burst | control |

pub mod adjacency;
pub mod claim;
pub mod conn;
pub mod counters;
mod exact;
pub mod fragment;
pub mod hash;
pub mod host;
mod key;
mod lanes;
pub mod limiter;
pub mod maglev;
mod modulo;
pub mod neighbor;
pub mod news;
pub mod path;
pub mod peers;
mod populate;
pub mod port;
mod prime;
pub mod publish;
pub mod routes;
pub mod service;
pub mod shortcuts;
pub mod slots;
pub mod snapshot;
pub mod template;
mod units;

pub use hash::FlowHash;
pub use key::{HashKey, HashKeyError};
pub use units::{BackendId, BackendIdError, IdSet, Nanos, Tick};
