//! Whole frames through both stages of the packet path, with snapshots swapped in between.
//!
//! The input is a sequence of records: a control byte, a length (two bytes, little-endian), a frame. The
//! lowest bit of the control byte ends the burst before this frame; the next two choose the snapshot that is
//! put in place between the stages of that burst; the two after those the ingress port, of which there is
//! just one; the rest moves the clock.

#![no_main]

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use libfuzzer_sys::fuzz_target;
use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::shared::Shared;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::pipeline::{Pipeline, Stage};
use rustyrail::table::conn::{ConnOwner, ConnSettings};
use rustyrail::table::counters::Counters;
use rustyrail::table::hash::BURST;
use rustyrail::table::snapshot::{PortIndex, Snapshot};
use rustyrail::table::{BackendId, Nanos};
use rustyrail::testkit::traffic::{check_sent, pools, repair_ipv4};
use rustyrail::testkit::{Frame, Rail};

/// More than the pools have.
const BACKENDS: u32 = 64;

/// How long a fragmented datagram is remembered: some of its fragments come late.
const DATAGRAM: Duration = Duration::from_secs(5);

/// A snapshot of each pool, every one with a generation of its own.
static SNAPSHOTS: LazyLock<Vec<Arc<Snapshot>>> = LazyLock::new(|| {
    let pools = pools();
    let mut rail = Rail::new(&pools[0]);
    let compile = |pool: &String| {
        rail.reload(pool);
        Arc::clone(rail.snapshot())
    };
    pools.iter().map(compile).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let mut run = Run::new();
    let mut burst = Vec::new();
    for (control, frame) in Records(bytes) {
        if control & 1 == 1 || burst.len() == BURST {
            run.burst(&mut burst, control);
        }
        burst.push(frame);
    }
    run.burst(&mut burst, 0);
    run.check_books();
});

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[control, low, high], rest) = self.0.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (frame, rest) = rest.split_at(len);
        self.0 = rest;
        Some((control, frame))
    }
}

struct Run {
    pipeline: Pipeline,
    counters: Arc<Counters>,
    snapshot: &'static Snapshot,
    now: Nanos,
    frames: u64,
    forwarded: u64,
    held: u64,
}

impl Run {
    fn new() -> Self {
        let snapshot = &*SNAPSHOTS[0];
        let settings = ConnSettings {
            flows: 64,
            timeouts: snapshot.timeouts,
            new_pins_per_second: 16,
        };
        let conns = ConnOwner::new(&settings).expect("memory for a small table");
        let counters = Arc::new(Counters::new(BACKENDS as usize));
        let news = Arc::new(ArrayQueue::new(4));
        let mut shared = Shared::new(4, DATAGRAM, news).expect("memory for a small table");
        let tables = Box::from([Arc::clone(conns.table())]);
        shared.tables = Arc::new(OnceLock::from(tables));
        Run {
            pipeline: Pipeline::new(conns, Arc::clone(&counters), shared, snapshot.hash_key),
            counters,
            snapshot,
            now: Nanos(0),
            frames: 0,
            forwarded: 0,
            held: 0,
        }
    }

    /// The burst as it is, then once more with its IPv4 checksums made right.
    fn burst(&mut self, burst: &mut Vec<&[u8]>, control: u8) {
        let as_they_are: Vec<_> = burst.iter().map(|frame| frame.to_vec()).collect();
        let mut repaired = as_they_are.clone();
        for frame in &mut repaired {
            repair_ipv4(frame);
        }
        self.process(&as_they_are, control);
        self.process(&repaired, control);
        burst.clear();
    }

    fn process(&mut self, inputs: &[Vec<u8>], control: u8) {
        let mut frames: Vec<Frame> = inputs.iter().map(|input| Frame::new(input)).collect();
        let mut stage = Stage::new();
        self.pipeline
            .front(self.snapshot, PortIndex(0), &frames, &mut stage);
        self.snapshot = &SNAPSHOTS[usize::from(control >> 1 & 3)];
        self.now = Nanos(self.now.0 + (u64::from(control >> 5) << 32));
        let snapshot = self.snapshot;
        let ways = self
            .pipeline
            .steer_burst(snapshot, &frames, &mut stage, None, self.now);
        let departed = self.pipeline.rewrite_burst(&mut frames, &stage, &ways);
        let mut verdicts = Vec::new();
        for (lane, frame) in frames.iter_mut().enumerate() {
            let place = (lane, &stage, &ways);
            verdicts.push(self.pipeline.conclude(snapshot, frame, &departed, place));
        }
        for ((input, frame), verdict) in inputs.iter().zip(&frames).zip(verdicts) {
            self.frames += 1;
            match verdict {
                Verdict::Forward(_) => {
                    self.forwarded += 1;
                    check_sent(frame);
                }
                Verdict::Reply(_) => check_sent(frame),
                // Of these somebody else keeps the books.
                Verdict::Hold(_) | Verdict::Await | Verdict::Host(_) | Verdict::Split(_) => {
                    self.held += 1;
                    assert_eq!(frame.data(), input);
                }
                Verdict::Heard => assert_eq!(frame.data(), input),
                Verdict::Drop(_) => {}
            }
        }
    }

    fn check_books(&self) {
        let counters = &self.counters;
        let ends = counters.to_host.get() + counters.replies.get() + counters.dropped();
        assert_eq!(self.frames, ends + self.forwarded + self.held);
        let ids = (1..=BACKENDS).filter_map(|id| BackendId::new(id).ok());
        let packets = ids.filter_map(|id| Some(counters.backend(id)?.packets.get()));
        assert_eq!(self.forwarded, packets.sum::<u64>());
    }
}
