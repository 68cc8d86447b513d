//! A rail of two workers between rings, and a far end that knows every packet by number.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::{BURST, Burst, DEFAULT_CACHE, DEFAULT_DATA_ROOM, Eal, EalOptions, Mbuf, Mempool};
use dpdk::{Port, PortConfig, Wire};
use rustyrail::control::rail::{Hardware, Rail, WorkerView};
use rustyrail::pipeline::shared::Shared;
use rustyrail::pool::{Config, Environment, parse};
use rustyrail::table::conn::ConnSettings;
use rustyrail::table::counters::DropReason;
use rustyrail::table::port::PortReport;
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::{NEXT_HOP_MAC, RAIL_MAC, ether};
use rustyrail::worker::crew::{self, Crew, CrewSetup};
use rustyrail::worker::{Input, Output};

pub const QUEUES: u16 = 2;
/// Packets between the two ends of a ring at most, so that neither the rings nor the pool run out.
pub const IN_FLIGHT: usize = 512;
/// Nothing takes this long; a test that waits longer has lost a packet.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A rail of two workers between rings.
pub struct Bench {
    // First, so that the workers end before what they use.
    crew: Option<Crew>,
    pub rail: Rail,
    pub wire: Wire,
    _port: Port,
    pool: Mempool,
    next: u64,
    /// By number: the flow of every packet that is on its way.
    pub on_the_way: HashMap<u64, Flow>,
}

/// A flow by service port, client port and the queue its packets come in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub vip: Ipv4Addr,
    pub service: u16,
    pub client: u16,
}

impl Flow {
    /// What a NIC's hash does: a flow always comes by the same queue.
    pub fn queue(self) -> u16 {
        (self.client ^ self.client >> 4) % QUEUES
    }
}

/// A packet that came out: its number, the queue, and the backend it is wrapped for.
pub struct Sent {
    pub number: u64,
    pub flow: Flow,
    pub queue: u16,
    pub backend: Ipv4Addr,
}

struct Nothing;

impl Hardware for Nothing {
    fn send(&self, _: PortIndex, _: &[u8]) -> bool {
        false
    }

    fn ports(&self) -> Vec<PortReport> {
        Vec::new()
    }

    fn driver(&self) -> String {
        String::new()
    }
}

pub fn read(text: &str) -> Config {
    match parse(text, "test.toml", &Environment::any()) {
        Ok((config, _)) => config,
        Err(found) => panic!("{found:#?}"),
    }
}

impl Bench {
    pub fn new(config: &str) -> Bench {
        let eal = Eal::init(EalOptions::no_huge([""; 0]).args()).expect("EAL without huge pages");
        let pool = Mempool::new(&eal, "rail", 8191, DEFAULT_CACHE, DEFAULT_DATA_ROOM, None);
        let pool = pool.expect("the pool fits");
        let (port, wire) = Port::over_wire(&eal, "wire", QUEUES, 2047).expect("a port of rings");
        let started = port
            .configure(&PortConfig::with_queues(QUEUES, QUEUES), &pool)
            .expect("the port starts");
        let shares = started.rx.into_iter().zip(started.tx);
        let shares = shares.map(|(rx, tx)| (vec![Input::new(Some(rx))], vec![Output::new(tx)]));

        let config = read(config);
        let news = Arc::new(ArrayQueue::new(BURST));
        let limits = config.limits;
        let shared = Shared::new(64, limits.fragment_time, Arc::clone(&news)).expect("memory");
        let fragments = Arc::clone(&shared.fragments);
        let macs = vec![RAIL_MAC.octets()];
        let mut rail = Rail::new(config, macs, news, Box::new(Nothing)).expect("it compiles");
        let setup = CrewSetup {
            conns: ConnSettings {
                flows: rail.config().node.flows,
                timeouts: rail.snapshot().timeouts,
                new_pins_per_second: limits.new_pins_per_second,
            },
            backends: limits.backends as usize,
            idle: true,
            hash_key: rail.config().pool.hash_key,
            early: 0,
            host: false,
            shared,
        };
        let crew = crew::start(
            &eal,
            &pool,
            &rail.config().node.workers,
            shares.collect(),
            || rail.reader(),
            &setup,
        )
        .expect("the workers start");
        let views = crew.handles.iter().map(|handle| WorkerView {
            core: handle.core,
            counters: Arc::clone(&handle.counters),
            conns: Arc::clone(&handle.conns),
            tsc_hz: handle.tsc_hz,
        });
        rail.attach(views.collect(), fragments, Box::new(Nothing));
        Bench {
            crew: Some(crew),
            rail,
            wire,
            _port: started.port,
            pool,
            next: 0,
            on_the_way: HashMap::new(),
        }
    }

