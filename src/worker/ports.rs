//! Opens the ports and deals their queues to the workers.

use dpdk::{
    DEFAULT_CACHE, Eal, EalError, MempoolError, Port, PortConfig, RssConfig, RssTypes, Started,
};
pub use dpdk::{EalOptions, Huge, Mempool, PortError};

use crate::table::port::PortReport;
use crate::wire::MacAddr;

use super::port::{Input, Output};

/// Bytes of link header, tags and alignment an mbuf holds beside the IP packet and its headroom.
const LINK_ROOM: u16 = 64;
/// Mbufs a worker may have in flight, in its hold and waiting to be sent, per port.
const MBUFS_PER_WORKER_AND_PORT: u32 = 256;

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
    /// Mbufs in the pool; reckoned from queues and workers if not set.
    pub mbufs: Option<u32>,
}

/// The open ports. Its drop stops and closes them, after the workers have given back their queues.
pub struct Ports {
    /// Handles by port index.
    pub ports: Vec<Port>,
    /// Buffers for received packets.
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

/// Starts EAL and opens all ports.
pub fn open(setup: &PortsSetup) -> Result<Ports, OpenError> {
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
    let pool = mempool(&eal, setup, &found)?;
    let mut open = Ports {
        ports: Vec::new(),
        pool: pool.clone(),
        shares: (0..setup.workers).map(|_| Default::default()).collect(),
        warnings: Vec::new(),
        eal,
    };
    for (port, wanted) in found.into_iter().zip(&setup.ports) {
        let started = port.configure(&port_config(setup.workers, wanted), &pool)?;
        open.deal(started, wanted, setup.workers)?;
    }
    Ok(open)
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

fn mempool(eal: &Eal, setup: &PortsSetup, ports: &[Port]) -> Result<Mempool, OpenError> {
    let queues = u32::from(setup.workers) * setup.ports.len() as u32;
    let descriptors = u32::from(dpdk::DEFAULT_DESCRIPTORS) * 2;
    let reckoned = queues * (descriptors + MBUFS_PER_WORKER_AND_PORT)
        + u32::from(setup.workers) * DEFAULT_CACHE * 3 / 2;
    let count = setup.mbufs.unwrap_or(reckoned.next_power_of_two() - 1);
    let mtu = setup.ports.iter().map(|p| p.mtu).max().unwrap_or_default();
    let room = (mtu + LINK_ROOM + dpdk::HEADROOM as u16).max(dpdk::DEFAULT_DATA_ROOM);
    let socket = ports.first().and_then(|p| p.info().ok()?.socket);
    Ok(Mempool::new(
        eal,
        "rail",
        count,
        DEFAULT_CACHE,
        room,
        socket,
    )?)
}
