//! The synchronisation types that the shared tables use. The concurrency model in `tests/loom.rs`
//! compiles the same table sources against its own module of this name, made of loom's types, and
//! so explores their interleavings; everywhere else these are the standard library's.

pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Atomic words.
pub mod atomic {
    pub use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
}
