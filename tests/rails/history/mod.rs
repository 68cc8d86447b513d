//! A history of two rails with two workers each, read from bytes: fragments in any order and shape, errors
//! that quote them, time, snapshots that are swapped between the stages of a burst, rails that die in each
//! other's eyes, next hops that are lost. Any bytes are a history; what must hold in all of them is
//! checked after every step.
//!
//! A worker here does with verdicts what the real one does, with the same queues for what is held.

mod packets;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use rustyrail::pipeline::Stage;
use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::pool::Config;
use rustyrail::table::Nanos;
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::rail::read;
use rustyrail::testkit::traffic::check_sent;
use rustyrail::testkit::{Frame, RAIL_MAC, Rail};

use crate::network::{Pool, VIP, VIP6, outer, rail_address, service};
use packets::{
    Datagram, datagram_of, error, flow_of, is_of_a_client, odd_piece, packet_of, piece, whole,
};
use worker::Worker;

const RAILS: usize = 2;
const WORKERS: usize = 2;
/// Pools to change between.
const POOLS: usize = 4;
const PORT: PortIndex = PortIndex(0);
const GATEWAY: &str = "192.0.2.1";
const CLIENTS: u8 = 4;
/// Fragments that may wait at a worker.
const HELD: usize = 6;
/// The longest that anything waits: the fragments' time is shorter.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is left of the bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A number below `bound`; zero when the bytes have ended.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % bound
    }
}

/// Rails, and what has become of the packets.
pub struct History {
    rails: Vec<Vec<Worker>>,
    travelling: VecDeque<(usize, Vec<u8>)>,
    now: Nanos,
    turn: usize,
    /// Which pool is in force.
    pool: usize,
    /// Whether a rail takes the other one for alive.
    alive: [bool; RAILS],
    /// Where the clients' fragments of a datagram (not such as a rail cut) went since the rails' views and the second were last other ones: the
    /// first answer counts, whatever becomes of the pool.
    ends: BTreeMap<Datagram, BTreeSet<(usize, IpAddr)>>,
    /// Where a client's flow went while nothing had changed yet.
    flows: BTreeMap<Vec<u8>, IpAddr>,
    /// Neither pool nor views nor the hold of a table have changed.
    pristine: bool,
    seen: Seen,
    /// Everything that was sent in, without its link header; nothing once packets may be cut.
    known: Option<BTreeSet<Vec<u8>>>,
}

/// What a history has led to: a check of what never happens is worth little.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Fragments at backends, while their ends were compared.
    pub compared: u64,
    /// Errors at backends, while flows were compared.
    pub errors: u64,
    /// Packets from rail to rail.
    pub handed: u64,
    /// Pieces that a rail made.
    pub cut: u64,
    /// Fragments that waited for the first one.
    pub waited: u64,
    /// Packets that waited for a next hop.
    pub held: u64,
    /// Answers to senders.
    pub replies: u64,
}

/// Lives through a history; panics if something does not hold.
pub fn live(bytes: &[u8]) -> Seen {
    let mut history = History::new();
    let mut bytes = Bytes(bytes);
    while let Some(kind) = bytes.next() {
        history.step(kind, &mut bytes);
        history.run();
        history.check();
    }
    history.end();
    history.seen
}

fn pool(which: usize) -> Pool {
    let states: &[&str] = match which {
        0 => &["up", "up", "up"],
        1 => &["up", "drain", "up", "up"],
        2 => &["down", "up"],
        _ => &["down"],
    };
    let udp = "protocol = \"udp\"\nport = 53";
    let services = service("dns", VIP, udp, states) + &service("dns6", VIP6, udp, states);
    let limits = format!(
        "\n[limits]\nheld_fragments = {HELD}\nfragments = 4096\nfragment_time = \"5s\"\n\
         held_fragment_time = \"100ms\"\n"
    );
    Pool::new(RAILS, &(services + &limits))
}

/// The configuration of a rail with one of the pools, read once.
fn config(rail: usize, which: usize) -> Config {
    static ALL: LazyLock<Vec<Config>> = LazyLock::new(|| {
        let all = (0..RAILS * POOLS).map(|index| {
            let text = pool(index % POOLS).config(index / POOLS);
            // A small table: 65,536 flows would take longer to make than a history.
            read(&text.replace("flows = 65536", "flows = 1024"))
        });
        all.collect()
    });
    ALL[rail * POOLS + which].clone()
}

