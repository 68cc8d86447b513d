//! Pools of mbufs.

use std::ffi::CString;
use std::ptr::NonNull;

use dpdk_sys as c;
use thiserror::Error;

use crate::burst::{BURST, Burst};
use crate::eal::Eal;
use crate::errno::{EEXIST, ENOBUFS, ENOMEM, Errno};
use crate::mbuf::Mbuf;

/// Buffer bytes per mbuf, headroom included, that hold any frame of a 1500-byte MTU port.
pub const DEFAULT_DATA_ROOM: u16 = c::SHIM_DEFAULT_DATA_ROOM as u16;

/// Mbufs a registered thread keeps to itself; measured, 128 is as good as 512 and three times as good
/// as none.
pub const DEFAULT_CACHE: u32 = 128;

/// A pool of fixed-size packet buffers, shared by ports and threads; a cheap handle to clone.
///
/// The memory of a pool is released with EAL's, so mbufs never dangle.
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<c::rte_mempool>,
    // Keeps the memory behind `pool` mapped.
    _eal: Eal,
}

// SAFETY: DPDK's mempool functions may be called by any number of threads at once: the pool is created
// with the multi-producer multi-consumer ring driver, and the caches belong to registered threads. Threads
// without a registration do without a cache.
unsafe impl Send for Mempool {}
// SAFETY: as for `Send`; a shared reference offers nothing that a clone does not.
unsafe impl Sync for Mempool {}

/// Why a pool cannot be created.
#[derive(Debug, Error)]
pub enum MempoolError {
    /// An argument out of its range.
    #[error("mempool {name:?}: {reason}")]
    Argument {
        /// The pool.
        name: String,
        /// Which argument and range.
        reason: String,
    },
    /// There is a pool of this name.
    #[error("mempool {name:?} exists already; names are unique in a process")]
    Exists {
        /// The pool.
        name: String,
    },
    /// EAL's memory does not hold it.
    #[error(
        "mempool {name:?} of {count} mbufs does not fit EAL's memory; it needs about {needed_mb} MiB: \
         give EAL more (-m), or use fewer mbufs"
    )]
    Memory {
        /// The pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// What they take.
        needed_mb: u64,
    },
    /// Anything else.
    #[error("mempool {name:?} cannot be created: {errno}")]
    Create {
        /// The pool.
        name: String,
        /// What DPDK said.
        errno: Errno,
    },
}

impl Mempool {
    /// Creates a pool of `count` mbufs (2^n - 1 uses memory best) with `data_room` bytes each, the
    /// headroom of [`crate::HEADROOM`] bytes included. Every registered thread caches up to one and a
    /// half times `cache` of them. `socket` is the NUMA node to take memory from; `None` is any.
    ///
    /// `count` must cover the descriptors of all RX and TX queues fed from the pool, the caches, and
    /// what workers hold.
    pub fn new(
        eal: &Eal,
        name: &str,
        count: u32,
        cache: u32,
        data_room: u16,
        socket: Option<u32>,
    ) -> Result<Mempool, MempoolError> {
        let argument = |reason| MempoolError::Argument {
            name: name.into(),
            reason,
        };
        let c_name = CString::new(name).map_err(|_| argument("the name has a NUL byte".into()))?;
        if cache > c::SHIM_MEMPOOL_CACHE_MAX || u64::from(cache) * 3 / 2 > u64::from(count) {
            let most = c::SHIM_MEMPOOL_CACHE_MAX;
            return Err(argument(format!(
                "a cache of {cache} is more than {most} or than two thirds of the {count} mbufs"
            )));
        }
        if u32::from(data_room) <= c::SHIM_HEADROOM {
            return Err(argument(format!(
                "a data room of {data_room} leaves nothing after the headroom"
            )));
        }
        let socket = socket.map_or(-1, |node| i32::try_from(node).unwrap_or(-1));
        // SAFETY: EAL is initialised (the caller holds a handle), and the name is a NUL-terminated string
        // that DPDK copies. DPDK checks the numbers.
        let pool = unsafe {
            c::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, data_room, socket)
        };
        let Some(pool) = NonNull::new(pool) else {
            let (name, errno) = (name.into(), Errno::last());
            return Err(match errno.code() {
                EEXIST => MempoolError::Exists { name },
                ENOMEM | ENOBUFS => MempoolError::Memory {
                    name,
                    count,
                    needed_mb: needed_mb(count, data_room),
                },
                _ => MempoolError::Create { name, errno },
            });
        };
        eal.pools().add(pool);
        Ok(Mempool {
            pool,
            _eal: eal.clone(),
        })
    }

    /// An empty mbuf with full headroom, or `None` when the pool is exhausted.
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is valid while `self` holds EAL.
        let mbuf = unsafe { c::shim_mbuf_alloc(self.pool.as_ptr()) };
        // SAFETY: a fresh mbuf is owned by nobody else, has one reference and one segment.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Appends `n` empty mbufs to `burst`. All or nothing: false when the pool has not that many, or the
    /// burst not the room.
    pub fn alloc_bulk(&self, burst: &mut Burst, n: usize) -> bool {
        let len = burst.len();
        if n > BURST - len {
            return false;
        }
        // SAFETY: the pool is valid while `self` holds EAL. The pointer is to at least `n` free slots of
        // the burst, for `n` is not more than its room.
        let failed =
            unsafe { c::shim_mbuf_alloc_bulk(self.pool.as_ptr(), burst.free_slots(), n as u32) };
        if failed != 0 {
            return false;
        }
        // SAFETY: the call above stored `n` mbufs, each owned by nobody else, after the first `len`.
        unsafe { burst.set_len(len + n) };
        true
    }

    /// Mbufs in the pool and its caches: a walk over all lcores, for monitoring and tests.
    pub fn available(&self) -> usize {
        // SAFETY: the pool is valid while `self` holds EAL.
        unsafe { c::rte_mempool_avail_count(self.pool.as_ptr()) as usize }
    }

    /// Mbufs the pool was created with.
    pub fn size(&self) -> usize {
        // SAFETY: the pool is valid while `self` holds EAL.
        unsafe { c::shim_pool_size(self.pool.as_ptr()) as usize }
    }

    /// Buffer bytes per mbuf, headroom included.
    pub fn data_room(&self) -> usize {
        // SAFETY: the pool is valid while `self` holds EAL, and it was created as a pool of mbufs.
        unsafe { c::shim_pool_data_room(self.pool.as_ptr()) as usize }
    }

    pub(crate) fn as_ptr(&self) -> *mut c::rte_mempool {
        self.pool.as_ptr()
    }
}

/// MiB that `count` mbufs take: their header, their buffer, the pool's own header per object.
fn needed_mb(count: u32, data_room: u16) -> u64 {
    let object = u64::from(c::SHIM_MBUF_SIZE) + u64::from(data_room) + 64;
    (u64::from(count) * object).div_ceil(1 << 20)
}
