//! EAL, DPDK's environment: memory, buses, drivers. One per process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use dpdk_sys as c;
use thiserror::Error;

use crate::cpus::CpuSet;
use crate::errno::{ENODEV, Errno};
use crate::options::leading_args;

/// Proof that EAL is initialised; a cheap handle to clone and hand around.
///
/// Pools, ports, queues, rings and thread registrations hold a handle of their own, so EAL outlives
/// them all whatever the order they are dropped in. When the last handle goes, on the thread that
/// initialised EAL, and every mbuf is back in its pool, EAL is cleaned up. Otherwise it stays until the
/// process ends: an [`crate::Mbuf`] carries no handle, so its memory must not be unmapped under it.
#[derive(Clone)]
pub struct Eal {
    shared: Arc<Shared>,
}

/// Why EAL cannot be initialised.
#[derive(Debug, Error)]
pub enum EalError {
    /// DPDK cannot be initialised twice in a process, not even after a failure or a clean-up.
    #[error("EAL was initialised before in this process, and DPDK allows that only once")]
    AlreadyInitialised,
    /// An argument EAL cannot be given.
    #[error("EAL argument {argument:?} {reason}")]
    Argument {
        /// The argument.
        argument: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The calling thread's CPUs cannot be read, or not restored afterwards.
    #[error("cannot {action} the CPU affinity of the calling thread: {errno}")]
    Affinity {
        /// Read or restore.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// DPDK's own failure; it logged the details to stderr.
    #[error("EAL does not start with `{arguments}`: {errno}. {way_out}")]
    Init {
        /// The arguments as given.
        arguments: String,
        /// What DPDK said.
        errno: Errno,
        /// What to check.
        way_out: String,
    },
}

/// Set by the first call of [`Eal::init`] and never cleared.
static INITIALISED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Initialises EAL with these arguments, for example those of [`crate::EalOptions::args`].
    ///
    /// The calling thread becomes DPDK's main lcore (it need not be registered), but neither it nor any
    /// thread it starts is bound to fewer CPUs than before.
    ///
    /// A device that fails to probe does not fail this call: look each one up with
    /// [`crate::Port::by_name`].
    pub fn init(args: impl IntoIterator<Item = String>) -> Result<Eal, EalError> {
        let args: Vec<String> = args.into_iter().collect();
        refuse_exiting(&args)?;
        let affinity = |action| move |errno| EalError::Affinity { action, errno };
        let cpus = CpuSet::of_this_thread().map_err(affinity("read"))?;
        let mut argv = c_strings(leading_args(&cpus).iter().chain(&args))?;
        let argc = c_int::try_from(argv.len()).map_err(|_| EalError::Argument {
            argument: args.last().cloned().unwrap_or_default(),
            reason: "is one too many",
        })?;
        if INITIALISED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyInitialised);
        }
        // SAFETY: `argv` holds `argc` pointers to NUL-terminated strings that are never freed, so EAL may
        // permute the array during the call and keep the strings. The flag above makes this the only
        // call in the process, which is what DPDK requires.
        let parsed = unsafe { c::rte_eal_init(argc, argv.as_mut_ptr()) };
        let errno = Errno::last();
        let restored = cpus.apply_to_this_thread().map_err(affinity("restore"));
        if parsed < 0 {
            return Err(EalError::Init {
                arguments: args.join(" "),
                errno,
                way_out: way_out(&args, errno),
            });
        }
        let eal = Eal {
            shared: Arc::new(Shared::new()),
        };
        restored?;
        Ok(eal)
    }

    /// The pools, for registration and for the check at the end.
    pub(crate) fn pools(&self) -> MutexGuard<'_, Pools> {
        lock(&self.shared.pools)
    }

    /// The ports that have an owner, by DPDK's port number.
    pub(crate) fn claimed_ports(&self) -> MutexGuard<'_, Vec<u16>> {
        lock(&self.shared.claimed_ports)
    }
}

/// The version of the DPDK that runs, such as `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: returns a NUL-terminated string in static memory; callable before initialisation.
    let version = unsafe { CStr::from_ptr(c::rte_version()) };
    version.to_string_lossy().into_owned()
}

/// Every pool of the process. Pools are freed with EAL's memory, never before.
#[derive(Default)]
pub(crate) struct Pools(Vec<NonNull<c::rte_mempool>>);