impl History {
    fn new() -> Self {
        let crew = |rail| {
            let crew = Rail::crew_of(config(rail, 0), WORKERS);
            crew.into_iter().map(Worker::new).collect()
        };
        History {
            rails: (0..RAILS).map(crew).collect(),
            travelling: VecDeque::new(),
            now: Nanos(0),
            turn: 0,
            pool: 0,
            alive: [true; RAILS],
            ends: BTreeMap::new(),
            flows: BTreeMap::new(),
            pristine: true,
            seen: Seen::default(),
            known: Some(BTreeSet::new()),
        }
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        let rail = bytes.below(RAILS);
        match kind % 32 {
            0 | 1 => {
                let whole = whole(bytes);
                self.send(rail, whole);
            }
            2..=17 => {
                let piece = piece(bytes);
                self.send(rail, piece);
            }
            18 | 19 => {
                let odd = odd_piece(bytes);
                if !is_of_a_client(&packet_of(&odd)) {
                    // It may push another one out of the fragment memory.
                    self.ends.clear();
                }
                self.send(rail, odd);
            }
            20 | 21 => self.burst(rail, bytes),
            22..=24 => {
                let error = error(rail, bytes);
                self.send(rail, error);
            }
            25 | 26 => self.attend(),
            27 => self.advance(bytes),
            28 => self.set_alive(rail, bytes.below(2) == 1),
            29 => self.reload(bytes.below(POOLS)),
            30 => {
                let lost = bytes.below(2) == 1;
                self.each(rail, |worker| {
                    if lost {
                        worker.rail.unresolve(GATEWAY);
                    } else {
                        worker
                            .rail
                            .resolve(GATEWAY, rustyrail::testkit::rail::NEXT_HOP_MAC);
                    }
                });
            }
            _ => {
                let end = match bytes.below(4) {
                    0 => rail_address(1 - rail),
                    backend => format!("198.18.0.{backend}"),
                };
                let mtu = [100, 576, 1280, 1500][bytes.below(4)];
                self.known = None;
                self.each(rail, |worker| worker.rail.path_mtu(&end, mtu));
            }
        }
    }

    fn each(&mut self, rail: usize, change: impl Fn(&mut Worker)) {
        self.rails[rail].iter_mut().for_each(change);
    }

    fn send(&mut self, rail: usize, frame: Vec<u8>) {
        if let Some(known) = &mut self.known {
            known.insert(packet_of(&frame));
        }
        self.travelling.push_back((rail, frame));
    }

    /// Several pieces at one worker, whose tables are swapped between the stages.
    fn burst(&mut self, rail: usize, bytes: &mut Bytes<'_>) {
        let (worker, swap) = (bytes.below(WORKERS), bytes.below(4));
        let inputs: Vec<_> = (0..1 + bytes.below(6)).map(|_| piece(bytes)).collect();
        for input in &inputs {
            if let Some(known) = &mut self.known {
                known.insert(packet_of(input));
            }
        }
        let mut frames: Vec<_> = inputs.into_iter().map(Frame::from).collect();
        let mut stage = Stage::new();
        let place = &mut self.rails[rail][worker];
        place.received += frames.len() as u64;
        place.rail.front(0, &frames, &mut stage);
        if swap > 0 {
            self.reload(swap);
        }
        let verdicts = self.rails[rail][worker]
            .rail
            .finish(&mut frames, &mut stage);
        for (verdict, frame) in verdicts.into_iter().zip(frames) {
            self.deliver(rail, worker, verdict, frame);
        }
    }

    fn run(&mut self) {
        let mut hops = 0;
        while let Some((rail, frame)) = self.travelling.pop_front() {
            hops += 1;
            assert!(hops < 64, "something goes round");
            self.turn += 1;
            let worker = self.turn % WORKERS;
            let place = &mut self.rails[rail][worker];
            place.received += 1;
            let (verdict, frame) = place.rail.receive(frame);
            self.deliver(rail, worker, verdict, frame);
        }
    }

    fn deliver(&mut self, rail: usize, worker: usize, verdict: Verdict, frame: Frame) {
        let now = self.now;
        let place = &mut self.rails[rail][worker];
        match verdict {
            Verdict::Forward(_) => {
                place.sent += 1;
                check_sent(&frame);
                self.forwarded(rail, &frame);
            }
            Verdict::Reply(_) => {
                self.seen.replies += 1;
                place.sent += 1;
                check_sent(&frame);
            }
            Verdict::Hold(hop) => {
                self.seen.held += 1;
                if place.hold.push(frame, PORT, hop, now).is_err() {
                    place.rail.counters().count_drop(DropReason::Neighbor);
                }
            }
            Verdict::Await => {
                self.seen.waited += 1;
                let (len, limits) = (frame.data().len(), place.rail.snapshot().early);
                if place.early.push(frame, len, PORT, now, &limits).is_err() {
                    place.rail.counters().count_drop(DropReason::Fragment);
                }
            }
            Verdict::Split(_) => {
                for (verdict, piece) in place.rail.split(&frame, verdict) {
                    self.seen.cut += 1;
                    if let Verdict::Forward(_) = verdict {
                        self.deliver(rail, worker, verdict, piece);
                    }
                }
            }
            // Counted by whoever gave the verdict.
            Verdict::Host(_) | Verdict::Heard | Verdict::Drop(_) => {}
        }
    }

