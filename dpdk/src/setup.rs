//! The steps from a probed port to a running one.

use dpdk_sys as c;

use crate::config::{PortConfig, PortWarning};
use crate::errno::check;
use crate::info::{RX_CHECKSUMS, TX_CHECKSUMS, driver, mtu, raw_info};
use crate::mempool::Mempool;
use crate::port::PortError;
use crate::rss::{self, RssConfig, RssTypes};
use crate::timestamp;

/// What became of a configuration.
pub(crate) struct Setup {
    pub(crate) rx_queues: u16,
    pub(crate) tx_queues: u16,
    pub(crate) warnings: Vec<PortWarning>,
}

/// Smallest IPv4 MTU (RFC 791), for drivers that name no limit.
const MIN_MTU: u16 = 68;

/// Drivers whose arguments, not their configuration, decide how many queues are fed.
const FED_FROM_OUTSIDE: &[&str] = &["net_af_packet", "net_af_xdp", "net_memif", "net_pcap"];

/// Configures and starts port `id`. The caller owns it, and it is not running.
pub(crate) fn configure(
    id: u16,
    name: &str,
    config: &PortConfig,
    pool: &Mempool,
) -> Result<Setup, PortError> {
    if config.rx_queues == 0 || config.tx_queues == 0 {
        return Err(PortError::NoQueues { port: name.into() });
    }
    let mut steps = Steps::new(id, name)?;
    let rx_queues = steps.clamp_queues("RX", config.rx_queues, steps.info.max_rx_queues);
    let tx_queues = steps.clamp_queues("TX", config.tx_queues, steps.info.max_tx_queues);
    steps.check_unused(rx_queues);
    steps.check_mtu(config, pool)?;

    let mut conf = c::rte_eth_conf::default();
    conf.rxmode.offloads = steps.rx_offloads(config);
    conf.txmode.offloads = steps.tx_offloads(config);
    let mut hashing = match &config.rss {
        Some(wanted) if rx_queues > 1 => steps.hashing(wanted),
        _ => None,
    };
    if let Some(hashing) = &mut hashing {
        hashing.write_to(&mut conf);
    }

    // SAFETY: the caller owns the port, which is not running. `conf` is fully initialised, and the RSS key
    // it may point to belongs to `hashing`, has the length given beside it and outlives the call.
    let result = unsafe { c::rte_eth_dev_configure(id, rx_queues, tx_queues, &conf) };
    steps.done("configure it", result)?;
    steps.set_mtu(config);
    steps.queues(config, pool, rx_queues, tx_queues, &conf)?;
    if config.promiscuous {
        // SAFETY: the caller owns the port.
        let result = unsafe { c::rte_eth_promiscuous_enable(id) };
        steps.optional("promiscuous mode", result);
    } else {
        // SAFETY: the caller owns the port.
        let result = unsafe { c::rte_eth_allmulticast_enable(id) };
        steps.optional("reception of all multicast", result);
    }
    // SAFETY: the caller owns the port, and all its queues are set up.
    let result = unsafe { c::rte_eth_dev_start(id) };
    steps.done("start it", result)?;
    if let (Some(_), Some(wanted)) = (&hashing, &config.rss) {
        steps.reta(rx_queues);
        steps.check_hashing(wanted);
    }
    timestamp::set_driver(id, &driver(&steps.info));
    Ok(Setup {
        rx_queues,
        tx_queues,
        warnings: steps.warnings,
    })
}

/// A port on its way, and what it could not do so far.
struct Steps<'a> {
    id: u16,
    name: &'a str,
    info: c::rte_eth_dev_info,
    warnings: Vec<PortWarning>,
}

