//! What is said between this rail and the others: probes, and a last one.

use std::net::IpAddr;

use crate::table::Nanos;
use crate::wire::probe::ProbeHeader;

use super::probe;
use super::rail::Rail;

impl Rail {
    /// Hears the probes of other rails and sends them theirs. Returns whether one has come or gone.
    pub(super) fn meet(&mut self, now: Nanos) -> bool {
        let mut moved = false;
        while let Some(heard) = self.heard.as_ref().and_then(|heard| heard.pop()) {
            moved |= self.peering.hear(&heard, now);
        }
        moved |= self.peering.expire(now);
        let due = self.peering.due(now);
        self.send(due);
        moved
    }

    /// Tells the other rails that this one ends, so that they need not find out. What it still gets it
    /// goes on forwarding.
    pub fn leave(&mut self) {
        let last = self.peering.leave();
        self.send(last);
    }

    fn send(&self, probes: Vec<(IpAddr, ProbeHeader)>) {
        for (to, probe) in probes {
            if let Some((port, frame)) = probe::frame(self.publisher.current(), to, probe) {
                self.hardware.send(port, &frame);
            }
        }
    }
}
