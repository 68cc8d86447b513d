//! The writing side of a connection table: the worker's own handle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Age, BACKEND_MASK, Parts, backend_of, pick};
use super::sweep::{LONGEST_LIFE, Sweep};
use super::timeouts::Limits;
use super::{ConnStats, ConnTable, Entry, Segment, Timeouts};
use crate::hw::{self, LINE_WORDS, Line, Lines};
use crate::table::limiter::TokenBucket;
use crate::table::{BackendId, FlowHash, Nanos, Tick};

/// What a table is made from.
#[derive(Clone, Copy, Debug)]
pub struct ConnSettings {
    /// Connections at which the table is at most half full, 1 to [`ConnSettings::MAX_FLOWS`].
    pub flows: usize,
    /// When idle entries go.
    pub timeouts: Timeouts,
    /// New entries per second; a second's worth may come at once.
    pub new_pins_per_second: u32,
}

impl ConnSettings {
    /// 2^28 flows: 4 GiB of table, and a bucket number that stays clear of the tag's bits.
    pub const MAX_FLOWS: usize = 1 << 28;
}

impl Default for ConnSettings {
    /// A million flows (16 MiB) and a million new ones per second.
    fn default() -> Self {
        ConnSettings {
            flows: 1 << 20,
            timeouts: Timeouts::default(),
            new_pins_per_second: 1_000_000,
        }
    }
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// Outside the range.
    #[error("a connection table for {0} flows: between 1 and {max} are possible",
        max = ConnSettings::MAX_FLOWS)]
    Flows(usize),
    /// The system has no memory for it.
    #[error("no memory for a connection table of {bytes} bytes")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// The one writer of a table. Time stands still between two calls of [`ConnOwner::advance`], which belongs
/// at the start of every burst (and every idle round).
#[derive(Debug)]
pub struct ConnOwner {
    table: Arc<ConnTable>,
    timeouts: Timeouts,
    pins: TokenBucket,
    now: Nanos,
    tick: Tick,
    sweep: Sweep,
    stats: ConnStats,
}

/// What became of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It has an entry.
    New,
    /// It has the entry of another flow, which is forgotten.
    Evicted,
    /// It has none: every entry of its bucket is worth more. Send it where its hash says.
    Full,
    /// It has none: too many new entries this second. Send it where its hash says.
    Limited,
}

/// A live entry, to be told what its packet was. Borrows the owner, so nothing can move the entry
/// in between; dropping it instead leaves the entry as it was.
#[derive(Debug)]
pub struct Found<'a> {
    word: &'a AtomicU64,
    entry: Entry,
    tick: Tick,
    stats: &'a mut ConnStats,
}

/// Reads a table without changing anything in it.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    lines: &'a [Line],
    mask: usize,
    stamp: u64,
}

impl Look<'_> {
    /// Asks for a flow's bucket, some time before it is looked up.
    #[inline(always)]
    pub fn prefetch(&self, hash: FlowHash) {
        hw::prefetch_near(self.lines.as_ptr().wrapping_add(hash.bucket(self.mask)));
    }

    /// `false` if a flow has no entry, `true` if it may have one.
    #[inline(always)]
    pub fn may_know(&self, hash: FlowHash) -> bool {
        let line = self.lines.get(hash.bucket(self.mask));
        line.is_some_and(|line| line.places_like(hash.0, TAG_BELOW) != 0)
    }

    /// What [`Look::steady`] looks for: the entry of a flow that stays as it is, being that of an established
    /// connection in the same tick. `says` is what the packet says, by TCP flags FIN to ACK and 32 for TCP.
    #[inline(always)]
    pub fn wanted(&self, hash: FlowHash, says: u32) -> Wanted {
        Wanted(Entry::steady(hash, says, self.stamp))
    }

    /// The number of the backend of such an entry. `None` says nothing: ask [`ConnOwner::find`].
    #[inline(always)]
    pub fn steady(&self, hash: FlowHash, Wanted(word): Wanted) -> Option<u32> {
        let line = self.lines.get(hash.bucket(self.mask))?;
        let places = line.places_like(word, BACKEND_MASK);
        let place = places.trailing_zeros() as usize;
        let word = line.0.get(place)?.load(Ordering::Relaxed);
        Some(backend_of(word))
    }
}

/// The bits of a table word below the tag.
const TAG_BELOW: u64 = u32::MAX as u64;

/// See [`Look::wanted`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted(u64);

impl Wanted {
    /// `other` where `mask` is all ones, this where it is zero: a choice in a loop that becomes vector code.
    #[inline(always)]
    pub fn or(self, other: Wanted, mask: u64) -> Wanted {
        Wanted(self.0 & !mask | other.0 & mask)
    }
}

