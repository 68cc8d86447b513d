//! Whatever comes in: never a panic, a verdict for every frame, one counter for every verdict, and every
//! packet that leaves has lengths and checksums that are right.

use proptest::prelude::*;
use proptest::sample::Index;
use rustyrail::pipeline::Stage;
use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::traffic::{check_sent, kinds, pools, repair_ipv4};
use rustyrail::testkit::{Frame, Rail};

use crate::support::ROUTER;

#[derive(Debug, Clone)]
enum Change {
    Byte(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, to)| Change::Byte(at, to)),
        4 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Change::Append),
    ]
}

/// A frame: one of the kinds with a few changes, its IPv4 checksum put right again or not, or noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        0..kinds().len(),
        prop::collection::vec(change(), 0..5),
        any::<bool>(),
    );
    let changed = changed.prop_map(|(kind, changes, repair)| {
        let mut bytes = kinds().swap_remove(kind);
        for change in changes {
            apply(&mut bytes, change);
        }
        if repair {
            repair_ipv4(&mut bytes);
        }
        bytes
    });
    prop_oneof![
        8 => changed,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Byte(at, to) => {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        Change::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Append(more) => bytes.extend(more),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Burst(Vec<Vec<u8>>),
    /// A burst with a swap between its stages.
    Across(Vec<Vec<u8>>, usize),
    Swap(usize),
    Wait(u64),
    Unresolve(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let burst = || prop::collection::vec(frame(), 1..=32);
    prop_oneof![
        6 => burst().prop_map(Step::Burst),
        3 => (burst(), 0..4usize).prop_map(|(burst, pool)| Step::Across(burst, pool)),
        1 => (0..4usize).prop_map(Step::Swap),
        1 => (0..100_000u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Unresolve),
    ]
}

/// Counts verdicts the way the worker's books do.
#[derive(Default)]
struct Books {
    frames: u64,
    forwarded: u64,
    held: u64,
}

impl Books {
    fn note(&mut self, inputs: &[Vec<u8>], verdicts: &[Verdict], frames: &[Frame]) {
        assert_eq!(verdicts.len(), inputs.len());
        for ((input, verdict), frame) in inputs.iter().zip(verdicts).zip(frames) {
            self.frames += 1;
            match verdict {
                Verdict::Forward(_) => {
                    self.forwarded += 1;
                    check_sent(frame);
                }
                Verdict::Reply(_) => check_sent(frame),
                Verdict::Hold(_) | Verdict::Await | Verdict::Split(_) => {
                    self.held += 1;
                    assert_eq!(frame.data(), input);
                }
                Verdict::Host(_) | Verdict::Heard => assert_eq!(frame.data(), input),
                Verdict::Drop(_) => {}
            }
        }
    }

    fn check(&self, rail: &Rail) {
        let counters = rail.counters();
        let ends = counters.to_host.get() + counters.replies.get() + counters.dropped();
        assert_eq!(self.frames, ends + self.forwarded + self.held);
        assert_eq!(self.forwarded, rail.forwarded());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_traffic_over_any_history(steps in prop::collection::vec(step(), 1..25)) {
        let pools = pools();
        let mut rail = Rail::new(&pools[0]);
        let (mut books, mut now) = (Books::default(), 0);
        for step in steps {
            match step {
                Step::Burst(inputs) => {
                    let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
                    let verdicts = rail.receive_burst(0, &mut frames);
                    books.note(&inputs, &verdicts, &frames);
                }
                Step::Across(inputs, pool) => {
                    let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
                    let mut stage = Stage::new();
                    rail.front(0, &frames, &mut stage);
                    rail.reload(&pools[pool]);
                    let verdicts = rail.finish(&mut frames, &mut stage);
                    books.note(&inputs, &verdicts, &frames);
                }
                Step::Swap(pool) => rail.reload(&pools[pool]),
                Step::Wait(seconds) => {
                    now += seconds;
                    rail.at(now);
                }
                Step::Unresolve(four) => {
                    rail.unresolve(if four { ROUTER } else { "2001:db8:f::1" });
                }
            }
            books.check(&rail);
        }
    }
}

/// Every kind, cut at every length and with every byte changed in turn: no panic, always a verdict.
#[test]
fn every_kind_cut_and_bent_at_every_byte() {
    let mut rail = Rail::new(&pools()[0]);
    let mut books = Books::default();
    for kind in kinds() {
        for at in 0..kind.len() {
            let mut inputs = vec![kind[..at].to_vec()];
            for value in [0, 1, 0x0f, 0x40, 0x7f, 0x80, 0xff] {
                let mut bent = kind.clone();
                bent[at] = value;
                inputs.push(bent.clone());
                repair_ipv4(&mut bent);
                inputs.push(bent);
            }
            let mut frames: Vec<Frame> = inputs.iter().map(|i| Frame::new(i)).collect();
            let verdicts = rail.receive_burst(0, &mut frames);
            books.note(&inputs, &verdicts, &frames);
            books.check(&rail);
        }
    }
}
