//! `rustyrail`: a layer-4 load balancer. Maglev in Rust on DPDK, with a control plane whose state is
//! a Git repository.
//!
//! # Code map
//!
//! | module | what it holds |
//! |---|---|
//! | [`wire`] | header views over bytes: one header per file, no state, no I/O |
//! | [`table`] | state that packets look up: Maglev, connections, neighbours, the snapshot; pure, `now` is passed in |
//! | [`pipeline`] | sans-IO packet path: frames in, verdicts out |
//! | [`worker`] | the run-to-completion loop over DPDK queues; with `main` the only importer of `dpdk` |
//! | [`pool`] | the desired state as types: services, backends, peers; the configuration file |
//! | [`store`] | objects, trees, branches, commits, typed merge, transactions |
//! | [`control`] | desired state to snapshot; neighbours; the control core |
//! | [`api`] | HTTP on the control core: REST, `/metrics`, `/healthz` |
//! | [`cli`] | one file per verb of `rail` |
//! | [`testkit`] | packet builder and simulated rails for tests |
//! | [`sync`] | the synchronisation types of the shared tables, exchanged for loom's in their model |
//! | [`cpu`] | which instructions the binary was built for, and whether a CPU has them |
//! | [`smaps`] | what the kernel tells of the memory of a table |
//! | [`hw`] | prefetch, huge-page memory, a look at the CPU before `main`: the only file of `src/` with `unsafe` |
//!
//! # Invariants
//!
//! - Dependencies point one way: `worker -> pipeline -> table -> wire`, `control -> {store, pool, table}`,
//!   `api, cli -> control`. `pipeline` never sees a port, a store or a clock; `table` never sees `pool`.
//! - The packet path returns no `Result`, takes no lock, allocates nothing, logs nothing.
//! - Every drop has a reason, every reason a counter, every counter a Prometheus label.
//! - Nothing here is `unsafe` outside [`hw`]; the DPDK boundary is the crate `dpdk`.

pub mod api;
pub mod cli;
pub mod control;
pub mod cpu;
pub mod hw;
pub mod pipeline;
pub mod pool;
pub mod smaps;
pub mod store;
pub mod sync;
pub mod table;
pub mod testkit;
pub mod wire;
pub mod worker;
