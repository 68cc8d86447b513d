//! Ports made of rings: what one end sends the other receives, without a wire. For tests that inject
//! and collect packets queue by queue, and for traffic between threads.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as c;

use crate::burst::Burst;
use crate::eal::Eal;
use crate::errno::{EINVAL, Errno};
use crate::port::{Port, PortError};

/// Queues per direction that the ring driver can have.
pub const MAX_RING_QUEUES: u16 = 16;

/// A FIFO of mbufs between any number of threads; a cheap handle to clone. It owns the mbufs in it.
#[derive(Clone)]
pub struct Ring {
    inner: Arc<Inner>,
}

struct Inner {
    ring: NonNull<c::rte_ring>,
    // Keeps the memory behind `ring` mapped.
    _eal: Eal,
}

// SAFETY: the ring is created without the single-producer and single-consumer flags, so any number of
// threads may enqueue and dequeue at once. The last handle frees it, when nobody uses it.
unsafe impl Send for Inner {}
// SAFETY: as for `Send`.
unsafe impl Sync for Inner {}

impl Ring {
    /// Creates a ring for at least `capacity` mbufs.
    pub fn new(eal: &Eal, name: &str, capacity: u32) -> Result<Ring, PortError> {
        let error = |errno| PortError::Step {
            port: name.into(),
            step: "create the ring",
            errno,
        };
        let c_name = CString::new(name).map_err(|_| error(Errno::from_return(EINVAL)))?;
        // A ring of DPDK's holds one less than its size, a power of two.
        let size = capacity
            .checked_add(1)
            .and_then(u32::checked_next_power_of_two)
            .ok_or_else(|| error(Errno::from_return(EINVAL)))?;
        // SAFETY: EAL is initialised, and the name is a NUL-terminated string that DPDK copies. -1 is any
        // NUMA node; no flags mean many producers and many consumers.
        let ring = unsafe { c::rte_ring_create(c_name.as_ptr(), size, -1, 0) };
        let ring = NonNull::new(ring).ok_or_else(|| error(Errno::last()))?;
        Ok(Ring {
            inner: Arc::new(Inner {
                ring,
                _eal: eal.clone(),
            }),
        })
    }

    /// Moves mbufs from the front of `burst` into the ring, as many as fit, and returns how many. The
    /// others move to the burst's front.
    pub fn enqueue(&self, burst: &mut Burst) -> usize {
        let len = burst.len() as u32;
        // SAFETY: the ring is valid while `self` holds it; the first `len` slots hold the burst's mbufs.
        let taken =
            unsafe { c::shim_ring_enqueue_burst(self.as_ptr(), burst.as_raw(), len) } as usize;
        // SAFETY: the first `taken <= len` mbufs belong to the ring now.
        unsafe { burst.forget_front(taken) };
        taken
    }

    /// Appends mbufs from the ring to `burst`, as many as it has room for, and returns how many.
    pub fn dequeue(&self, burst: &mut Burst) -> usize {
        let (len, room) = (burst.len(), burst.room() as u32);
        // SAFETY: the ring is valid while `self` holds it; the pointer is to `room` free slots.
        let n =
            unsafe { c::shim_ring_dequeue_burst(self.as_ptr(), burst.free_slots(), room) } as usize;
        // SAFETY: `n <= room` mbufs, which belonged to the ring, were stored after the first `len`.
        unsafe { burst.set_len(len + n) };
        n
    }

