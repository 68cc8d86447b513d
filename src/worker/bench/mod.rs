//! Measures the packet path: real buffers through a real port and the real [`Worker`](super::Worker),
//! with headers that are made up after reception where the port brings none.
//!
//! All costs are CPU time of the measuring threads, so that what else runs on the machine changes them
//! little. Several workers measure at once, so that what they share shows.

mod error;
pub mod far;
pub mod histogram;
pub mod latency;
pub mod serve;
mod station;
pub mod traffic;
pub mod wake;

use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::table::conn::ConnStats;
use crate::table::publish::Publisher;
use crate::table::snapshot::Snapshot;

use super::ports::{EalOptions, PortSetup, Ports, PortsSetup, open};
use super::{Step, TscClock};
pub use error::BenchError;
pub use far::pin_this_thread;
use serve::Served;
use station::{Order, Station};
use traffic::Template;

/// What to measure on.
#[derive(Debug, Clone)]
pub struct BenchSetup {
    /// EAL options.
    pub eal: EalOptions,
    /// The port.
    pub device: String,
    /// The cores to measure on, one worker each.
    pub cores: Vec<usize>,
    /// Mbufs for each worker.
    pub mbufs: u32,
}

/// What traffic comes, and what the workers know of it.
#[derive(Debug, Clone)]
pub struct Load {
    /// A frame for each service, all of one IP version.
    pub templates: Vec<Template>,
    /// They are IPv6.
    pub v6: bool,
    /// Flows of one worker, each of which has sent before; `None`: every packet begins a flow.
    pub flows: Option<u64>,
    /// Flows that each worker's connection table has room for.
    pub table_flows: usize,
    /// Bursts between writing the headers and processing them.
    pub delay: usize,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Receiving and sending, nothing else.
    Port,
    /// The same, with headers written in between.
    Source,
    /// The worker: receiving, headers written, the packet path, sending.
    Worker,
    /// The same with a clock read after every step.
    Steps,
}

/// What a run cost one worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Packets received.
    pub packets: u64,
    /// Packets that left.
    pub sent: u64,
    /// CPU time of the thread.
    pub cpu: Duration,
    /// Ticks of the time-stamp counter per packet for each [`Step`]; zero if no clock was read.
    pub steps: [f64; Step::ALL.len()],
    /// What happened in the connection table meanwhile.
    pub conns: ConnStats,
}

impl Cost {
    /// Nanoseconds of CPU time per packet.
    pub fn ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.packets.max(1) as f64
    }
}

/// Memory that a loaded worker uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Footprint {
    /// Bytes of its connection table.
    pub table: usize,
    /// How many of them lie on huge pages, if the kernel tells.
    pub table_huge: Option<usize>,
}

/// Bytes of an IP packet that the port must carry: the encapsulated frames are far shorter.
const MTU: u16 = 1500;

/// Workers under test.
pub struct Bench {
    // First, so that the threads end before the port closes.
    stations: Vec<Handle>,
    publisher: Publisher<Snapshot>,
    ports: Ports,
    device: String,
}

struct Handle {
    orders: Sender<Order>,
    answers: Receiver<Result<Answer, BenchError>>,
    thread: Option<JoinHandle<()>>,
}

/// What a station answers.
#[derive(Debug)]
enum Answer {
    Ready,
    Loaded(Footprint),
    Done(Cost),
    Served(Box<Served>),
}

/// A port of its own for each worker, if the port is a null one: the queues of a null port count packets in
/// one cache line, which costs workers on two cores half a packet's time.
fn copies(device: &str, workers: usize) -> Option<Vec<String>> {
    const NULL: &str = "net_null";
    let rest = device.strip_prefix(NULL)?;
    let arguments = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let copies = (0..workers).map(|index| format!("{NULL}{index}{arguments}"));
    Some(copies.collect())
}

impl Bench {
    /// Opens the port, or one for each worker, and starts a thread on every core.
    pub fn open(setup: &BenchSetup, snapshot: Snapshot) -> Result<Bench, BenchError> {
        let workers = setup.cores.len();
        let port = |device: String| PortSetup {
            device,
            mtu: MTU,
            queues: None,
        };
        let mbufs = Some((workers as u32 * setup.mbufs).next_power_of_two() - 1);
        let open = |ports, workers| {
            open(&PortsSetup {
                eal: setup.eal.clone(),
                ports,
                workers,
                mbufs,
            })
        };
        let ports = match copies(&setup.device, workers) {
            Some(devices) => {
                let mut ports = open(devices.into_iter().map(port).collect(), 1)?;
                let shares = std::mem::take(&mut ports.shares).into_iter();
                let queues = shares.flat_map(|(inputs, outputs)| inputs.into_iter().zip(outputs));
                let each = queues.map(|(input, output)| (vec![input], vec![output]));
                ports.shares = each.collect();
                ports
            }
            None => open(vec![port(setup.device.clone())], workers as u16)?,
        };
        Bench::start_all(setup, ports, true, snapshot)
    }