// SAFETY: a pool's functions are safe to call from any thread (multi-producer, multi-consumer), and the
// pointers are valid until EAL is cleaned up.
unsafe impl Send for Pools {}

impl Pools {
    pub(crate) fn add(&mut self, pool: NonNull<c::rte_mempool>) {
        self.0.push(pool);
    }

    /// Mbufs that are not in their pool: held by someone, or by a port.
    fn mbufs_out(&self) -> usize {
        let out = |pool: &NonNull<c::rte_mempool>| {
            // SAFETY: pools stay valid until EAL is cleaned up, and `self` is dropped before that.
            let (size, home) = unsafe {
                (
                    c::shim_pool_size(pool.as_ptr()),
                    c::rte_mempool_avail_count(pool.as_ptr()),
                )
            };
            size.saturating_sub(home) as usize
        };
        self.0.iter().map(out).sum()
    }
}

/// What all handles share; dropping it ends EAL.
struct Shared {
    main: ThreadId,
    pools: Mutex<Pools>,
    claimed_ports: Mutex<Vec<u16>>,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            main: thread::current().id(),
            pools: Mutex::default(),
            claimed_ports: Mutex::default(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // On another thread, the main one might be freeing an mbuf right now: into a cache that has
        // already counted it but not yet stored it.
        if thread::current().id() != self.main {
            return;
        }
        // Besides forgotten ones, these are the mbufs that some drivers (AF_XDP) do not give back when
        // their port is closed; nothing that the end of the process will not free.
        if lock(&self.pools).mbufs_out() != 0 {
            return;
        }
        // SAFETY: EAL was initialised, and this runs once, as the last handle goes: no port, pool handle,
        // ring or registered thread is left, for each holds a handle. No mbuf is left either: all are in
        // their pools, which nobody can allocate from any more. A free that still runs can only be one of
        // an unregistered thread, which has no cache and whose last access to the pool is the store that
        // made the count above complete.
        unsafe { c::rte_eal_cleanup() };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data are plain lists, whole after every operation, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// EAL ends the process on its help option; that is no way to treat a caller.
fn refuse_exiting(args: &[String]) -> Result<(), EalError> {
    match args
        .iter()
        .find(|arg| ["-h", "--help"].contains(&arg.as_str()))
    {
        None => Ok(()),
        Some(argument) => Err(EalError::Argument {
            argument: argument.clone(),
            reason: "would end the process; see the manual page of dpdk-testpmd or DPDK's EAL parameters",
        }),
    }
}

/// The strings as EAL wants them. They are leaked, once per process: EAL may keep pointers to them.
fn c_strings<'a>(args: impl Iterator<Item = &'a String>) -> Result<Vec<*mut c_char>, EalError> {
    let strings: Result<Vec<CString>, EalError> = args
        .map(|arg| {
            CString::new(arg.as_str()).map_err(|_| EalError::Argument {
                argument: arg.clone(),
                reason: "contains a NUL byte",
            })
        })
        .collect();
    Ok(strings?.into_iter().map(CString::into_raw).collect())
}

/// The likely causes, where DPDK's lines on stderr have the details.
fn way_out(args: &[String], errno: Errno) -> String {
    let devices: Vec<&str> = args
        .iter()
        .filter_map(|arg| arg.strip_prefix("--vdev="))
        .collect();
    if errno.code() == ENODEV && !devices.is_empty() {
        return format!(
            "This DPDK has no driver for {} {}: is the name right, and is the driver installed, or part \
             of a static build?",
            if devices.len() == 1 {
                "the device"
            } else {
                "one of the devices"
            },
            devices.join(" ")
        );
    }
    let cause = if args.iter().any(|arg| arg == "--no-huge") {
        "the memory asked for with -m, or an unknown argument"
    } else {
        "too few free huge pages: reserve some with `echo 512 > /proc/sys/vm/nr_hugepages`, or do \
         without by --no-huge"
    };
    format!("DPDK's lines above name the cause; often {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_nul_are_refused_before_dpdk_sees_them() {
        let help = Eal::init(["--help".to_owned()]).err().expect("refused");
        assert!(help.to_string().contains("--help"), "{help}");
        let nul = Eal::init(["-m\0".to_owned()]).err().expect("refused");
        assert!(nul.to_string().contains("NUL"), "{nul}");
    }

    #[test]
    fn version_names_dpdk() {
        assert!(version().starts_with("DPDK "), "{}", version());
    }
}
