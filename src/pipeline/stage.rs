//! What is known of a burst between its two stages, and the stage that finds it out.
//!
//! Every step is a loop of its own over the whole burst: short loops keep many packets in the core's window
//! at once, so that the memory one of them waits for is waited for by all.

use crate::hw;
use crate::table::conn::Segment;
use crate::table::hash::{BURST, FlowHash, flow_hash_v4_burst, flow_hash_v6_burst};
use crate::table::service::{ServiceIndex, V4Key, V6Key};
use crate::table::snapshot::{Backend, PortIndex, PortView, Snapshot};
use crate::table::{BackendId, Nanos};
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::{Parsed, classify};
use super::frame::Frame;
use super::packet::{Extent, Packet};
use super::plain::{self, Fields, Plain};
use super::steer::Refusal;
use super::{FLOODED, Pipeline, flow_hash};

/// What is known of a burst between its two stages.
#[derive(Debug)]
pub struct Stage {
    hashes: [FlowHash; BURST],
    /// The services of plain packets; [`ServiceIndex::NONE`] for all other frames.
    pub(super) services: [ServiceIndex; BURST],
    plain: Plain,
    /// The lanes of IPv6 packets, as bits.
    v6: u32,
    /// The lanes of all frames that are not plain or match no service; they are in `parsed`.
    pub(super) others: u32,
    pub(super) parsed: [Parsed; BURST],
    pub(super) len: usize,
    pub(super) generation: u64,
    pub(super) ingress: PortIndex,
}

/// A burst while it is being looked up.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    fields: Fields,
    v6_hashes: [FlowHash; BURST],
}

/// Where the plain packets of a burst go, found under the snapshot it borrows from.
#[derive(Debug)]
pub struct Ways<'s> {
    backends: [Option<&'s Backend>; BURST],
    ids: [u32; BURST],
    /// Why a packet goes to none.
    refusals: [Option<Refusal>; BURST],
    /// What the burst behind will need: connection buckets, and Maglev slots while most flows are new.
    behind: ([*const u8; BURST], Option<[*const u8; BURST]>),
}

