//! The ends of a port that a worker owns: receive and transmit queues.

use std::sync::Arc;

use dpdk_sys as c;

use crate::burst::Burst;
use crate::port::Owned;

/// A receive queue of a started port. It can move to another thread but not be shared or cloned, so
/// its ring has one consumer. It keeps the port alive.
pub struct RxQueue {
    port: Arc<Owned>,
    id: u16,
    index: u16,
}

/// A transmit queue of a started port. It can move to another thread but not be shared or cloned, so
/// its ring has one producer. It keeps the port alive.
pub struct TxQueue {
    port: Arc<Owned>,
    id: u16,
    index: u16,
}

impl RxQueue {
    pub(crate) fn new(port: &Arc<Owned>, index: u16) -> RxQueue {
        RxQueue {
            id: port.id(),
            port: Arc::clone(port),
            index,
        }
    }

    /// Appends received packets to `burst`, at most as many as it has room for, and returns how many.
    ///
    /// Give it an empty burst: vectorised drivers receive in fours or eights and return nothing when
    /// asked for fewer.
    #[inline]
    pub fn burst(&mut self, burst: &mut Burst) -> usize {
        let (len, room) = (burst.len(), burst.room());
        if room == 0 {
            return 0;
        }
        // SAFETY: the port is started with this queue, and stays so while `self` holds it. This is the
        // queue's only handle and the reference is exclusive, so no other thread polls it. The pointer
        // is to `room` free slots.
        let n = unsafe { c::shim_rx_burst(self.id, self.index, burst.free_slots(), room as u16) };
        // SAFETY: the driver stored `n <= room` mbufs after the first `len` and gave them up.
        unsafe { burst.set_len(len + usize::from(n)) };
        usize::from(n)
    }

    /// Which of the port's RX queues this is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// DPDK's number of the port.
    pub fn port_id(&self) -> u16 {
        self.id
    }

    /// The port's name.
    pub fn port_name(&self) -> &str {
        self.port.name()
    }
}

impl TxQueue {
    pub(crate) fn new(port: &Arc<Owned>, index: u16) -> TxQueue {
        TxQueue {
            id: port.id(),
            port: Arc::clone(port),
            index,
        }
    }

    /// Hands the burst's packets to the port, in order, and returns how many it took. What it did not
    /// take stays in the burst, moved to its front: try again, or clear the burst and count the loss.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let len = burst.len();
        if len == 0 {
            return 0;
        }
        // SAFETY: the port is started with this queue, and stays so while `self` holds it. This is the
        // queue's only handle and the reference is exclusive, so no other thread fills it. The first
        // `len` slots hold mbufs that the burst owns.
        let sent = unsafe { c::shim_tx_burst(self.id, self.index, burst.as_raw(), len as u16) };
        // SAFETY: the driver has become the owner of the first `sent <= len` mbufs.
        unsafe { burst.forget_front(usize::from(sent)) };
        usize::from(sent)
    }

    /// Which of the port's TX queues this is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// DPDK's number of the port.
    pub fn port_id(&self) -> u16 {
        self.id
    }

    /// The port's name.
    pub fn port_name(&self) -> &str {
        self.port.name()
    }
}