    /// A frame left a rail: for the other one, or for a backend.
    fn forwarded(&mut self, rail: usize, frame: &Frame) {
        let (to, packet) = outer(frame.data());
        if to.to_string() == rail_address(1 - rail) {
            let frame = [&RAIL_MAC.octets(), &frame.data()[6..]].concat();
            self.seen.handed += 1;
            self.travelling.push_back((1 - rail, frame));
            return;
        }
        assert_ne!(to.to_string(), rail_address(rail), "sent to itself");
        if let Some(known) = &self.known {
            assert!(known.contains(&packet), "never sent in: {packet:02x?}");
        }
        if let Some(datagram) = datagram_of(&packet)
            && is_of_a_client(&packet)
            && self.alive == [true; RAILS]
        {
            let ends = self.ends.entry(datagram).or_default();
            self.seen.compared += ends.len() as u64;
            ends.insert((rail, to));
            assert_eq!(ends.len(), 1, "fragments of one datagram went to {ends:?}");
        }
        if let Some(flow) = flow_of(&packet)
            && self.pristine
        {
            self.seen.errors += u64::from(packet[0] == 0x45 && packet[9] == 1);
            let first = *self.flows.entry(flow).or_insert(to);
            assert_eq!(
                first, to,
                "a flow, its fragments and errors go to one backend"
            );
        }
    }

    /// What a worker does with what waits.
    fn attend(&mut self) {
        let now = self.now;
        for (rail, worker) in places() {
            let place = &mut self.rails[rail][worker];
            while place.hold.expired(now).is_some() {
                place.rail.counters().count_drop(DropReason::Neighbor);
            }
            let generation = place.rail.snapshot().generation;
            if place.hold.worth_retrying(generation) {
                for _ in 0..place.hold.len() {
                    self.retry_held(rail, worker);
                }
            }
            for _ in 0..self.rails[rail][worker].early.len() {
                self.retry_early(rail, worker);
            }
        }
    }

    fn retry_held(&mut self, rail: usize, worker: usize) {
        let place = &mut self.rails[rail][worker];
        let Some(mut held) = place.hold.pop() else {
            return;
        };
        match place.rail.retry(0, &mut held.frame) {
            Verdict::Hold(hop) => place.hold_on(held, hop),
            verdict => self.deliver_late(rail, worker, verdict, held.frame),
        }
    }

    fn retry_early(&mut self, rail: usize, worker: usize) {
        let now = self.now;
        let place = &mut self.rails[rail][worker];
        let Some(mut early) = place.early.pop() else {
            return;
        };
        match place.rail.retry(0, &mut early.frame) {
            Verdict::Await if early.until > now => place.early.put_back(early),
            Verdict::Await => place.rail.counters().count_drop(DropReason::Fragment),
            verdict => self.deliver_late(rail, worker, verdict, early.frame),
        }
    }

    fn deliver_late(&mut self, rail: usize, worker: usize, verdict: Verdict, frame: Frame) {
        if let Verdict::Host(_) = verdict {
            self.rails[rail][worker].rail.counters().to_host.add(1);
        }
        self.deliver(rail, worker, verdict, frame);
    }

    fn advance(&mut self, bytes: &mut Bytes<'_>) {
        let unit = [1, 40, 1000][bytes.below(3)];
        let step = Duration::from_millis(unit * (1 + bytes.below(16) as u64));
        self.pass(step);
    }

    fn pass(&mut self, step: Duration) {
        let second = self.now.as_secs();
        self.now = self.now + step;
        let now = self.now;
        if now.as_secs() != second {
            // What is remembered may be over.
            self.ends.clear();
        }
        for rail in 0..RAILS {
            self.each(rail, |worker| worker.rail.at_time(now));
        }
    }

    fn set_alive(&mut self, rail: usize, alive: bool) {
        self.alive[rail] = alive;
        self.ends.clear();
        let other = rail_address(1 - rail);
        self.each(rail, |worker| worker.rail.set_alive(&other, alive));
    }

    fn reload(&mut self, which: usize) {
        self.pristine &= which == self.pool;
        self.pool = which;
        for rail in 0..RAILS {
            let config = config(rail, which);
            self.each(rail, |worker| worker.rail.reload_with(config.clone()));
        }
    }

    fn check(&self) {
        self.rails.iter().flatten().for_each(Worker::check);
    }

    /// Nothing waits for ever.
    fn end(&mut self) {
        for _ in 0..2 {
            self.pass(LONGEST_WAIT);
            self.attend();
            self.run();
        }
        self.check();
        for worker in self.rails.iter().flatten() {
            assert!(worker.early.is_empty() && worker.hold.is_empty());
        }
    }
}

fn places() -> impl Iterator<Item = (usize, usize)> {
    (0..RAILS).flat_map(|rail| (0..WORKERS).map(move |worker| (rail, worker)))
}

#[cfg(test)]
mod tests;
