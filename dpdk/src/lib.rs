//! Safe layer over DPDK: memory pools, packet buffers, bursts, ports, threads.
//!
//! # Code map
//!
//! | file | what it holds |
//! |---|---|
//! | `eal.rs` | [`Eal`]: one per process, kept by everything else |
//! | `options.rs` | [`EalOptions`]: memory and devices, compiled to EAL's arguments |
//! | `mempool.rs` | [`Mempool`] |
//! | `mbuf.rs` | [`Mbuf`]: an owned packet, its bytes, room, flags |
//! | `burst.rs` | [`Burst`]: up to 32 mbufs on the stack |
//! | `port.rs` | [`Port`]: found by name, configured once, watched |
//! | `device.rs` | devices by name, and why one may be missing |
//! | `info.rs` | [`PortInfo`]: what a port is and can do |
//! | `config.rs` | [`PortConfig`]: what is wanted of it; [`PortWarning`]: what it cannot do |
//! | `rss.rs` | [`RssConfig`], [`RssTypes`]: spreading packets over queues |
//! | `setup.rs` | the steps that configure and start a port |
//! | `queue.rs` | [`RxQueue`], [`TxQueue`]: what a worker owns |
//! | `stats.rs` | [`PortStats`], [`Link`] |
//! | `ring.rs` | [`Ring`], and ports made of rings with their [`Wire`] |
//! | `thread.rs` | [`thread`]: registration, pinning, time-stamp counter |
//! | `cpus.rs` | [`CpuSet`]: thread affinity |
//! | `timestamp.rs` | where drivers put receive timestamps |
//! | `errno.rs` | [`Errno`] |
//!
//! The crate `dpdk-sys` beside it has the raw bindings.
//!
//! # Invariants
//!
//! - An mbuf has one owner: an [`Mbuf`], a [`Burst`], a [`Ring`] or a driver. It is never cloned or
//!   chained here, and dropping its owner frees it.
//! - Whatever refers to DPDK's memory holds an [`Eal`], except an [`Mbuf`], which must stay one pointer.
//!   So pools are never freed before EAL, and EAL is not cleaned up while an mbuf is out.
//! - A port has one owner, a queue has one user. Queues keep their port running.
//! - The path of a packet ([`RxQueue::burst`], [`Burst`], [`Mbuf`], [`TxQueue::send`]) neither
//!   allocates nor locks, and calls into DPDK once per burst.
//! - No thread is narrowed to a core unless it calls [`thread::pin`].
//! - Nothing of the load balancer is known here.
//!
//! # Why a crate of its own
//!
//! The published `capsule` (0.1.5) includes `rte_kni.h`, which today's DPDK no longer has; the published
//! `dpdk-sys` (0.1.5) builds a DPDK of its own, with a cross-compiled rdma-core that fails. Neither builds
//! against the DPDK of a distribution, and both claim `links = "dpdk"`, so they exclude each other. The
//! two layers here have the same split: raw bindings, and a safe layer that knows DPDK's rules.
//!
//! # Example
//!
//! ```no_run
//! use dpdk::{Burst, Eal, EalOptions, Mempool, Port, PortConfig};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let eal = Eal::init(EalOptions::no_huge(["net_null0"]).args())?;
//!     let pool = Mempool::new(&eal, "packets", 8191, 128, dpdk::DEFAULT_DATA_ROOM, None)?;
//!     let port = Port::by_name(&eal, "net_null0")?;
//!     let mut started = port.configure(&PortConfig::default(), &pool)?;
//!     let mut burst = Burst::new();
//!     started.rx[0].burst(&mut burst);
//!     started.tx[0].send(&mut burst);
//!     burst.clear();
//!     Ok(())
//! }
//! ```

mod burst;
mod config;
mod cpus;
mod device;
mod eal;
mod errno;
mod info;
mod mbuf;
mod mempool;
mod options;
mod port;
mod queue;
mod ring;
mod rss;
mod setup;
mod stats;
pub mod thread;
mod timestamp;

pub use burst::{BURST, Burst, Drain};
pub use config::{DEFAULT_DESCRIPTORS, PortConfig, PortWarning};
pub use cpus::CpuSet;
pub use eal::{Eal, EalError, version};
pub use errno::Errno;
pub use info::PortInfo;
pub use mbuf::{Checksum, HEADROOM, L4Checksum, Mbuf};
pub use mempool::{DEFAULT_CACHE, DEFAULT_DATA_ROOM, Mempool, MempoolError};
pub use options::{DEFAULT_MEMORY_MB, EalOptions, Huge};
pub use port::{Port, PortError, Started};
pub use queue::{RxQueue, TxQueue};
pub use ring::{MAX_RING_QUEUES, Ring, Wire};
pub use rss::{RssConfig, RssTypes};
pub use stats::{Link, PortStats};