    /// Sends a packet of each flow, SYNs or others.
    pub fn inject(&mut self, flows: &[Flow], syn: bool) {
        for queue in 0..QUEUES {
            let mut mine = flows.iter().filter(|flow| flow.queue() == queue).peekable();
            while mine.peek().is_some() {
                let mut burst = Burst::new();
                for flow in mine.by_ref().take(BURST) {
                    let number = self.next;
                    self.next += 1;
                    self.on_the_way.insert(number, *flow);
                    let mbuf = packet(&self.pool, *flow, number, syn);
                    assert!(burst.push(mbuf).is_ok(), "a burst has room for a burst");
                }
                let wanted = burst.len();
                assert_eq!(
                    self.wire.inject(queue, &mut burst),
                    wanted,
                    "the ring has room"
                );
            }
        }
    }

    /// What has come out by now.
    pub fn collect(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for queue in 0..QUEUES {
            let mut burst = Burst::new();
            while self.wire.collect(queue, &mut burst) > 0 {
                for mbuf in burst.drain() {
                    let (number, flow, backend) = look(mbuf.data());
                    let known = self.on_the_way.remove(&number);
                    assert_eq!(known, Some(flow), "packet {number} once, as it was sent");
                    sent.push(Sent {
                        number,
                        flow,
                        queue,
                        backend,
                    });
                }
            }
        }
        sent
    }

    /// Waits until every packet injected has left or been dropped.
    pub fn drain(&mut self) -> Vec<Sent> {
        let start = Instant::now();
        let mut sent = self.collect();
        while self.handled() < self.next {
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {}",
                self.handled(),
                self.next
            );
            thread::sleep(Duration::from_micros(200));
            sent.extend(self.collect());
        }
        sent.extend(self.collect());
        sent
    }

    /// Packets that the workers say they are done with.
    fn handled(&self) -> u64 {
        let workers = self.rail.workers().iter();
        workers
            .map(|w| w.counters.tx.packets.get() + w.counters.dropped())
            .sum()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        let workers = self.rail.workers().iter();
        workers.map(|w| w.counters.drops(reason)).sum()
    }

    /// Ends the workers as the rail does when it is told to stop.
    pub fn stop(&mut self) {
        self.crew = None;
    }
}

fn packet(pool: &Mempool, flow: Flow, number: u64, syn: bool) -> Mbuf {
    let packet = ether()
        .destination_mac(RAIL_MAC)
        .ipv4("198.51.100.7", flow.vip)
        .tcp(flow.client, flow.service);
    let packet = if syn { packet.syn() } else { packet.ack() };
    let bytes = packet.payload(number.to_be_bytes()).build();
    let start = Instant::now();
    loop {
        if let Some(mut mbuf) = pool.alloc() {
            assert!(mbuf.set_data(&bytes));
            return mbuf;
        }
        assert!(start.elapsed() < PATIENCE, "no buffer comes back");
        thread::yield_now();
    }
}

/// Number, flow and backend of a frame in GRE: Ethernet 14, IPv4 20, GRE 4, IPv4 20, TCP 20, number 8.
fn look(frame: &[u8]) -> (u64, Flow, Ipv4Addr) {
    assert_eq!(frame.len(), 14 + 20 + 4 + 20 + 20 + 8);
    assert_eq!(frame[..6], NEXT_HOP_MAC.octets());
    assert_eq!(frame[6..12], RAIL_MAC.octets());
    assert_eq!((frame[23], &frame[34..38]), (47, &[0, 0, 8, 0][..]));
    let four = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).expect("4 bytes");
    let two = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let flow = Flow {
        vip: four(38 + 16).into(),
        client: two(58),
        service: two(60),
    };
    let number = frame[78..].try_into().map(u64::from_be_bytes);
    (number.expect("8 bytes"), flow, four(30).into())
}
