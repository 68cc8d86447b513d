//! Rails and what lies between them. A frame that one rail sends to another arrives there, at any
//! worker; what is for a backend is written down.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::testkit::rail::NEXT_HOP_MAC;
use rustyrail::testkit::{Frame, RAIL_MAC, Rail};

pub const CLIENT: &str = "198.51.100.7";
pub const VIP: &str = "203.0.113.10";
pub const VIP6: &str = "2001:db8:1::10";
pub const PEER_KEY: u32 = 0x7065_6572;
pub const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// Workers of each rail.
const WORKERS: usize = 2;

/// Names of rails by index; their addresses are 192.0.2.10 and on.
pub fn rail_name(index: usize) -> String {
    format!("rail-{}", char::from(b'a' + index as u8))
}

pub fn rail_address(index: usize) -> String {
    format!("192.0.2.{}", 10 + index)
}

/// What differs between the tests.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Number of rails that know each other.
    pub rails: usize,
    /// More lines of `[pool]`.
    pub more: String,
    /// Every other table: services, remotes, `[tunnel]`.
    pub rest: String,
}

impl Pool {
    pub fn new(rails: usize, services: &str) -> Self {
        Pool {
            rails,
            more: format!("peer_key = {PEER_KEY}"),
            rest: services.to_owned(),
        }
    }

    /// The file of one of its rails.
    pub fn config(&self, index: usize) -> String {
        let mut text = format!(
            r#"
            [node]
            name = "{}"
            workers = [0, 1]
            control_core = 2
            flows = 65536
            [[port]]
            device = "net_af_packet0,iface=eth0"
            address = ["{}/24", "2001:db8::{}/64"]
            gateway = ["192.0.2.1", "2001:db8::1"]
            mtu = 1600
            [pool]
            hash_key = "{HASH_KEY}"
            table_size = 251
            {}
            "#,
            rail_name(index),
            rail_address(index),
            10 + index,
            self.more
        );
        if self.rails > 1 {
            for peer in 0..self.rails {
                let (name, address) = (rail_name(peer), rail_address(peer));
                text += &format!("\n[[peer]]\nname = \"{name}\"\naddress = \"{address}\"\n");
            }
        }
        text + &self.rest
    }
}

/// A service with backends 198.18.0.1 and on, as many as `states`.
pub fn service(name: &str, vip: &str, what: &str, states: &[&str]) -> String {
    let mut text = format!("\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\n{what}\n");
    for (number, state) in (1..).zip(states) {
        text += &format!(
            "[[service.backend]]\nname = \"b{number}\"\naddress = \"198.18.0.{number}\"\n\
             state = \"{state}\"\n"
        );
    }
    text
}

/// A packet that has left the rails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The rail that sent it out.
    pub by: usize,
    pub backend: IpAddr,
    /// The packet without its outer headers.
    pub packet: Vec<u8>,
}

/// A frame on its way between rails.
struct Travelling {
    to: usize,
    frame: Vec<u8>,
    hops: usize,
}

/// Rails, and everything that happened to the packets given to them.
pub struct Network {
    pub rails: Vec<Vec<Rail>>,
    early: VecDeque<(usize, usize, Frame, usize)>,
    travelling: VecDeque<Travelling>,
    pub arrived: Vec<Arrived>,
    pub dropped: BTreeMap<DropReason, u64>,
    /// The most hops between rails that any packet took.
    pub most_hops: usize,
    /// Packets that were given to a rail from outside.
    pub sent: u64,
    random: u64,
    addresses: Vec<IpAddr>,
}

impl Network {
    pub fn new(configs: &[String]) -> Self {
        let rails: Vec<_> = configs.iter().map(|c| Rail::crew(c, WORKERS)).collect();
        let addresses = rails.iter().map(|crew: &Vec<Rail>| own_address(&crew[0]));
        Network {
            addresses: addresses.collect(),
            rails,
            early: VecDeque::new(),
            travelling: VecDeque::new(),
            arrived: Vec::new(),
            dropped: BTreeMap::new(),
            most_hops: 0,
            sent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    pub fn of(pool: &Pool) -> Self {
        let configs: Vec<_> = (0..pool.rails).map(|rail| pool.config(rail)).collect();
        Network::new(&configs)
    }

    /// A number below `bound`; the same ones in every run.
    pub fn random(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.random(at + 1));
        }
    }

    /// Changes something on every worker of a rail.
    pub fn each_worker(&mut self, rail: usize, change: impl Fn(&mut Rail)) {
        self.rails[rail].iter_mut().for_each(change);
    }