impl ConnOwner {
    /// Allocates a table, zeroed and touched, so on the calling thread's NUMA node: call it on the
    /// worker that will own it.
    pub fn new(settings: &ConnSettings) -> Result<Self, ConnError> {
        if !(1..=ConnSettings::MAX_FLOWS).contains(&settings.flows) {
            return Err(ConnError::Flows(settings.flows));
        }
        let buckets = (2 * settings.flows)
            .div_ceil(LINE_WORDS)
            .next_power_of_two();
        let lines = Lines::zeroed(buckets).map_err(|source| {
            let bytes = buckets * size_of::<Line>();
            ConnError::Memory { bytes, source }
        })?;
        let table = ConnTable {
            lines,
            mask: buckets - 1,
            stats: Default::default(),
        };
        Ok(ConnOwner {
            table: Arc::new(table),
            timeouts: settings.timeouts,
            pins: TokenBucket::per_second(settings.new_pins_per_second),
            now: Nanos::default(),
            tick: Tick::default(),
            sweep: Sweep::new(buckets),
            stats: ConnStats::default(),
        })
    }

    /// The readable side, to be shared.
    pub fn table(&self) -> &Arc<ConnTable> {
        &self.table
    }

    /// The timeouts in force.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Changes what may change while the table is in use.
    pub fn configure(&mut self, timeouts: Timeouts, new_pins_per_second: u32) {
        self.timeouts = timeouts;
        self.pins.set_rate(new_pins_per_second);
    }

    /// Sets the time for all that follows, sweeps a few buckets if they are due, and shows the
    /// counters to readers. A `now` before the last one counts as the last one.
    pub fn advance(&mut self, now: Nanos) {
        let jump = now.since(self.now);
        self.now = self.now.max(now);
        self.tick = self.now.tick();
        if jump > LONGEST_LIFE {
            // Nobody looked for longer than any entry lives, and the stamps may have wrapped.
            self.stats.expired += self.stats.occupancy;
            self.clear();
        }
        for _ in 0..self.sweep.due(self.now) {
            let line = &self.table.lines[self.sweep.next_bucket()];
            for word in &line.0 {
                let entry = Entry::from_word(word.load(Ordering::Relaxed));
                if entry.is_some_and(|entry| self.timeouts.expired(entry, self.tick)) {
                    word.store(0, Ordering::Relaxed);
                    self.stats.expired += 1;
                    self.stats.occupancy -= 1;
                }
            }
        }
        self.table.stats.store(&self.stats);
    }

    /// The counters now.
    pub fn stats(&self) -> &ConnStats {
        &self.stats
    }

    /// A look at the table as of now, for a burst of packets of which most change nothing.
    #[inline(always)]
    pub fn look(&self) -> Look<'_> {
        Look {
            lines: &self.table.lines,
            mask: self.table.mask,
            stamp: Entry::stamp(self.tick),
        }
    }

    /// Counts packets that [`Look::steady`] found an entry for.
    #[inline(always)]
    pub fn count_hits(&mut self, hits: u64) {
        self.stats.hits += hits;
    }

    /// Looks a flow up, and counts a hit or a miss.
    #[inline]
    pub fn find(&mut self, hash: FlowHash) -> Option<Found<'_>> {
        let line = self.table.line(hash);
        let mut matches = line.places_like(hash.0, TAG_BELOW);
        // One match, or none, but for the tag 0, which empty places match too.
        while matches != 0 {
            let word = &line.0[matches.trailing_zeros() as usize % LINE_WORDS];
            matches &= matches - 1;
            let Some(entry) = Entry::from_word(word.load(Ordering::Relaxed)) else {
                continue;
            };
            // Most entries were stamped this very tick.
            if !entry.is_fresh(self.tick) && self.timeouts.expired(entry, self.tick) {
                word.store(0, Ordering::Relaxed);
                self.stats.expired += 1;
                self.stats.occupancy -= 1;
                continue;
            }
            self.stats.hits += 1;
            return Some(Found {
                word,
                entry,
                tick: self.tick,
                stats: &mut self.stats,
            });
        }
        self.stats.misses += 1;
        None
    }

    /// Looks a flow up that had no entry a moment ago, counts the miss and enters it. `None` says that it has
    /// one by now: ask [`ConnOwner::find`].
    #[inline(always)]
    pub fn enter(
        &mut self,
        hash: FlowHash,
        backend: BackendId,
        segment: Segment,
    ) -> Option<Inserted> {
        let best = self.cheapest(hash, &self.table.line(hash).words());
        if Room::of(best) == Room::Same {
            return None;
        }
        self.stats.misses += 1;
        Some(self.put(hash, backend, segment, best))
    }

    /// Enters a flow that [`ConnOwner::find`] did not know. Should it have an entry after all, that one is
    /// overwritten.
    pub fn insert(&mut self, hash: FlowHash, backend: BackendId, segment: Segment) -> Inserted {
        let best = self.cheapest(hash, &self.table.line(hash).words());
        self.put(hash, backend, segment, best)
    }

    /// Enters a flow at the place that [`ConnOwner::cheapest`] answered.
    #[inline(always)]
    fn put(&mut self, hash: FlowHash, backend: BackendId, segment: Segment, best: u32) -> Inserted {
        let word = &self.table.line(hash).0[(best & PLACE) as usize];
        let room = Room::of(best);
        if room == Room::None {
            self.stats.full += 1;
            return Inserted::Full;
        }
        if !self.pins.take(self.now) {
            self.stats.limited += 1;
            return Inserted::Limited;
        }
        let entry = Entry::new(hash, backend, segment, self.tick);
        word.store(entry.word(), Ordering::Relaxed);
        self.stats.inserts += 1;
        match room {
            Room::Same => Inserted::New,
            Room::Empty => {
                self.stats.occupancy += 1;
                Inserted::New
            }
            Room::Expired => {
                self.stats.expired += 1;
                Inserted::New
            }
            _ => {
                self.stats.evictions += 1;
                Inserted::Evicted
            }
        }
    }

    /// Forgets every flow: the hash key changed, and with it what tags and buckets mean.
    pub fn clear(&mut self) {
        for word in self.table.lines.iter().flat_map(|line| &line.0) {
            word.store(0, Ordering::Relaxed);
        }
        self.stats.occupancy = 0;
        self.sweep.restart(self.now);
    }

    /// The place that costs least to give to a new flow: the [`Room`] it offers, among equals the youth of what
    /// stands there, then the place itself, as one number. Without branches, as under a flood all of it is
    /// unpredictable, and in a form that becomes vector code.
    #[inline(always)]
    fn cheapest(&self, hash: FlowHash, words: &[u64; LINE_WORDS]) -> u32 {
        let prices = Prices {
            hash,
            now: self.tick,
            limits: self.timeouts.limits(),
        };
        let mut costs = [0; LINE_WORDS];
        for (place, (cost, word)) in costs.iter_mut().zip(words).enumerate() {
            *cost = prices.of(*word) << PLACE_BITS | place as u32;
        }
        costs.iter().fold(u32::MAX, |least, cost| least.min(*cost))
    }
}