impl<'s> Ways<'s> {
    const NONE: Ways<'static> = Ways {
        backends: [None; BURST],
        ids: [0; BURST],
        refusals: [None; BURST],
        behind: ([std::ptr::null(); BURST], None),
    };

    /// Asks for what one packet of the burst behind will need: one with every packet, as all at once would be
    /// more than a core can wait for.
    #[inline(always)]
    pub(super) fn foresee(&self, lane: usize) {
        hw::prefetch_read(self.behind.0[lane % BURST]);
        if let Some(slots) = &self.behind.1 {
            hw::prefetch_read(slots[lane % BURST]);
        }
    }

    /// The backend of a packet and its id.
    #[inline(always)]
    pub(super) fn backend(&self, lane: usize) -> Option<(BackendId, &'s Backend)> {
        let backend = self.backends[lane % BURST]?;
        let id = BackendId::new(self.ids[lane % BURST]).ok()?;
        Some((id, backend))
    }

    pub(super) fn refusal(&self, lane: usize) -> Option<Refusal> {
        self.refusals[lane % BURST]
    }
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Stage {
            hashes: [FlowHash(0); BURST],
            services: [ServiceIndex::NONE; BURST],
            plain: Plain::default(),
            v6: 0,
            others: 0,
            parsed: [Parsed::EMPTY; BURST],
            len: 0,
            generation: 0,
            ingress: PortIndex(0),
        }
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

    /// Where the plain packet in this lane starts and ends, and its DSCP and ECN.
    #[inline(always)]
    pub(super) fn extent(&self, lane: usize) -> Extent {
        let shape = self.plain.shape[lane % BURST];
        Extent {
            start: self.plain.l3,
            end: (shape >> 16) as u16,
            class: (shape >> 8) as u8,
        }
    }

    /// The plain packet in this lane.
    #[inline(always)]
    pub(super) fn packet(&self, lane: usize) -> Packet {
        let lane = lane % BURST;
        let (l3, shape) = (self.plain.l3, self.plain.shape[lane]);
        let ip_header = if self.v6 >> lane & 1 != 0 { 40 } else { 20 };
        Packet {
            hash: self.hashes[lane],
            l3,
            l4: l3 + ip_header,
            end: (shape >> 16) as u16,
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

impl Lanes {
    /// Reads the plain frames of a burst, hashes their flows and looks their services up.
    pub(super) fn look_up<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        port: &PortView,
        frames: &[F],
        stage: &mut Stage,
    ) {
        let read = plain::read(port, frames, &mut self.fields, &mut stage.plain);
        let mut claimed = 0;
        if read.v4 != 0 {
            flow_hash_v4_burst(&snapshot.hash_key, &self.fields.v4, &mut stage.hashes);
            let flows = &self.fields.v4;
            // These lanes alone: what stands in the others may match nothing, and be long looked for.
            for lane in lanes_of(read.v4) {
                let (protocol, ports) = (flows.protocol[lane] as u8, flows.ports[lane]);
                let key = V4Key::from_wire(protocol, flows.destination[lane], (ports >> 16) as u16);
                stage.services[lane] = snapshot.map.lookup_v4(key);
            }
            claimed = read.v4;
        }
        if read.v6 != 0 {
            let flows = &self.fields.v6;
            flow_hash_v6_burst(&snapshot.hash_key, flows, &mut self.v6_hashes);
            for lane in lanes_of(read.v6) {
                let (protocol, ports) = (flows.protocol[lane] as u8, flows.ports[lane]);
                let destination = (flows.destination[0][lane], flows.destination[1][lane]);
                let key = V6Key::from_wire(protocol, destination, (ports >> 16) as u16);
                stage.services[lane] = snapshot.map.lookup_v6(key);
                stage.hashes[lane] = self.v6_hashes[lane];
            }
            claimed |= read.v6;
        }
        for (lane, service) in stage.services.iter().enumerate() {
            claimed &= !(u32::from(*service == ServiceIndex::NONE) << lane);
        }
        if snapshot.source_affinity {
            for lane in lanes_of(claimed) {
                let by_source = steers_by_source(snapshot, stage.services[lane]);
                claimed &= !(u32::from(by_source) << lane);
            }
        }
        stage.v6 = read.v6;
        stage.others = !claimed;
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
        stage.others = u32::MAX;
        // Where every packet is looked at closely anyway, none is plain.
        let port = snapshot.ports.get(usize::from(ingress.0));
        let closely = snapshot.peers.mirror || snapshot.keeps_tags;
        if let Some(port) = port.filter(|_| !closely) {
            self.lanes.look_up(snapshot, port, frames, stage);
        }
        for lane in lanes_of(stage.others).take_while(|lane| *lane < stage.len) {
            stage.parsed[lane] = read(snapshot, ingress, &frames[lane]);
            stage.hashes[lane] = stage.parsed[lane].hash;
            stage.services[lane] = ServiceIndex::NONE;
        }
        // Asked for once more later, packet by packet. Measured: known flows need no more than that, but under
        // a flood a fifth of all time goes without this.
        if self.flooded {
            self.prefetch(stage);
        }
        if snapshot.peers.mirror {
            Self::sift(snapshot, frames, &mut stage.parsed);
        }
    }

    /// Asks for the connection buckets of a burst that came behind none.
    pub fn prefetch(&self, stage: &Stage) {
        let hashes = stage.hashes.iter().take(stage.len);
        hashes.for_each(|hash| self.conns.prefetch(*hash));
    }

    /// Finds the backends of a burst's plain packets, and asks for what forwarding to them takes. If the
    /// snapshot is another than that of the first stage, that one is run again.
    #[inline(never)]
    pub fn steer_burst<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        now: Nanos,
        behind: &Stage,
    ) -> Ways<'s> {
        self.advance(now);
        if stage.generation != snapshot.generation {
            self.front(snapshot, stage.ingress, frames, stage);
        }
        let mut ways = Ways::NONE;
        let (mut steady, mut rest) = (0, 0u32);
        let look = self.conns.look();
        let len = stage.len.min(BURST);
        for lane in 0..len {
            let (index, hash) = (stage.services[lane], stage.hashes[lane]);
            if index == ServiceIndex::NONE {
                continue;
            }
            // Under a flood a look would be in vain.
            if !self.flooded
                && let Some(id) = look.steady(hash, stage.plain.says[lane])
                && let Some(Some(backend)) = snapshot.backends.get(id as usize)
                && backend.takes == index
            {
                backend.prefetch();
                (ways.backends[lane], ways.ids[lane]) = (Some(backend), id);
                steady += 1;
            } else {
                rest |= 1 << lane;
            }
        }
        for (place, hash) in ways.behind.0.iter_mut().zip(behind.hashes) {
            *place = look.bucket(hash);
        }
        self.conns.count_hits(steady);
        let misses = self.conns.stats().misses;
        for lane in lanes_of(rest) {
            self.steer_lane(snapshot, stage, lane, &mut ways);
        }
        self.flooded = self.conns.stats().misses - misses > FLOODED;
        if self.flooded {
            ways.behind.1 = Some(slots(snapshot, behind));
        }
        (len..behind.len).for_each(|lane| ways.foresee(lane));
        ways
    }

    /// Finds the backend of one plain packet.
    #[inline(never)]
    fn steer_lane<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        stage: &Stage,
        lane: usize,
        ways: &mut Ways<'s>,
    ) {
        let (index, hash) = (stage.services[lane], stage.hashes[lane]);
        let says = Segment::of(stage.plain.says[lane]);
        match self.pin(snapshot, index, hash, says, says) {
            Ok((id, backend)) => {
                backend.prefetch();
                (ways.backends[lane], ways.ids[lane]) = (Some(backend), id.get());
            }
            Err(refusal) => ways.refusals[lane] = Some(refusal),
        }
    }
}

/// Where the Maglev slots of a burst lie.
#[cold]
fn slots(snapshot: &Snapshot, stage: &Stage) -> [*const u8; BURST] {
    std::array::from_fn(|lane| {
        let service = snapshot.service(stage.services[lane]);
        service.map_or(std::ptr::null(), |service| {
            service.maglev.place(stage.hashes[lane])
        })
    })
}

/// Whether a service steers by source address.
#[cold]
fn steers_by_source(snapshot: &Snapshot, index: ServiceIndex) -> bool {
    let service = snapshot.service(index);
    service.is_some_and(|service| service.source_affinity)
}

/// Any frame, with its hash.
#[inline(never)]
pub(super) fn read<F: Frame>(snapshot: &Snapshot, ingress: PortIndex, frame: &F) -> Parsed {
    let mut parsed = classify(snapshot, ingress, frame.data());
    parsed.hash = flow_hash(snapshot, &parsed);
    parsed
}

/// The lanes whose bits are set.
fn lanes_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lane < BURST).then_some(lane)
    })
}
