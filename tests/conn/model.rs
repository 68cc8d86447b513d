//! Random histories of a table, compared step by step with a map that remembers everything.

use std::collections::HashMap;

use proptest::prelude::*;
use rustyrail::table::conn::{ConnOwner, ConnSettings, Entry, Inserted, Segment};
use rustyrail::table::hash::slot_of_tag;
use rustyrail::table::{FlowHash, Nanos};

use super::{BUCKET, at, id, timeouts};

/// One step of a random history.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A packet of a flow: a hit is touched, a miss inserted for the backend.
    Packet(u8, Segment, u8),
    /// A packet that finds its backend dead, or a SYN on a closing entry.
    Repin(u8, Segment, u8),
    Remove(u8),
    /// Time passes: seconds.
    Wait(u32),
}

/// The flows of the model share two buckets, so that they press on one another.
fn model_flow(flow: u8) -> FlowHash {
    FlowHash((u64::from(flow) * 7) << 32 | u64::from(flow % 2))
}

fn segment() -> impl Strategy<Value = Segment> + Clone {
    prop_oneof![
        3 => Just(Segment::Syn),
        1 => Just(Segment::SynAck),
        3 => Just(Segment::TcpData),
        1 => Just(Segment::TcpClose),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    // Flows from 20 on are UDP: a flow's protocol is part of its hash.
    let packet = (0u8..30, segment(), 1u8..5).prop_map(|(flow, segment, backend)| {
        let segment = if flow < 20 {
            segment
        } else {
            Segment::Datagram
        };
        (flow, segment, backend)
    });
    let wait = prop_oneof![
        4 => 0u32..40,
        1 => 0u32..400,
        1 => 30_000u32..36_000,
    ];
    prop_oneof![
        12 => packet.clone().prop_map(|(flow, segment, backend)| Op::Packet(flow, segment, backend)),
        2 => packet.prop_map(|(flow, segment, backend)| Op::Repin(flow, segment, backend)),
        1 => (0u8..30).prop_map(Op::Remove),
        4 => wait.prop_map(Op::Wait),
    ]
}

/// What the model remembers of a flow: everything, without packing, age wrap or buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Flow {
    backend: u8,
    last: u64,
    closing: bool,
    promoted: bool,
}

const TCP: u64 = 320;
const UDP: u64 = 160;
const CLOSING: u64 = 48;
const EMBRYONIC: u64 = 24;
const MIN_IDLE: u64 = 64;

impl Flow {
    fn new(backend: u8, segment: Segment, now: u64) -> Self {
        let closing = segment == Segment::TcpClose;
        let promoted = closing || segment == Segment::TcpData;
        Flow {
            backend,
            last: now,
            closing,
            promoted,
        }
    }

    fn see(&mut self, segment: Segment, now: u64) {
        self.last = now;
        self.closing = segment == Segment::TcpClose;
        self.promoted |= !matches!(segment, Segment::Syn | Segment::SynAck);
    }