/// What the places of a bucket cost a new flow.
struct Prices {
    hash: FlowHash,
    now: Tick,
    limits: Limits,
}

impl Prices {
    /// The [`Room`] that a word's place offers, and among equals the youth of what stands there.
    #[inline(always)]
    fn of(&self, word: u64) -> u32 {
        let entry = Parts::of(word);
        let age = entry.age(self.now);
        let old = pick(
            age > self.limits.min_idle,
            Room::Idle as u32,
            Room::None as u32,
        );
        let old = pick(entry.is_closing(), Room::Closing as u32, old);
        let room = pick(entry.is_promoted(), old, Room::Unpromoted as u32);
        let room = pick(age > self.limits.of(entry), Room::Expired as u32, room);
        let room = pick(entry.tag == self.hash.tag(), Room::Same as u32, room);
        let room = pick(entry.is_empty(), Room::Empty as u32, room);
        room << AGE_BITS | (Age::WRAP as u32 - 1 - age)
    }
}

impl Drop for ConnOwner {
    /// The counters stay readable when the worker is gone.
    fn drop(&mut self) {
        self.table.stats.store(&self.stats);
    }
}

impl Found<'_> {
    /// The entry as found.
    #[inline(always)]
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// The backend the flow is pinned to.
    #[inline(always)]
    pub fn backend(&self) -> BackendId {
        self.entry.backend()
    }

    /// The packet follows its pin: notes what it was, and that the flow is alive.
    #[inline(always)]
    pub fn touch(self, segment: Segment) {
        self.store(self.entry.after(segment, self.tick));
    }

    /// Pins the flow to another backend, from this packet on.
    pub fn repin(self, backend: BackendId, segment: Segment) {
        self.stats.repins += 1;
        self.store(self.entry.repinned(backend, segment, self.tick));
    }

    /// Forgets the flow.
    pub fn remove(self) {
        self.word.store(0, Ordering::Relaxed);
        self.stats.occupancy -= 1;
    }

    #[inline(always)]
    fn store(&self, entry: Entry) {
        // Most packets change nothing; not writing keeps the line clean.
        if entry.word() != self.entry.word() {
            self.word.store(entry.word(), Ordering::Relaxed);
        }
    }
}

/// What a new flow displaces, cheapest first; among equals the oldest goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Same,
    Empty,
    Expired,
    Unpromoted,
    Closing,
    Idle,
    None,
}

impl Room {
    const ALL: [Room; 7] = [
        Room::Same,
        Room::Empty,
        Room::Expired,
        Room::Unpromoted,
        Room::Closing,
        Room::Idle,
        Room::None,
    ];

    /// The room in what [`ConnOwner::cheapest`] answers.
    fn of(cost: u32) -> Self {
        let room = Room::ALL.get((cost >> ROOM_SHIFT) as usize);
        room.copied().unwrap_or(Room::None)
    }
}

/// Bits of a place in a line.
const PLACE_BITS: u32 = LINE_WORDS.trailing_zeros();
const PLACE: u32 = (1 << PLACE_BITS) - 1;
const AGE_BITS: u32 = Age::WRAP.trailing_zeros();
/// Above place and age.
const ROOM_SHIFT: u32 = PLACE_BITS + AGE_BITS;