    /// Starts the threads over open ports; with `makes_traffic` they write headers into what these receive.
    fn start_all(
        setup: &BenchSetup,
        ports: Ports,
        makes_traffic: bool,
        snapshot: Snapshot,
    ) -> Result<Bench, BenchError> {
        let mut bench = Bench {
            stations: Vec::new(),
            publisher: Publisher::new(snapshot),
            ports,
            device: setup.device.clone(),
        };
        let barrier = Arc::new(Barrier::new(setup.cores.len()));
        let shares = std::mem::take(&mut bench.ports.shares);
        for ((index, &core), share) in setup.cores.iter().enumerate().zip(shares) {
            bench.start((index, makes_traffic), core, share, &barrier)?;
        }
        Ok(bench)
    }

    fn start(
        &mut self,
        (index, makes_traffic): (usize, bool),
        core: usize,
        share: (Vec<super::Input>, Vec<super::Output>),
        barrier: &Arc<Barrier>,
    ) -> Result<(), BenchError> {
        let (orders, orders_in) = channel();
        let (answers_out, answers) = mpsc::channel();
        let (eal, pool) = (self.ports.eal.clone(), self.ports.pool.clone());
        let clock = TscClock::new(dpdk::thread::tsc(), self.tsc_hz());
        let reader = self.publisher.reader();
        let barrier = Arc::clone(barrier);
        let body = move || {
            let begin = || {
                dpdk::thread::pin(core)?;
                let registration = dpdk::thread::register(&eal)?;
                let station =
                    Station::new(index, share, reader, pool, clock, barrier, makes_traffic)?;
                Ok::<_, BenchError>((registration, station))
            };
            match begin() {
                Ok((registration, mut station)) => {
                    station.serve(&orders_in, &answers_out);
                    // Buffers and queues go back while the thread is still DPDK's.
                    drop(station);
                    drop(registration);
                }
                // The other side is gone if nobody wants to know.
                Err(error) => drop(answers_out.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("bench-{core}"))
            .spawn(body)?;
        let ready = answers.recv();
        self.stations.push(Handle {
            orders,
            answers,
            thread: Some(thread),
        });
        ready.map_err(|_| BenchError::Lost)?.map(drop)
    }

    /// Gives all workers another load under other tables, and lets every flow send once.
    pub fn load(&mut self, load: &Load, snapshot: Snapshot) -> Result<Vec<Footprint>, BenchError> {
        let backends = snapshot.backends.len();
        self.publisher.publish(snapshot);
        let hash_key = self.publisher.current().hash_key;
        self.order(|| Order::Load {
            load: load.clone(),
            backends,
            hash_key,
        })?;
        let answers = self.answers()?.into_iter().map(|answer| match answer {
            Answer::Loaded(footprint) => Ok(footprint),
            _ => Err(BenchError::Lost),
        });
        let footprints = answers.collect();
        self.publisher.reclaim();
        footprints
    }

    /// Runs `subject` on all workers at once for that many packets each.
    pub fn run(&mut self, subject: Subject, packets: u64) -> Result<Vec<Cost>, BenchError> {
        self.order(|| Order::Run { subject, packets })?;
        let device = self.device.clone();
        let answers = self.answers()?.into_iter().map(|answer| match answer {
            Answer::Done(cost) if cost.packets < packets => Err(BenchError::Silent(device.clone())),
            Answer::Done(cost) => Ok(cost),
            _ => Err(BenchError::Lost),
        });
        answers.collect()
    }

    /// The tables as published last.
    pub fn snapshot(&self) -> &Snapshot {
        self.publisher.current()
    }

    /// What the port could not do as wanted.
    pub fn warnings(&self) -> &[String] {
        &self.ports.warnings
    }

    /// Ticks of the time-stamp counter per second.
    pub fn tsc_hz(&self) -> u64 {
        dpdk::thread::tsc_hz(&self.ports.eal)
    }

    fn order(&self, order: impl Fn() -> Order) -> Result<(), BenchError> {
        let mut sent = self.stations.iter().map(|s| s.orders.send(order()));
        sent.try_for_each(|sent| sent.map_err(|_| BenchError::Lost))
    }

    fn answers(&self) -> Result<Vec<Answer>, BenchError> {
        let answers = self.stations.iter();
        answers
            .map(|s| s.answers.recv().map_err(|_| BenchError::Lost)?)
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for station in &mut self.stations {
            // Without its channel a station ends.
            station.orders = channel().0;
            if let Some(thread) = station.thread.take() {
                // One that panicked has said so on standard error.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_ports_are_copied_for_each_worker() {
        let three = [
            "net_null0,size=64",
            "net_null1,size=64",
            "net_null2,size=64",
        ];
        assert_eq!(
            copies("net_null0,size=64", 3),
            Some(three.map(String::from).into())
        );
        assert_eq!(copies("net_null7", 1), Some(vec!["net_null0".to_owned()]));
        assert_eq!(copies("net_memif0", 2), None);
    }
}
