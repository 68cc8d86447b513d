//! Where the plain packets of a burst go, and how they get there.
//!
//! Every step is a loop of its own over the whole burst: short loops keep many packets in the core's window
//! at once, so that the memory one of them waits for is waited for by all.

use crate::hw;
use crate::table::adjacency::Adjacency;
use crate::table::conn::Segment;
use crate::table::hash::{BURST, FlowHash};
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::table::{BackendId, Nanos};

use super::frame::Frame;
use super::plain::{BARE, TAGGED};
use super::stage::{Stage, for_lanes, lanes_of, read};
use super::steer::Refusal;
use super::{Pipeline, rewrite};

/// New flows in a burst from which on those of the next ones are expected to be new too.
const FLOODED: u64 = BURST as u64 / 4;

/// Where the plain packets of a burst go, found under the snapshot it borrows from.
#[derive(Debug)]
pub struct Ways<'s> {
    adjacencies: [&'s Adjacency; BURST],
    /// Why a packet goes to none.
    refusals: [Option<Refusal>; BURST],
}

impl<'s> Ways<'s> {
    /// No packet goes anywhere.
    #[inline(always)]
    fn new() -> Self {
        static NONE: Adjacency = Adjacency::NONE;
        Ways {
            adjacencies: [&NONE; BURST],
            refusals: [None; BURST],
        }
    }

    /// The backend of a packet.
    pub(super) fn get(&self, lane: usize) -> Option<BackendId> {
        BackendId::new(self.adjacencies[lane % BURST].id()).ok()
    }

    fn set(&mut self, lane: usize, adjacency: &'s Adjacency) {
        self.adjacencies[lane % BURST] = adjacency;
    }

    pub(super) fn refusal(&self, lane: usize) -> Option<Refusal> {
        self.refusals[lane % BURST]
    }
}

