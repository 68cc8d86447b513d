//! Opens the ports and deals their queues to the workers.
//!
//! # What ports are asked to do, and what not
//!
//! - **RSS** over the 5-tuples of TCP, UDP and SCTP and the addresses of all else, fragments too; over the innermost
//!   header where the port can. The table deals the queues in turn. Where a port does less, it is said: flows
//!   are spread less evenly then, and nothing else goes wrong.
//! - **Checking IPv4 header checksums on reception**: no. The packet path checks them itself, for eight packets at
//!   a time (`pipeline/plain.rs`). Measured, that takes 3.8 instructions per packet with AVX2, while reading a
//!   port's verdict out of each buffer's header into such an array takes 4.0. The inner header of a tunnelled
//!   packet, which no port looks at, would have to be checked all the same; and a port may say of any packet that
//!   it has not looked, so that both ways would have to stay.
//! - **Filling in IPv4 checksums on transmission**: no. The outer header's checksum is that of a backend's template
//!   but for the length and the traffic class, two additions; asking the port for it takes two stores to the
//!   buffer's header.
//! - **Removing and inserting VLAN tags**: no. A port's tag is in the templates of its outer link headers, which are
//!   written whole, so that it costs nothing to send. On reception it is compared together with the MAC address,
//!   while a tag that the port has removed would have to be looked up in the buffer's header. And `tags = "keep"`
//!   wants the frame as it came.
//! - **Giving sent buffers back without looking at each** (`MBUF_FAST_FREE`): no. It is only allowed where all
//!   buffers that a queue sends come from one pool, which ports on two NUMA nodes break, and no gain could
//!   be measured without a NIC.

use dpdk::{Eal, EalError, MempoolError, Port, PortConfig, RssConfig, RssTypes, Started};
pub use dpdk::{EalOptions, Huge, Mempool, PortError};

use crate::table::port::PortReport;
use crate::wire::MacAddr;

use super::buffers::{self, BufferSetup};
use super::numa::{self, Nodes};
use super::port::{Input, Output};

/// One port to open.
#[derive(Debug, Clone)]
pub struct PortSetup {
    /// PCI address, or a virtual device with its arguments.
    pub device: String,
    /// Largest IP packet.
    pub mtu: u16,
    /// Fewer receive queues than workers, if set.
    pub queues: Option<u16>,
}

/// What to open.
#[derive(Debug, Clone)]
pub struct PortsSetup {
    /// EAL options; the devices of `ports` are added.
    pub eal: EalOptions,
    /// The ports, in the order of their indices.
    pub ports: Vec<PortSetup>,
    /// Number of workers that share them.
    pub workers: u16,
    /// Mbufs in the pool of every NUMA node that has ports; reckoned from queues and workers if not set.
    pub mbufs: Option<u32>,
}

/// What the workers are like.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    /// The cores they are pinned to, if they are.
    pub cores: Vec<usize>,
    /// Fragments that each may hold.
    pub held: u32,
    /// Where cores are.
    pub nodes: Nodes,
}

/// The open ports. Its drop stops and closes them, after the workers have given back their queues.
pub struct Ports {
    /// Handles by port index.
    pub ports: Vec<Port>,
    /// Buffers for frames that no port has received: those of the first port's pool.
    pub pool: Mempool,
    /// Queues by worker: inputs and outputs by port index.
    pub shares: Vec<(Vec<Input>, Vec<Output>)>,
    /// What the ports could not do as wanted.
    pub warnings: Vec<String>,
    /// Proof of a running EAL.
    pub eal: Eal,
}

/// Why the ports could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// EAL.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The buffers.
    #[error(transparent)]
    Mempool(#[from] MempoolError),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Nothing to open.
    #[error("there is no port")]
    NoPort,
    /// A worker would have nothing to send with.
    #[error(
        "port {device} has {queues} transmit queues for {workers} workers: every worker needs one of \
         its own; give the port more queues (for net_af_packet: qpairs={workers}) or run fewer workers"
    )]
    TxQueues {
        /// The port.
        device: String,
        /// What it has.
        queues: usize,
        /// What is needed.
        workers: u16,
    },
}

/// Starts EAL and opens all ports, for workers that hold nothing and may be anywhere.
pub fn open(setup: &PortsSetup) -> Result<Ports, OpenError> {
    open_for(setup, &Workers::default())
}