impl Steps<'_> {
    fn new(id: u16, name: &str) -> Result<Steps<'_>, PortError> {
        let info = raw_info(id).map_err(|errno| PortError::Step {
            port: name.into(),
            step: "read its properties",
            errno,
        })?;
        Ok(Steps {
            id,
            name,
            info,
            warnings: Vec::new(),
        })
    }

    fn done(&self, step: &'static str, result: i32) -> Result<(), PortError> {
        check(result).map_err(|errno| PortError::Step {
            port: self.name.into(),
            step,
            errno,
        })
    }

    fn optional(&mut self, what: &'static str, result: i32) {
        let port = || self.name.to_owned();
        match check(result) {
            Ok(()) => {}
            Err(errno) if errno.is_unsupported() => {
                self.warnings.push(PortWarning::Missing {
                    port: port(),
                    feature: what,
                });
            }
            Err(errno) => self.warnings.push(PortWarning::Failed {
                port: port(),
                what,
                errno,
            }),
        }
    }

    fn missing(&mut self, feature: &'static str) {
        self.warnings.push(PortWarning::Missing {
            port: self.name.into(),
            feature,
        });
    }

    fn clamp_queues(&mut self, direction: &'static str, wanted: u16, most: u16) -> u16 {
        if wanted > most {
            let port = self.name.into();
            self.warnings.push(PortWarning::Queues {
                port,
                direction,
                wanted,
                most,
            });
        }
        wanted.min(most.max(1))
    }

    /// Warns of queues that are fed although nobody polls them.
    fn check_unused(&mut self, used: u16) {
        let most = self.info.max_rx_queues;
        if used < most && FED_FROM_OUTSIDE.contains(&driver(&self.info).as_str()) {
            let port = self.name.into();
            self.warnings
                .push(PortWarning::UnusedQueues { port, used, most });
        }
    }

    /// Refuses an MTU the port cannot have, and one whose frames would not fit an mbuf: the packet path
    /// takes contiguous frames only.
    fn check_mtu(&self, config: &PortConfig, pool: &Mempool) -> Result<(), PortError> {
        let Some(mtu) = config.mtu else { return Ok(()) };
        let overhead = (c::SHIM_HEADROOM + c::SHIM_ETHER_OVERHEAD) as usize;
        let of_buffer =
            u16::try_from(pool.data_room().saturating_sub(overhead)).unwrap_or(u16::MAX);
        let of_port = if self.info.max_mtu == 0 {
            u16::MAX
        } else {
            self.info.max_mtu
        };
        let (least, most) = (self.info.min_mtu.max(MIN_MTU), of_port.min(of_buffer));
        if (least..=most).contains(&mtu) {
            return Ok(());
        }
        let hint = if of_buffer < of_port {
            ", for the mbufs' data room is the limit"
        } else {
            ""
        };
        Err(PortError::Mtu {
            port: self.name.into(),
            mtu,
            least,
            most,
            hint,
        })
    }

    fn rx_offloads(&mut self, config: &PortConfig) -> u64 {
        let capable = self.info.rx_offload_capa;
        let mut offloads = 0;
        if config.rx_checksums {
            offloads |= capable & RX_CHECKSUMS;
            if capable & RX_CHECKSUMS != RX_CHECKSUMS {
                self.missing("checking of IPv4, TCP and UDP checksums");
            }
        }
        if config.vlan_strip {
            offloads |= capable & c::SHIM_RX_OFFLOAD_VLAN_STRIP;
            if capable & c::SHIM_RX_OFFLOAD_VLAN_STRIP == 0 {
                self.missing("VLAN stripping");
            }
        }
        if config.rss.is_some() {
            // Report the hash where that is possible; nothing depends on it.
            offloads |= capable & c::SHIM_RX_OFFLOAD_RSS_HASH;
        }
        if driver(&self.info) == timestamp::PCAP_DRIVER {
            // Newer versions give the capture's time only when asked.
            offloads |= capable & c::SHIM_RX_OFFLOAD_TIMESTAMP;
        }
        offloads
    }

    fn tx_offloads(&mut self, config: &PortConfig) -> u64 {
        let capable = self.info.tx_offload_capa;
        let mut offloads = 0;
        if config.tx_checksums {
            offloads |= capable & TX_CHECKSUMS;
            if capable & TX_CHECKSUMS != TX_CHECKSUMS {
                self.missing("filling in of IPv4, TCP and UDP checksums");
            }
        }
        if config.vlan_insert {
            offloads |= capable & c::SHIM_TX_OFFLOAD_VLAN_INSERT;
            if capable & c::SHIM_TX_OFFLOAD_VLAN_INSERT == 0 {
                self.missing("VLAN insertion");
            }
        }
        offloads
    }

    fn hashing(&mut self, wanted: &RssConfig) -> Option<rss::Hashing> {
        let (hashing, missing) = rss::hashing(&self.info, wanted);
        for feature in missing {
            self.missing(feature);
        }
        hashing
    }

    /// Deals the entries of the RSS table to the queues in turn. Drivers do so by default, but not all
    /// start anew after an earlier user.
    fn reta(&mut self, rx_queues: u16) {
        let mut table = rss::table(self.info.reta_size, rx_queues);
        if table.is_empty() {
            self.missing("an RSS table to set");
            return;
        }
        // SAFETY: the caller owns the port; the array covers as many entries as the port has.
        let result = unsafe {
            c::rte_eth_dev_rss_reta_update(self.id, table.as_mut_ptr(), self.info.reta_size)
        };
        self.optional("an RSS table to set", result);
        // Some drivers keep what was there for entries they know better about.
        let queues = rss::queues(self.id, self.info.reta_size);
        if result == 0 && queues.is_some_and(|queues| !rss::is_even(&queues, rx_queues)) {
            self.missing("an RSS table with equal shares for all queues");
        }
    }

    /// Some drivers accept more than they do: what is said of the port afterwards counts.
    fn check_hashing(&mut self, wanted: &RssConfig) {
        let promised = RssTypes::of_port(self.info.flow_type_rss_offloads);
        let before = rss::lacking(wanted.types, promised);
        let Some(types) = rss::in_use(self.id) else {
            return;
        };
        let mut lacking = rss::lacking(wanted.types, types);
        lacking.retain(|tuple| !before.contains(tuple));
        for tuple in lacking {
            self.missing(tuple);
        }
    }

    fn set_mtu(&mut self, config: &PortConfig) {
        let Some(wanted) = config.mtu else { return };
        let kept = mtu(self.id).unwrap_or(0);
        // Also when DPDK believes that it is so: a kernel interface behind the port may differ.
        // SAFETY: the caller owns the port, which is configured and not running.
        let result = unsafe { c::rte_eth_dev_set_mtu(self.id, wanted) };
        if let Err(errno) = check(result)
            && kept != wanted
        {
            let port = self.name.into();
            self.warnings.push(PortWarning::Mtu {
                port,
                wanted,
                kept,
                errno,
            });
        }
    }

    fn queues(
        &self,
        config: &PortConfig,
        pool: &Mempool,
        rx_queues: u16,
        tx_queues: u16,
        conf: &c::rte_eth_conf,
    ) -> Result<(), PortError> {
        let (mut rx_desc, mut tx_desc) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: both pointers are to variables to adjust.
        let result =
            unsafe { c::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &mut rx_desc, &mut tx_desc) };
        self.done("fit its numbers of descriptors", result)?;
        // SAFETY: the caller owns the port.
        let socket =
            u32::try_from(unsafe { c::rte_eth_dev_socket_id(self.id) }).unwrap_or(ANY_SOCKET);
        let mut rx_conf = self.info.default_rxconf;
        rx_conf.offloads = conf.rxmode.offloads;
        let mut tx_conf = self.info.default_txconf;
        tx_conf.offloads = conf.txmode.offloads;
        for queue in 0..rx_queues {
            // SAFETY: the port is configured with this queue and not running; the pool is one of mbufs
            // and lives as long as EAL, which the port's owner keeps; the configuration is copied.
            let result = unsafe {
                c::rte_eth_rx_queue_setup(self.id, queue, rx_desc, socket, &rx_conf, pool.as_ptr())
            };
            self.done("set up an RX queue", result)?;
        }
        for queue in 0..tx_queues {
            // SAFETY: as above.
            let result =
                unsafe { c::rte_eth_tx_queue_setup(self.id, queue, tx_desc, socket, &tx_conf) };
            self.done("set up a TX queue", result)?;
        }
        Ok(())
    }
}

/// DPDK's `SOCKET_ID_ANY`, -1, as the queue functions take it.
const ANY_SOCKET: u32 = u32::MAX;