impl Pipeline {
    /// Finds the backends of a burst's plain packets, and asks for what forwarding to them takes, and for what the
    /// burst `behind` will need. If the snapshot is another than that of the first stage, that one is run again.
    #[inline(always)]
    pub fn steer_burst<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        behind: Option<&Stage>,
        now: Nanos,
    ) -> Ways<'s> {
        self.advance(now);
        let mut ways = Ways::new();
        self.find_ways(snapshot, frames, (stage, behind), &mut ways);
        ways
    }

    /// See [`Pipeline::steer_burst`]. Writes what it finds where it will be read: a copy, made of vectors, would have to
    /// wait until all words are in the cache.
    #[inline(never)]
    fn find_ways<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        (stage, behind): (&mut Stage, Option<&Stage>),
        ways: &mut Ways<'s>,
    ) {
        if stage.generation != snapshot.generation {
            self.front(snapshot, stage.ingress, frames, stage);
        }
        if stage.untracked != 0 {
            self.steer_untracked(snapshot, stage, ways);
        }
        let all = stage.tracked();
        let behind = behind.map_or(&[][..], Stage::looked_up);
        // Under a flood a look would be in vain.
        let (rest, behind) = if self.flooded {
            (all, behind)
        } else {
            let rest = self.steer_steady(snapshot, (stage, all), behind, ways);
            (rest, &[][..])
        };
        self.flooded = rest != 0 && self.steer_rest(snapshot, frames, stage, (rest, behind), ways);
    }

    /// Finds the backends of packets that change something; returns whether most of them began a flow.
    #[inline(never)]
    fn steer_rest<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        (lanes, behind): (u32, &[FlowHash]),
        ways: &mut Ways<'s>,
    ) -> bool {
        let misses = self.conns.stats().misses;
        let foreseen = self.foresee(snapshot, (stage, lanes), behind);
        for lane in lanes_of(lanes) {
            if !self.enter(snapshot, stage, (lane, foreseen[lane]), ways) {
                self.steer_lane(snapshot, frames, stage, lane, ways);
            }
        }
        self.conns.stats().misses - misses > FLOODED
    }

    /// Finds the backends of packets whose connections are not tracked: what they hash to now.
    #[inline(never)]
    fn steer_untracked<'s>(&mut self, snapshot: &'s Snapshot, stage: &Stage, ways: &mut Ways<'s>) {
        for_lanes(stage.untracked, |lane| {
            let (place, slot) = (stage.flows.places[lane], stage.flows.slots[lane]);
            match snapshot.shortcuts.routes.way(place, slot) {
                Some(adjacency) => {
                    hw::prefetch_read(adjacency);
                    ways.set(lane, adjacency);
                }
                None => ways.refusals[lane] = Some(Refusal::NoBackend),
            }
        });
    }

    /// Finds the backends of packets that change nothing about their connection; returns the lanes of the
    /// others. Asks for the buckets of flows `behind`: one with every packet, as all at once would be more than a core
    /// can wait for.
    #[inline(always)]
    fn steer_steady<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        (stage, lanes): (&Stage, u32),
        behind: &[FlowHash],
        ways: &mut Ways<'s>,
    ) -> u32 {
        let look = self.conns.look();
        let mut rest = 0u32;
        for_lanes(lanes, |lane| {
            if let Some(hash) = behind.get(lane) {
                look.prefetch(*hash);
            }
            if let Some(id) = look.steady(stage.flows.hashes[lane], stage.flows.wanted[lane])
                && let Some(adjacency) = snapshot.shortcuts.adjacency(id)
                && adjacency.claim == stage.flows.claims[lane]
            {
                ways.set(lane, adjacency);
            } else {
                rest |= 1 << lane;
            }
        });
        self.prefetch(behind, lanes);
        let steady = lanes.count_ones() - rest.count_ones();
        self.conns.count_hits(steady.into());
        rest
    }

    /// Chooses the backends of flows that have no entry, if nothing but the table has a say in it; asks for what
    /// sending them there takes.
    #[inline(never)]
    fn foresee(
        &self,
        snapshot: &Snapshot,
        (stage, lanes): (&Stage, u32),
        behind: &[FlowHash],
    ) -> [Option<BackendId>; BURST] {
        let look = self.conns.look();
        let mut foreseen = [None; BURST];
        for lane in lanes_of(lanes) {
            if let Some(hash) = behind.get(lane) {
                look.prefetch(*hash);
            }
            let hash = stage.flows.hashes[lane];
            if look.may_know(hash) {
                continue;
            }
            if let Some(index) = stage.service(snapshot, lane)
                && let Some(service) = snapshot.service(index)
                && service.limit.is_none()
                && let Some(id) = snapshot.shortcuts.choose(index, hash)
                && let Some(adjacency) = snapshot.shortcuts.adjacency(id.get())
            {
                hw::prefetch_read(adjacency);
                foreseen[lane] = Some(id);
            }
        }
        self.prefetch(behind, lanes);
        foreseen
    }

    /// Asks for the buckets of flows but of those in lanes that were `asked` for.
    #[inline(always)]
    fn prefetch(&self, flows: &[FlowHash], asked: u32) {
        let (look, all) = (self.conns.look(), ((1u64 << flows.len()) - 1) as u32);
        for lane in lanes_of(all & !asked) {
            look.prefetch(flows[lane]);
        }
    }

    /// Asks for the connection buckets of a burst that came behind none.
    pub fn expect(&self, stage: &Stage) {
        self.prefetch(stage.looked_up(), 0);
    }

    /// Enters a new flow with the backend that was chosen for it; `false` if it is not new, or not so simple.
    #[inline(always)]
    fn enter<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        stage: &Stage,
        (lane, foreseen): (usize, Option<BackendId>),
        ways: &mut Ways<'s>,
    ) -> bool {
        let Some(id) = foreseen else { return false };
        let Some(adjacency) = snapshot.shortcuts.adjacency(id.get()) else {
            return false;
        };
        if !adjacency.leads_somewhere() {
            return false;
        }
        let segment = Segment::of(stage.plain.says[lane]);
        let Some(inserted) = self.conns.enter(stage.flows.hashes[lane], id, segment) else {
            return false;
        };
        self.count_unpinned(inserted);
        ways.set(lane, adjacency);
        true
    }

    /// Finds the backend of one plain packet.
    #[inline(never)]
    fn steer_lane<'s, F: Frame>(
        &mut self,
        snapshot: &'s Snapshot,
        frames: &[F],
        stage: &mut Stage,
        lane: usize,
        ways: &mut Ways<'s>,
    ) {
        let Some(index) = stage.service(snapshot, lane) else {
            stage.lanes = stage.lanes.without(1 << lane);
            stage.parsed[lane] = read(snapshot, stage.ingress, &frames[lane]);
            return;
        };
        let says = Segment::of(stage.plain.says[lane]);
        let hash = stage.flows.hashes[lane];
        match self.pin(snapshot, index, hash, says, says) {
            Ok((id, _)) => {
                if let Some(adjacency) = snapshot.shortcuts.adjacency(id.get()) {
                    ways.set(lane, adjacency);
                }
            }
            Err(refusal) => ways.refusals[lane] = Some(refusal),
        }
    }

    /// Rewrites those of a burst that go the common way.
    #[inline(always)]
    pub fn rewrite_burst<F: Frame>(
        &mut self,
        frames: &mut [F],
        stage: &Stage,
        ways: &Ways<'_>,
    ) -> Departed {
        match usize::from(stage.plain.l3) {
            TAGGED => self.rewrite_behind::<F, TAGGED>(frames, stage, ways),
            _ => self.rewrite_behind::<F, BARE>(frames, stage, ways),
        }
    }

    /// As [`Pipeline::rewrite_burst`], of packets behind link headers of `L3` bytes.
    #[inline(always)]
    fn rewrite_behind<F: Frame, const L3: usize>(
        &self,
        frames: &mut [F],
        stage: &Stage,
        ways: &Ways<'_>,
    ) -> Departed {
        let short = self.rewrite_lanes::<F, L3, false>(frames, stage, ways, !0);
        if short.left == 0 {
            return short;
        }
        let long = self.rewrite_lanes::<F, L3, true>(frames, stage, ways, short.left);
        Departed {
            left: long.left,
            bytes: short.bytes + long.bytes,
            ports: short.ports | long.ports,
        }
    }

    /// Rewrites those of the lanes whose headers are as `LONG` as that: a loop with so little in it that all it needs
    /// stays in registers. Short ones are looked for in all lanes.
    #[inline(never)]
    fn rewrite_lanes<F: Frame, const L3: usize, const LONG: bool>(
        &self,
        frames: &mut [F],
        stage: &Stage,
        ways: &Ways<'_>,
        lanes: u32,
    ) -> Departed {
        let (backends, first) = (self.counters.of_backends(), ways.adjacencies[0].exit());
        let (mut left, mut bytes, mut ports) = (0u32, 0, 0);
        for (frame, lane) in frames.iter_mut().zip(0..BURST) {
            if LONG && lanes >> lane & 1 == 0 {
                continue;
            }
            let len = frame.data().len();
            let (inner, hash) = (stage.inner(lane), &stage.flows.hashes[lane]);
            let adjacency = ways.adjacencies[lane];
            match rewrite::forward_plain::<F, L3, LONG>(frame, inner, hash, adjacency) {
                Some(total) => {
                    if let Some(backend) = backends.get(adjacency.id() as usize) {
                        backend.count(len);
                    }
                    bytes += total;
                    ports |= first ^ adjacency.exit();
                }
                None => left |= 1 << lane,
            }
        }
        Departed { left, bytes, ports }
    }
}

/// What has been rewritten of a burst, to leave by ports.
#[derive(Debug)]
pub struct Departed {
    /// The lanes that have not been, as bits.
    left: u32,
    /// Bytes of all rewritten frames.
    pub bytes: usize,
    /// How their exits differ, see [`Adjacency::is_one_port`].
    ports: u32,
}

impl Departed {
    /// The port that the whole burst leaves by, if it is one; `ways` are those of the burst.
    #[inline(always)]
    pub fn port(&self, ways: &Ways<'_>) -> Option<PortIndex> {
        let one = self.left == 0 && Adjacency::is_one_port(self.ports);
        one.then(|| ways.adjacencies[0].port())
    }

    /// The port that one frame leaves by, if it does; `ways` are those of its burst.
    #[inline(always)]
    pub fn by(&self, lane: usize, ways: &Ways<'_>) -> Option<PortIndex> {
        let lane = lane % BURST;
        let departed = self.left >> lane & 1 == 0;
        departed.then(|| ways.adjacencies[lane].port())
    }
}
