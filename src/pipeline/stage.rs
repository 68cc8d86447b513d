//! What is known of a burst between its two stages, and the stage that finds it out.
//!
//! Every step is a loop of its own over the whole burst: short loops keep many packets in the core's window
//! at once, so that the memory one of them waits for is waited for by all.

use crate::table::hash::{BURST, FlowHash, flow_hash_v4_burst, flow_hash_v6_burst};
use crate::table::service::{ServiceIndex, V4Key, V6Key};
use crate::table::snapshot::{Backend, PortIndex, PortView, Snapshot};
use crate::table::{BackendId, Nanos};
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::{Parsed, classify};
use super::frame::Frame;
use super::packet::{Extent, Packet, segment_of};
use super::plain::{self, Fields, Plain};
use super::steer::Refusal;
use super::{FLOODED, Pipeline, flow_hash};

/// What is known of a burst between its two stages.
#[derive(Debug)]
pub struct Stage {
    hashes: [FlowHash; BURST],
    /// The services of plain packets.
    pub(super) services: [Option<ServiceIndex>; BURST],
    plain: Plain,
    /// The lanes of IPv6 packets, as bits.
    v6: u32,
    /// The lanes of all frames that are not plain or match no service; they are in `parsed`.
    others: u32,
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

/// What becomes of a frame in the second stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'s> {
    /// It goes to this backend.
    To(BackendId, &'s Backend),
    /// Its service has no backend for it.
    Refused(Refusal),
    /// That takes a closer look.
    Other,
}

/// The ways of a burst, found under the snapshot they borrow from.
#[derive(Debug)]
pub struct Ways<'s>([Way<'s>; BURST]);

impl<'s> Ways<'s> {
    #[inline(always)]
    pub(super) fn of(&self, lane: usize) -> Way<'s> {
        self.0[lane % BURST]
    }
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Stage {
            hashes: [FlowHash(0); BURST],
            services: [None; BURST],
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

    /// Whether the frame in this lane is not a plain packet of a service.
    #[inline(always)]
    pub(super) fn is_other(&self, lane: usize) -> bool {
        self.others >> (lane % BURST) & 1 != 0
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
            says: segment_of(self.plain.says[lane]),
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
            for (lane, service) in stage.services.iter_mut().enumerate() {
                let (protocol, ports) = (flows.protocol[lane] as u8, flows.ports[lane]);
                let key = V4Key::from_wire(protocol, flows.destination[lane], (ports >> 16) as u16);
                *service = snapshot.map.lookup_v4(key);
                claimed |= u32::from(service.is_some()) << lane;
            }
            claimed &= read.v4;
        }
        if read.v6 != 0 {
            let flows = &self.fields.v6;
            flow_hash_v6_burst(&snapshot.hash_key, flows, &mut self.v6_hashes);
            for lane in lanes_of(read.v6) {
                let (protocol, ports) = (flows.protocol[lane] as u8, flows.ports[lane]);
                let destination = (flows.destination[0][lane], flows.destination[1][lane]);
                let key = V6Key::from_wire(protocol, destination, (ports >> 16) as u16);
                let service = snapshot.map.lookup_v6(key);
                stage.services[lane] = service;
                stage.hashes[lane] = self.v6_hashes[lane];
                claimed |= u32::from(service.is_some()) << lane;
            }
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
            stage.services[lane] = None;
        }
        if snapshot.peers.mirror {
            Self::sift(snapshot, frames, &mut stage.parsed);
        }
    }

    /// Asks for the connection buckets of a burst, from lane `first` on: those that the burst before it was too
    /// short to ask for.
    pub fn prefetch(&self, snapshot: &Snapshot, stage: &Stage, first: usize) {
        (first..stage.len).for_each(|lane| self.foresee(snapshot, stage, lane));
    }

    /// Asks for what a packet of the next burst will need: its flow's bucket; and while most flows are
    /// new, its slot.
    #[inline(always)]
    pub(super) fn foresee(&self, snapshot: &Snapshot, stage: &Stage, lane: usize) {
        if lane >= stage.len.min(BURST) {
            return;
        }
        let hash = stage.hashes[lane];
        self.conns.prefetch(hash);
        if self.flooded
            && let Some(index) = stage.services[lane]
            && let Some(service) = snapshot.service(index)
        {
            service.maglev.prefetch(hash);
        }
    }

    /// Finds the backends of a burst's plain packets, and asks for what forwarding to them takes. If the
    /// snapshot is another than that of the first stage, that one is run again.
    #[inline(always)]
    pub fn steer_burst<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        now: Nanos,
    ) -> Ways<'s> {
        self.advance(now);
        if stage.generation != snapshot.generation {
            self.front(snapshot, stage.ingress, frames, stage);
        }
        let misses = self.conns.stats().misses;
        let mut ways = Ways([Way::Other; BURST]);
        let found = stage
            .services
            .iter()
            .zip(&stage.hashes)
            .zip(&stage.plain.says);
        let found = found.zip(&mut ways.0).take(stage.len);
        for (lane, (((service, hash), says), way)) in found.enumerate() {
            let Some(index) = *service else { continue };
            if stage.is_other(lane) {
                continue;
            }
            let says = segment_of(*says);
            *way = match self.pin(snapshot, index, *hash, says, says) {
                Ok((id, backend)) => {
                    backend.prefetch();
                    Way::To(id, backend)
                }
                Err(refusal) => Way::Refused(refusal),
            };
        }
        self.flooded = self.conns.stats().misses - misses > FLOODED;
        ways
    }
}

/// Whether a service steers by source address.
#[cold]
fn steers_by_source(snapshot: &Snapshot, index: Option<ServiceIndex>) -> bool {
    let service = index.and_then(|index| snapshot.service(index));
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