    /// Another pool for all rails.
    pub fn reload(&mut self, pool: &Pool) {
        for rail in 0..self.rails.len() {
            let config = pool.config(rail);
            self.each_worker(rail, |worker| worker.reload(&config));
        }
    }

    /// A packet reaches a rail, and goes on from there until it is held, dropped or out.
    pub fn send(&mut self, rail: usize, frame: &[u8]) {
        self.sent += 1;
        self.travelling.push_back(Travelling {
            to: rail,
            frame: frame.to_vec(),
            hops: 0,
        });
        self.run();
    }

    /// As many packets reach a rail of each one's own before any goes on.
    pub fn send_all(&mut self, frames: Vec<(usize, Vec<u8>)>) {
        self.sent += frames.len() as u64;
        let travelling = frames
            .into_iter()
            .map(|(to, frame)| Travelling { to, frame, hops: 0 });
        self.travelling.extend(travelling);
        self.run();
    }

    fn run(&mut self) {
        while let Some(next) = self.travelling.pop_front() {
            self.most_hops = self.most_hops.max(next.hops);
            let worker = self.random(WORKERS);
            let (verdict, frame) = self.rails[next.to][worker].receive(next.frame);
            self.note(next.to, worker, verdict, frame, next.hops);
        }
    }

    fn note(&mut self, rail: usize, worker: usize, verdict: Verdict, frame: Frame, hops: usize) {
        match verdict {
            Verdict::Forward(_) => {
                let (to, packet) = outer(frame.data());
                match self.addresses.iter().position(|own| *own == to) {
                    Some(to) => {
                        // Every next hop has one link address here; on the way it becomes the rail's.
                        assert_eq!(frame.data()[..6], NEXT_HOP_MAC.octets());
                        let frame = [&RAIL_MAC.octets(), &frame.data()[6..]].concat();
                        let hops = hops + 1;
                        self.travelling.push_back(Travelling { to, frame, hops });
                    }
                    None => self.arrived.push(Arrived {
                        by: rail,
                        backend: to,
                        packet,
                    }),
                }
            }
            Verdict::Await => self.early.push_back((rail, worker, frame, hops)),
            Verdict::Split(_) => {
                let pieces = self.rails[rail][worker].split(&frame, verdict);
                // What is made here beyond the one that came is to arrive, too.
                self.sent += pieces.len() as u64 - 1;
                for (verdict, piece) in pieces {
                    self.note(rail, worker, verdict, piece, hops);
                }
            }
            Verdict::Drop(reason) => *self.dropped.entry(reason).or_default() += 1,
            other => panic!("{other:?} for {frame:?}"),
        }
    }

    /// Tries every waiting fragment once more.
    pub fn retry(&mut self) {
        for _ in 0..self.early.len() {
            let (rail, worker, mut frame, hops) = self.early.pop_front().expect("counted");
            let verdict = self.rails[rail][worker].retry(0, &mut frame);
            self.note(rail, worker, verdict, frame, hops);
        }
        self.run();
    }

    /// Fragments that wait now.
    pub fn waiting(&self) -> usize {
        self.early.len()
    }

    /// Everything sent is at a backend, dropped or waiting.
    pub fn check_books(&self) {
        let dropped: u64 = self.dropped.values().sum();
        let ended = self.arrived.len() as u64 + dropped + self.waiting() as u64;
        assert_eq!(self.sent, ended, "{:?}", self.dropped);
    }

    /// A counter of a rail, over its workers.
    pub fn counted(
        &self,
        rail: usize,
        read: impl Fn(&rustyrail::table::counters::Counters) -> u64,
    ) -> u64 {
        let workers = self.rails[rail].iter();
        workers.map(|worker| read(worker.counters())).sum()
    }
}

fn own_address(rail: &Rail) -> IpAddr {
    rail.config().ports[0].addresses[0].address()
}

/// The destination of the outer header and the packet in it, read without the rail's parsers.
pub fn outer(frame: &[u8]) -> (IpAddr, Vec<u8>) {
    assert_eq!(frame[12..14], [8, 0], "the outer header is IPv4");
    assert_eq!(frame[14], 0x45);
    assert_eq!(frame[23], 47, "GRE");
    let to: [u8; 4] = frame[30..34].try_into().expect("four bytes");
    let gre = if frame[34] & 0x20 != 0 { 8 } else { 4 };
    (to.into(), frame[34 + gre..].to_vec())
}

/// The GRE key of a frame, if it has one.
pub fn gre_key(frame: &[u8]) -> Option<u32> {
    let key = (frame[34] & 0x20 != 0).then(|| frame[38..42].try_into().expect("four bytes"));
    key.map(u32::from_be_bytes)
}
