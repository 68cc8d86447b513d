//! Receive timestamps: where drivers put them, and in which unit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as c;

/// The place and the flag that DPDK assigned for the process's lifetime.
struct Field {
    offset: usize,
    flag: u64,
}

static FIELD: OnceLock<Option<Field>> = OnceLock::new();

/// The driver whose timestamps are times.
pub(crate) const PCAP_DRIVER: &str = "net_pcap";

/// Nanoseconds per tick by port number; zero for a port whose clock counts something else.
static NS_PER_TICK: [AtomicU32; c::SHIM_MAX_ETHPORTS as usize] =
    [const { AtomicU32::new(0) }; c::SHIM_MAX_ETHPORTS as usize];

/// Notes the unit of a port's timestamps. NICs count cycles of a clock of their own, which is not a
/// time; `net_pcap` gives the capture's time.
pub(crate) fn set_driver(port: u16, driver: &str) {
    let Some(slot) = NS_PER_TICK.get(usize::from(port)) else {
        return;
    };
    let unit = if driver == PCAP_DRIVER {
        c::SHIM_PCAP_NS_PER_TICK
    } else {
        0
    };
    slot.store(unit, Ordering::Relaxed);
    if unit != 0 {
        FIELD.get_or_init(register);
    }
}

/// The timestamp's offset in the mbuf header and its unit, when the packet carries one.
pub(crate) fn of_packet(ol_flags: u64, port: u16) -> Option<(usize, u32)> {
    let field = FIELD.get()?.as_ref()?;
    if ol_flags & field.flag == 0 {
        return None;
    }
    match NS_PER_TICK.get(usize::from(port))?.load(Ordering::Relaxed) {
        0 => None,
        unit => Some((field.offset, unit)),
    }
}

fn register() -> Option<Field> {
    let (mut offset, mut flag) = (-1, 0);
    // SAFETY: called with EAL initialised (there is a port); both pointers are to valid variables. DPDK
    // gives every caller the same answer.
    let failed = unsafe { c::rte_mbuf_dyn_rx_timestamp_register(&mut offset, &mut flag) };
    if failed != 0 {
        return None;
    }
    Some(Field {
        offset: usize::try_from(offset).ok()?,
        flag,
    })
}