/// Starts EAL and opens all ports.
pub fn open_for(setup: &PortsSetup, workers: &Workers) -> Result<Ports, OpenError> {
    let mut options = setup.eal.clone();
    for port in &setup.ports {
        // A PCI address has colons before any comma; a virtual device's name has none.
        let name = port.device.split(',').next().unwrap_or_default();
        if name.contains(':') {
            options.pci_allow.push(port.device.clone());
        } else {
            options.vdevs.push(port.device.clone());
        }
    }
    let eal = Eal::init(options.args())?;
    let found: Vec<_> = setup
        .ports
        .iter()
        .map(|p| Port::by_name(&eal, &p.device))
        .collect::<Result<_, _>>()?;
    let nodes: Vec<_> = found.iter().map(node).collect();
    let buffers = buffers_for(setup, workers);
    let (pools, mut warnings) = buffers::pools(&eal, &nodes, &buffers)?;
    let placed: Vec<_> = found.iter().map(Port::name).zip(nodes).collect();
    warnings.extend(numa::far(&workers.cores, &placed, &workers.nodes));
    let mut open = Ports {
        ports: Vec::new(),
        pool: pools.first().ok_or(OpenError::NoPort)?.clone(),
        shares: (0..setup.workers).map(|_| Default::default()).collect(),
        warnings,
        eal,
    };
    for ((port, wanted), pool) in found.into_iter().zip(&setup.ports).zip(&pools) {
        let started = port.configure(&port_config(setup.workers, wanted), pool)?;
        open.deal(started, wanted, setup.workers)?;
    }
    Ok(open)
}

/// What pools for these ports and workers are like.
pub fn buffers_for(setup: &PortsSetup, workers: &Workers) -> BufferSetup {
    BufferSetup {
        mtu: setup.ports.iter().map(|p| p.mtu).max().unwrap_or_default(),
        mbufs: setup.mbufs,
        workers: setup.workers.into(),
        held: workers.held,
    }
}

/// The NUMA node of a port, where known.
fn node(port: &Port) -> Option<u32> {
    port.info().ok()?.socket
}

impl Ports {
    /// Deals a port's queues: receive queues to the first workers, a transmit queue to every one.
    fn deal(
        &mut self,
        started: Started,
        wanted: &PortSetup,
        workers: u16,
    ) -> Result<(), OpenError> {
        if started.tx.len() < usize::from(workers) {
            return Err(OpenError::TxQueues {
                device: wanted.device.clone(),
                queues: started.tx.len(),
                workers,
            });
        }
        let warnings = started.warnings.iter();
        self.warnings.extend(warnings.map(ToString::to_string));
        let mut rx = started.rx.into_iter();
        for ((inputs, outputs), tx) in self.shares.iter_mut().zip(started.tx) {
            inputs.push(Input::new(rx.next()));
            outputs.push(Output::new(tx));
        }
        self.ports.push(started.port);
        Ok(())
    }

    /// The ports' link addresses, by port index.
    pub fn macs(&self) -> Result<Vec<[u8; 6]>, PortError> {
        self.ports.iter().map(Port::mac).collect()
    }

    /// Name and version of what drives them, such as `DPDK 22.11.11`.
    pub fn driver(&self) -> String {
        dpdk::version()
    }

    /// What the ports say of themselves now, by port index; zeros where one does not answer.
    pub fn reports(&self) -> Vec<PortReport> {
        self.ports.iter().map(report).collect()
    }
}

fn report(port: &Port) -> PortReport {
    let stats = port.stats().unwrap_or_default();
    let link = port.link().ok();
    PortReport {
        device: port.name().to_owned(),
        mac: MacAddr(port.mac().unwrap_or_default()).to_string(),
        up: link.as_ref().is_some_and(|l| l.up),
        speed_mbps: link.and_then(|l| l.speed_mbps),
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        rx_missed: stats.rx_missed,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        rx_no_mbuf: stats.rx_no_mbuf,
    }
}

fn port_config(workers: u16, wanted: &PortSetup) -> PortConfig {
    let rx = wanted.queues.unwrap_or(workers).min(workers).max(1);
    PortConfig {
        mtu: Some(wanted.mtu),
        rss: (rx > 1).then(|| RssConfig {
            // One key for all ports, so that both directions of a path hash alike.
            key: RSS_KEY.to_vec(),
            types: RssTypes::FLOWS,
            innermost: true,
        }),
        ..PortConfig::with_queues(rx, workers)
    }
}

/// The symmetric Toeplitz key: equal hashes for both directions of a flow (Woo and Park, "Scalable
/// TCP Session Monitoring with Symmetric Receive-side Scaling", 2012).
const RSS_KEY: [u8; 40] = {
    let mut key = [0x6d; 40];
    let mut at = 1;
    while at < key.len() {
        key[at] = 0x5a;
        at += 2;
    }
    key
};
