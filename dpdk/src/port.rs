//! Ports: finding them, setting them up, watching them.

use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys as c;
use thiserror::Error;

use crate::config::{PortConfig, PortWarning};
use crate::device::{self, find, not_found, port_name};
use crate::eal::Eal;
use crate::errno::{Errno, check};
use crate::info::PortInfo;
use crate::mempool::Mempool;
use crate::queue::{RxQueue, TxQueue};
use crate::ring::Ring;
use crate::rss::{self, RssTypes};
use crate::stats::{self, Link, PortStats};
use crate::{info, setup, timestamp};

/// A port, owned by this handle together with its queues; all methods are for the control side.
///
/// A port has one owner at a time. It is stopped and closed when the handle and all queues are gone,
/// so drop the queues (end the workers) first and traffic ends in an orderly way whatever the order. A
/// port that was never configured is left as it was.
pub struct Port {
    owned: Arc<Owned>,
}

/// A started port; see [`Port::configure`].
pub struct Started {
    /// The control handle.
    pub port: Port,
    /// The RX queues, in order; as many as asked for, or as many as the port has.
    pub rx: Vec<RxQueue>,
    /// The TX queues, in order; as many as asked for, or as many as the port has.
    pub tx: Vec<TxQueue>,
    /// What the port does not do as asked.
    pub warnings: Vec<PortWarning>,
}

/// What is wrong with a port.
#[derive(Debug, Error)]
pub enum PortError {
    /// DPDK has no port of this name, most often because its probe failed.
    #[error("port {port} does not exist or failed to start (there are: {others}). {way_out}")]
    NotFound {
        /// The name.
        port: String,
        /// The ports that there are.
        others: String,
        /// What to check, by the kind of device.
        way_out: &'static str,
    },
    /// The port has an owner.
    #[error("port {port} is in use already; a device can be named once")]
    InUse {
        /// The name.
        port: String,
    },
    /// The port was configured before.
    #[error("port {port} is configured already")]
    Configured {
        /// The name.
        port: String,
    },
    /// No queues were asked for.
    #[error("port {port} needs at least one RX and one TX queue")]
    NoQueues {
        /// The name.
        port: String,
    },
    /// The MTU is outside of what the port can, or of what an mbuf holds.
    #[error("port {port} cannot have an MTU of {mtu}: {least} to {most} is possible{hint}")]
    Mtu {
        /// The name.
        port: String,
        /// What was asked for.
        mtu: u16,
        /// The smallest possible.
        least: u16,
        /// The largest possible.
        most: u16,
        /// What sets the limit, when it is not the port.
        hint: &'static str,
    },
    /// A step of DPDK's failed; it logged the details to stderr.
    #[error("port {port}: cannot {step}: {errno}")]
    Step {
        /// The name.
        port: String,
        /// What was tried.
        step: &'static str,
        /// What DPDK said.
        errno: Errno,
    },
}

impl Port {
    /// The port of this name: a PCI address (`0000:3b:00.0`), or a virtual device's name; its arguments
    /// (`net_null0,size=64`) may follow.
    pub fn by_name(eal: &Eal, device: &str) -> Result<Port, PortError> {
        let name = port_name(device);
        let id = find(&name).ok_or_else(|| not_found(&name))?;
        Port::claim(eal, id, name, Vec::new())
    }

    /// Probes a device now, as `--vdev` and `--allow` do at start, and gives its port. `device` is a
    /// device with arguments, such as `net_tap0,iface=rail0`; a virtual one whose port was closed may
    /// come back.
    pub fn attach(eal: &Eal, device: &str) -> Result<Port, PortError> {
        let name = port_name(device);
        let c_device = CString::new(device).map_err(|_| not_found(&name))?;
        // One probe at a time, and none while a port is being closed.
        let claimed = eal.claimed_ports();
        if find(&name).is_some() {
            return Err(PortError::InUse { port: name });
        }
        let probed = device::probe(&c_device);
        drop(claimed);
        if probed.is_err() {
            return Err(not_found(&name));
        }
        Port::by_name(eal, device)
    }

    /// Makes the port's owner. `rings` are what it is made of, if it is.
    pub(crate) fn claim(
        eal: &Eal,
        id: u16,
        name: String,
        rings: Vec<Ring>,
    ) -> Result<Port, PortError> {
        let mut claimed = eal.claimed_ports();
        if claimed.contains(&id) {
            return Err(PortError::InUse { port: name });
        }
        claimed.push(id);
        drop(claimed);
        // A port whose rings are freed with its owner must not be found again.
        let state = if rings.is_empty() {
            State::Found
        } else {
            State::ToClose
        };
        let eal = eal.clone();
        let owned = Owned {
            id,
            name,
            state: Mutex::new(state),
            _rings: rings,
            eal,
        };
        Ok(Port {
            owned: Arc::new(owned),
        })
    }

    /// What the port is and can do.
    pub fn info(&self) -> Result<PortInfo, PortError> {
        info::info(self.owned.id).map_err(|errno| self.owned.error("read its properties", errno))
    }