    /// Mbufs in the ring.
    pub fn len(&self) -> usize {
        // SAFETY: the ring is valid while `self` holds it.
        unsafe { c::shim_ring_count(self.as_ptr()) as usize }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mbufs it can hold.
    pub fn capacity(&self) -> usize {
        // SAFETY: the ring is valid while `self` holds it.
        unsafe { c::shim_ring_capacity(self.as_ptr()) as usize }
    }

    fn as_ptr(&self) -> *mut c::rte_ring {
        self.inner.ring.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut rest = Burst::new();
        loop {
            // SAFETY: the ring is valid until freed below, and this is its last handle; the pointer is to
            // as many free slots as the empty burst has room.
            let n = unsafe {
                c::shim_ring_dequeue_burst(
                    self.ring.as_ptr(),
                    rest.free_slots(),
                    rest.room() as u32,
                )
            };
            if n == 0 {
                break;
            }
            // SAFETY: the ring owned these mbufs and gave them up.
            unsafe { rest.set_len(n as usize) };
            rest.clear();
        }
        // SAFETY: the last handle goes, and ports made of the ring hold one until they are closed.
        unsafe { c::rte_ring_free(self.ring.as_ptr()) };
    }
}

/// The far end of a port made of rings: what is injected the port receives, what it sends is collected.
pub struct Wire {
    to_port: Vec<Ring>,
    from_port: Vec<Ring>,
}

impl Wire {
    /// Puts the burst's packets on the port's RX queue `queue`; returns how many it took and leaves the
    /// rest in the burst. A queue that does not exist takes none.
    pub fn inject(&self, queue: u16, burst: &mut Burst) -> usize {
        self.to_port
            .get(usize::from(queue))
            .map_or(0, |ring| ring.enqueue(burst))
    }

    /// Appends to `burst` what the port sent on its TX queue `queue`; returns how many.
    pub fn collect(&self, queue: u16, burst: &mut Burst) -> usize {
        self.from_port
            .get(usize::from(queue))
            .map_or(0, |ring| ring.dequeue(burst))
    }

    /// Packets injected on `queue` that the port has not received yet.
    pub fn pending(&self, queue: u16) -> usize {
        self.to_port.get(usize::from(queue)).map_or(0, Ring::len)
    }
}

impl Port {
    /// Makes a port of fresh rings, `queues` in each direction (at most [`MAX_RING_QUEUES`]) with room
    /// for `capacity` packets each. The port's name is `net_ring_` and `name`.
    pub fn over_wire(
        eal: &Eal,
        name: &str,
        queues: u16,
        capacity: u32,
    ) -> Result<(Port, Wire), PortError> {
        let make = |direction: &str| -> Result<Vec<Ring>, PortError> {
            (0..queues)
                .map(|i| Ring::new(eal, &format!("{name}_{direction}{i}"), capacity))
                .collect()
        };
        let wire = Wire {
            to_port: make("rx")?,
            from_port: make("tx")?,
        };
        let port = Port::from_rings(eal, name, &wire.to_port, &wire.from_port)?;
        Ok((port, wire))
    }

    /// Makes a port that receives from the rings `rx` and sends to the rings `tx`, a ring per queue. The
    /// port's name is `net_ring_` and `name`.
    pub fn from_rings(eal: &Eal, name: &str, rx: &[Ring], tx: &[Ring]) -> Result<Port, PortError> {
        let most = usize::from(MAX_RING_QUEUES);
        let port_name = format!("net_ring_{name}");
        let error = |errno| PortError::Step {
            port: port_name.clone(),
            step: "make it of rings",
            errno,
        };
        if rx.is_empty() || tx.is_empty() || rx.len() > most || tx.len() > most {
            return Err(error(Errno::from_return(EINVAL)));
        }
        let c_name = CString::new(name).map_err(|_| error(Errno::from_return(EINVAL)))?;
        let rx_raw: Vec<*mut c::rte_ring> = rx.iter().map(Ring::as_ptr).collect();
        let tx_raw: Vec<*mut c::rte_ring> = tx.iter().map(Ring::as_ptr).collect();
        // SAFETY: EAL is initialised; both arrays hold that many valid rings, which the port keeps alive
        // through the handles given to it below. NUMA node 0 exists everywhere.
        let id = unsafe {
            c::rte_eth_from_rings(
                c_name.as_ptr(),
                rx_raw.as_ptr(),
                rx_raw.len() as u32,
                tx_raw.as_ptr(),
                tx_raw.len() as u32,
                0,
            )
        };
        let id = u16::try_from(id).map_err(|_| error(Errno::last()))?;
        Port::claim(eal, id, port_name, rx.iter().chain(tx).cloned().collect())
    }
}
