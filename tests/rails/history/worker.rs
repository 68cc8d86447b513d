//! A worker of a rail without ports: its packet path and its queues.

use rustyrail::pipeline::verdict::DropReason;
use rustyrail::table::counters::Counters;
use rustyrail::table::snapshot::HopIndex;
use rustyrail::testkit::{Frame, Rail};
use rustyrail::worker::{EarlyFragments, Held, Hold};

use super::HELD;

/// One, with what it holds and how much it has received and sent.
pub struct Worker {
    pub rail: Rail,
    pub early: EarlyFragments<Frame>,
    pub hold: Hold<Frame>,
    pub received: u64,
    pub sent: u64,
}

impl Worker {
    pub fn new(rail: Rail) -> Self {
        Worker {
            rail,
            early: EarlyFragments::with_capacity(HELD),
            hold: Hold::new(),
            received: 0,
            sent: 0,
        }
    }

    /// What came in or was made here has gone out, to the host or into a drop, or it waits.
    pub fn check(&self) {
        let Counters {
            generated, to_host, ..
        } = self.rail.counters();
        let waiting = self.early.len() + self.hold.len();
        let came = self.received + generated.get();
        let went = self.sent + to_host.get() + self.rail.counters().dropped() + waiting as u64;
        assert_eq!(came, went, "the books of a worker");
        assert!(self.early.len() <= HELD);
    }

    /// Keeps a frame that was held already.
    pub fn hold_on(&mut self, held: Held<Frame>, hop: HopIndex) {
        if self.hold.push_again(held, hop).is_err() {
            self.rail.counters().count_drop(DropReason::Neighbor);
        }
    }
}
