//! What is known of a burst between its two stages, and the stage that finds it out.
//!
//! Every step is a loop of its own over the whole burst: short loops keep many packets in the core's window
//! at once, so that the memory one of them waits for is waited for by all.

use crate::table::claim::Claim;
use crate::table::conn::Segment;
use crate::table::hash::{BURST, FlowHash};
use crate::table::service::ServiceIndex;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::{Parsed, classify};
use super::flows::{Flows, look_up};
use super::frame::Frame;
use super::packet::Packet;
use super::plain::{Plain, Read};
use super::{Pipeline, flow_hash};

/// What is known of a burst between its two stages.
#[derive(Debug)]
pub struct Stage {
    pub(super) flows: Flows,
    pub(super) plain: Plain,
    /// The lanes of plain packets, as bits.
    pub(super) lanes: Read,
    /// Those of them whose services are not tracked, as bits.
    pub(super) untracked: u32,
    pub(super) parsed: [Parsed; BURST],
    pub(super) len: usize,
    pub(super) generation: u64,
    pub(super) ingress: PortIndex,
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Stage {
            flows: Flows::new(),
            plain: Plain::default(),
            lanes: Read::default(),
            untracked: 0,
            parsed: [Parsed::EMPTY; BURST],
            len: 0,
            generation: 0,
            ingress: PortIndex(0),
        }
    }

    /// The lanes of plain packets whose connections are tracked, as bits.
    pub(super) fn tracked(&self) -> u32 {
        self.lanes.all() & !self.untracked
    }

    /// The hashes of its packets, if any of them will be looked up in the connection table.
    #[inline(always)]
    pub(super) fn looked_up(&self) -> &[FlowHash] {
        let none = self.untracked != 0 && self.tracked() == 0;
        let len = if none { 0 } else { self.len };
        self.flows.hashes.get(..len).unwrap_or_default()
    }

    /// Forgets the burst.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The port the burst came in through.
    #[inline]
    pub fn ingress(&self) -> PortIndex {
        self.ingress
    }

    /// Bytes of the plain packet in this lane, and its DSCP and ECN.
    #[inline(always)]
    pub(super) fn inner(&self, lane: usize) -> (u32, u8) {
        let shape = self.plain.shape[lane % BURST];
        (shape >> 16, (shape >> 8) as u8)
    }

    /// The service of the plain packet in this lane.
    #[inline(always)]
    pub(super) fn service(&self, snapshot: &Snapshot, lane: usize) -> Option<ServiceIndex> {
        let claim = self.flows.claims[lane % BURST];
        let found = match claim.service() {
            Some(index) => index,
            None if self.lanes.v6 >> lane & 1 != 0 => self.service_v6(snapshot, lane),
            None => snapshot.map.lookup_v4(claim.v4_key()),
        };
        (found != ServiceIndex::NONE).then_some(found)
    }

    #[inline(never)]
    fn service_v6(&self, snapshot: &Snapshot, lane: usize) -> ServiceIndex {
        snapshot.map.lookup_v6(self.plain.v6_key(lane))
    }

    /// The plain packet in this lane.
    #[inline(always)]
    pub(super) fn packet(&self, lane: usize) -> Packet {
        let lane = lane % BURST;
        let (l3, shape) = (self.plain.l3, self.plain.shape[lane]);
        let ip_header = if self.lanes.v6 >> lane & 1 != 0 {
            40
        } else {
            20
        };
        Packet {
            hash: self.flows.hashes[lane],
            l3,
            l4: l3 + ip_header,
            end: l3 + (shape >> 16) as u16,
            protocol: IpProtocol(shape as u8),
            class: TrafficClass((shape >> 8) as u8),
            says: Segment::of(self.plain.says[lane]),
            decapsulated: false,
            headless: false,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Stage::new()
    }
}

impl Pipeline {
    /// First stage: parse, hash, find the services. Changes no frame.
    pub fn front<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        frames: &[F],
        stage: &mut Stage,
    ) {
        self.adopt(snapshot);
        stage.generation = snapshot.generation;
        stage.ingress = ingress;
        stage.len = frames.len().min(BURST);
        stage.lanes = Read::default();
        stage.untracked = 0;
        // Where every packet is looked at closely anyway, none is plain.
        let port = snapshot.ports.get(usize::from(ingress.0));
        let closely = snapshot.peers.mirror || snapshot.keeps_tags;
        if let Some(port) = port.filter(|_| !closely) {
            let look = self.conns.look();
            look_up(snapshot, (port, frames), look, &mut self.fields, stage);
        }
        let all = ((1u64 << stage.len) - 1) as u32;
        for lane in lanes_of(all & !stage.lanes.all()) {
            stage.parsed[lane] = read(snapshot, ingress, &frames[lane]);
            stage.flows.hashes[lane] = stage.parsed[lane].hash;
        }
        if self.flooded {
            Self::expect_new_flows(snapshot, stage);
        }
        if snapshot.peers.mirror {
            Self::sift(snapshot, frames, &mut stage.parsed);
        }
    }

    /// Finds the services of a burst whose flows are new, most likely, and asks for their Maglev slots.
    #[cold]
    fn expect_new_flows(snapshot: &Snapshot, stage: &mut Stage) {
        for lane in lanes_of(stage.tracked()) {
            if let Some(index) = stage.service(snapshot, lane) {
                stage.flows.claims[lane] = Claim::of_service(index);
                let hash = stage.flows.hashes[lane];
                snapshot.shortcuts.prefetch_choice(index, hash);
            }
        }
    }
}

/// Any frame, with its hash.
#[inline(never)]
pub(super) fn read<F: Frame>(snapshot: &Snapshot, ingress: PortIndex, frame: &F) -> Parsed {
    let mut parsed = classify(snapshot, ingress, frame.data());
    parsed.hash = flow_hash(snapshot, &parsed);
    parsed
}

/// Works on the lanes whose bits are set. Mostly all are: then four at a time, as looking for bits costs a tenth of the
/// shortest loops.
#[inline(always)]
pub(super) fn for_lanes(bits: u32, mut work: impl FnMut(usize)) {
    if bits == !0 {
        for four in 0..BURST / 4 {
            for lane in 4 * four..4 * four + 4 {
                work(lane);
            }
        }
    } else {
        lanes_of(bits).for_each(work);
    }
}

/// The lanes whose bits are set.
#[inline(always)]
pub(super) fn lanes_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let lane = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        Some(lane)
    })
}