    /// Sets the port up and starts it; received packets come from `pool`.
    ///
    /// What the port does not support is left out and reported among [`Started::warnings`]; an error
    /// means that it cannot be used at all.
    pub fn configure(self, config: &PortConfig, pool: &Mempool) -> Result<Started, PortError> {
        let owned = self.owned;
        let mut state = owned.lock();
        if *state == State::Running {
            return Err(PortError::Configured {
                port: owned.name.clone(),
            });
        }
        // From here on the port is closed when it is dropped, also after an error half-way.
        *state = State::ToClose;
        let setup = setup::configure(owned.id, &owned.name, config, pool)?;
        *state = State::Running;
        drop(state);
        Ok(Started {
            rx: (0..setup.rx_queues)
                .map(|index| RxQueue::new(&owned, index))
                .collect(),
            tx: (0..setup.tx_queues)
                .map(|index| TxQueue::new(&owned, index))
                .collect(),
            warnings: setup.warnings,
            port: Port { owned },
        })
    }

    /// The port's name.
    pub fn name(&self) -> &str {
        &self.owned.name
    }

    /// DPDK's number of the port, as in [`crate::Mbuf::port`].
    pub fn id(&self) -> u16 {
        self.owned.id
    }

    /// The port's counters.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        self.control("read its counters", stats::stats)
    }

    /// Sets the port's counters to zero.
    pub fn reset_stats(&self) -> Result<(), PortError> {
        self.control("reset its counters", stats::reset)
    }

    /// All counters the driver has, by the driver's names.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        self.control("read its extended counters", stats::xstats)
    }

    /// The link's state, as known without waiting.
    pub fn link(&self) -> Result<Link, PortError> {
        self.control("read its link", stats::link)
    }

    /// The port's Ethernet address.
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        self.control("read its address", info::mac)
    }

    /// Gives the port another Ethernet address.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<(), PortError> {
        self.control("set its address", |id| {
            let mut mac = c::rte_ether_addr { addr_bytes: mac };
            // SAFETY: this handle owns the port; the pointer is to a valid address, which is copied.
            check(unsafe { c::rte_eth_dev_default_mac_addr_set(id, &mut mac) })
        })
    }

    /// The RX queue of each entry of the RSS table, where the driver tells.
    pub fn rss_queues(&self) -> Option<Vec<u16>> {
        let size = self.info().ok()?.reta_size;
        let _one_at_a_time = self.owned.lock();
        rss::queues(self.owned.id, size)
    }

    /// What RSS hashes as the port is set up now, where the driver tells.
    pub fn rss_types(&self) -> Option<RssTypes> {
        let _one_at_a_time = self.owned.lock();
        rss::in_use(self.owned.id)
    }

    /// The MTU in bytes.
    pub fn mtu(&self) -> Result<u16, PortError> {
        self.control("read its MTU", info::mtu)
    }

    /// Changes the MTU. Many NICs want it set by [`PortConfig::mtu`] before they start, and say so.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        self.control("set its MTU", |id| {
            // SAFETY: this handle owns the port; the driver refuses what it cannot do while running.
            check(unsafe { c::rte_eth_dev_set_mtu(id, mtu) })
        })
    }

    /// One control operation at a time: DPDK leaves that to its callers.
    fn control<T>(
        &self,
        step: &'static str,
        operation: impl FnOnce(u16) -> Result<T, Errno>,
    ) -> Result<T, PortError> {
        let _one_at_a_time = self.owned.lock();
        operation(self.owned.id).map_err(|errno| self.owned.error(step, errno))
    }
}

/// The port itself, shared by its handle and its queues.
pub(crate) struct Owned {
    id: u16,
    name: String,
    state: Mutex<State>,
    // What the port is made of, to be freed after it is closed.
    _rings: Vec<Ring>,
    eal: Eal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// As EAL's probe left it.
    Found,
    /// Not running, but not to be left as it is either.
    ToClose,
    /// Queues may be in use.
    Running,
}

impl Owned {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, step: &'static str, errno: Errno) -> PortError {
        PortError::Step {
            port: self.name.clone(),
            step,
            errno,
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let state = *self.lock();
        // Held until the end, so that the number is not given out again before it is free here too.
        let mut claimed = self.eal.claimed_ports();
        // SAFETY: this owner's port, and the handle and all queues are gone, so nobody uses it. A failure
        // leaves nothing to be done: the driver said what it could in its log.
        unsafe {
            if state == State::Running {
                // A kernel interface behind the port would stay promiscuous.
                if c::rte_eth_promiscuous_get(self.id) == 1 {
                    c::rte_eth_promiscuous_disable(self.id);
                }
                c::rte_eth_dev_stop(self.id);
            }
            if state != State::Found {
                c::rte_eth_dev_close(self.id);
                device::remove(&self.name);
            }
        }
        timestamp::set_driver(self.id, "");
        claimed.retain(|&id| id != self.id);
    }
}