    fn timeout(&self, udp: bool) -> u64 {
        match (self.closing, self.promoted, udp) {
            (true, ..) => CLOSING,
            (_, false, _) => EMBRYONIC,
            (.., true) => UDP,
            _ => TCP,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// An answer is always the flow's own last backend; an entry is there for sure before its
    /// timeout unless evicted, never after it; evictions respect the order of worth.
    #[test]
    fn a_random_history_agrees_with_the_model(
        start in 0u64..100_000,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut owner = ConnOwner::new(&ConnSettings {
            flows: 8,
            timeouts: timeouts(TCP, UDP, CLOSING, EMBRYONIC, MIN_IDLE),
            new_pins_per_second: 1_000_000_000,
        }).unwrap();
        prop_assert_eq!(owner.table().buckets(), 2);
        let mut model: HashMap<u8, Flow> = HashMap::new();
        let mut now = start;
        at(&mut owner, now);
        for op in ops {
            match op {
                Op::Wait(seconds) => {
                    now += u64::from(seconds);
                    at(&mut owner, now);
                }
                Op::Packet(flow, segment, backend) => {
                    if let Some(found) = owner.find(model_flow(flow)) {
                        let known = model.get_mut(&flow);
                        prop_assert!(known.is_some(), "a pin out of nowhere: {:?}", found.entry());
                        let known = known.unwrap();
                        prop_assert_eq!(found.backend().get(), u32::from(known.backend));
                        prop_assert_eq!(found.entry().is_closing(), known.closing);
                        prop_assert_eq!(found.entry().is_promoted(), known.promoted);
                        prop_assert!(now - known.last < known.timeout(flow >= 20) + 16);
                        found.touch(segment);
                        known.see(segment, now);
                    } else {
                        // Gone: expired, for evicted ones have left the model already.
                        let known = model.remove(&flow);
                        prop_assert!(known.is_none_or(|k| now - k.last > k.timeout(flow >= 20)),
                            "lost a live entry: {:?}", known);
                        let before = live(&owner, now, &model);
                        let stats = *owner.stats();
                        let inserted = owner.insert(model_flow(flow), id(backend.into()), segment);
                        check_room(inserted, flow, now, &before, &mut model, &owner, stats.evictions)?;
                        if inserted != Inserted::Full {
                            model.insert(flow, Flow::new(backend, segment, now));
                        }
                    }
                }
                Op::Repin(flow, segment, backend) => {
                    if let Some(found) = owner.find(model_flow(flow)) {
                        found.repin(id(backend.into()), segment);
                        let known = model.get_mut(&flow).unwrap();
                        if segment == Segment::Syn {
                            *known = Flow::new(backend, segment, now);
                        } else {
                            known.see(segment, now);
                            known.backend = backend;
                        }
                    }
                }
                Op::Remove(flow) => {
                    if let Some(found) = owner.find(model_flow(flow)) {
                        found.remove();
                        model.remove(&flow);
                    }
                }
            }
            prop_assert_eq!(owner.table().entries().count() as u64, owner.stats().occupancy);
        }
    }

    /// Tag and slot of every entry can be found again from the entry and its place.
    #[test]
    fn a_scan_gives_back_bucket_tag_and_slot(
        hashes in prop::collection::hash_set(any::<u64>(), 1..200),
        m in 3u32..16_777_216,
    ) {
        let mut owner = ConnOwner::new(&ConnSettings {
            flows: 10_000, ..ConnSettings::default()
        }).unwrap();
        for &hash in &hashes {
            owner.insert(FlowHash(hash), id(1), Segment::Syn);
        }
        let mask = owner.table().buckets() - 1;
        let of_hash = |&hash: &u64| {
            let hash = FlowHash(hash);
            (hash.bucket(mask), hash.tag(), hash.slot(m))
        };
        let mut expected: Vec<_> = hashes.iter().map(of_hash).collect();
        let of_entry = |(bucket, entry): (usize, Entry)| {
            (bucket, entry.tag(), slot_of_tag(entry.tag(), m))
        };
        let mut scanned: Vec<_> = owner.table().entries().map(of_entry).collect();
        expected.sort();
        scanned.sort();
        prop_assert_eq!(scanned, expected);
    }
}

/// The model's flows that the table still holds, by what other threads can see of it.
fn live(owner: &ConnOwner, now: u64, model: &HashMap<u8, Flow>) -> Vec<u8> {
    let tick = Nanos::from_secs(now).tick();
    let present = |flow: &u8| {
        let hash = model_flow(*flow);
        owner.table().peek(hash, tick, owner.timeouts()).is_some()
    };
    model.keys().copied().filter(present).collect()
}

/// Checks who went to make room for `newcomer`, and takes the victim out of the model.
fn check_room(
    inserted: Inserted,
    newcomer: u8,
    now: u64,
    before: &[u8],
    model: &mut HashMap<u8, Flow>,
    owner: &ConnOwner,
    evictions: u64,
) -> Result<(), TestCaseError> {
    let after = live(owner, now, model);
    let neighbours: Vec<u8> = before
        .iter()
        .copied()
        .filter(|flow| flow % 2 == newcomer % 2)
        .collect();
    let victims: Vec<u8> = before
        .iter()
        .copied()
        .filter(|flow| !after.contains(flow))
        .collect();
    let ticks_idle = |flow: &Flow| now / 8 - flow.last / 8;
    let safe = |flow: &Flow| flow.promoted && !flow.closing && ticks_idle(flow) <= MIN_IDLE / 8;
    // Cheapest first: what it is, then how long it was idle.
    let worth = |flow: &Flow| {
        let class = match (flow.promoted, flow.closing) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        };
        (class, std::cmp::Reverse(ticks_idle(flow)))
    };
    match inserted {
        Inserted::New => prop_assert!(victims.is_empty(), "{victims:?} went unsaid"),
        Inserted::Full => {
            prop_assert!(victims.is_empty());
            prop_assert_eq!(neighbours.len(), BUCKET as usize);
            prop_assert!(neighbours.iter().all(|flow| safe(&model[flow])));
        }
        Inserted::Evicted => {
            prop_assert_eq!(victims.len(), 1);
            prop_assert_eq!(neighbours.len(), BUCKET as usize);
            prop_assert_eq!(owner.stats().evictions, evictions + 1);
            let victim = model.remove(&victims[0]).unwrap();
            prop_assert!(!safe(&victim), "evicted {victim:?} at {now}");
            let cheapest = neighbours
                .iter()
                .filter_map(|flow| model.get(flow))
                .map(worth)
                .min();
            prop_assert!(cheapest.is_none_or(|other| worth(&victim) <= other));
        }
        Inserted::Limited => prop_assert!(false, "the limit is out of reach here"),
    }
    Ok(())
}
