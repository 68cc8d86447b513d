//! The fragment memory: which backend the first fragment of a datagram went to, so that the rest of
//! the datagram, which shows no ports, goes there too.
//!
//! One table per rail, written and read by all workers without locks, because the fragments of one
//! datagram may reach several of them. A datagram (source, destination, protocol, identification;
//! see [`fragment_hash_v4`](super::hash::fragment_hash_v4)) has exactly one place, one atomic word, so
//! that two workers that enter the same datagram at once agree by a single compare-and-swap: the first
//! answer stays. Another datagram that falls into the same place pushes the older one out. With four places for
//! every datagram meant to be in flight that is rare, and since fragments of a datagram
//! travel together the older one is usually complete long before its time is up.

use std::io;
use std::time::Duration;

use crate::hw::{LINE_WORDS, Lines};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::{BackendId, FlowHash, IdSet, Nanos};

/// Shared by all workers.
#[derive(Debug)]
pub struct FragmentTable {
    lines: Lines,
    /// Number of places, a power of two, minus 1.
    mask: usize,
    /// Seconds an answer stays.
    lifetime: u32,
    /// Time of the last sweep.
    swept_at: AtomicU64,
}

impl FragmentTable {
    /// How long an answer stays unless configured: as long as Linux waits for the rest of a datagram.
    pub const LIFETIME: Duration = Duration::from_secs(30);
    /// Bounds of the lifetime: 60 s are RFC 8200's time for reassembly, 120 s RFC 1122's longest.
    pub const LIFETIMES: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(120);
    /// The most datagrams a table can be made for: 2^26 places, 512 MiB.
    pub const MAX_DATAGRAMS: usize = 1 << 24;

    /// A table for so many datagrams in flight, 1 to [`FragmentTable::MAX_DATAGRAMS`]; whatever is
    /// outside the bounds is brought to the nearest one. Fails when there is no memory.
    pub fn new(datagrams: usize, lifetime: Duration) -> io::Result<Self> {
        let datagrams = datagrams.clamp(1, Self::MAX_DATAGRAMS);
        let places = (PLACES_PER_DATAGRAM * datagrams)
            .next_power_of_two()
            .max(LINE_WORDS);
        let lifetime = lifetime.clamp(*Self::LIFETIMES.start(), *Self::LIFETIMES.end());
        Ok(FragmentTable {
            lines: Lines::zeroed(places / LINE_WORDS)?,
            mask: places - 1,
            // Rounded up: never shorter than asked for.
            lifetime: lifetime.as_millis().div_ceil(1000) as u32,
            swept_at: AtomicU64::new(NEVER),
        })
    }

    /// Enters a datagram whose first fragment goes to `backend`, and returns the backend that counts: the one
    /// entered before, if a first fragment was seen before.
    pub fn remember(&self, datagram: FlowHash, backend: BackendId, now: Nanos) -> BackendId {
        let word = self.word(datagram);
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            if let Some(earlier) = self.answer(seen, datagram, now) {
                return earlier;
            }
            let entry = pack(datagram, backend, now);
            // A word means nothing beyond itself, so no ordering with other memory is needed.
            match word.compare_exchange(seen, entry, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return backend,
                // Somebody else was faster, perhaps with the same datagram. Each failure is another
                // worker's success, so somebody always gets on.
                Err(other) => seen = other,
            }
        }
    }

    /// The backend of a datagram, if its first fragment was seen.
    pub fn lookup(&self, datagram: FlowHash, now: Nanos) -> Option<BackendId> {
        let word = self.word(datagram).load(Ordering::Relaxed);
        self.answer(word, datagram, now)
    }

    /// Drops expired entries. Stamps wrap after 9.1 hours, so this must run a few times in that period;
    /// once a minute is plenty. Not for a worker: it walks the whole table. A leap of the clock by
    /// more than 4.5 hours since the last sweep drops everything, since stamps may have wrapped.
    pub fn sweep(&self, now: Nanos) {
        let swept_at = Nanos(self.swept_at.swap(now.0, Ordering::Relaxed));
        let leap = now.since(swept_at) > LEAP;
        for word in self.words() {
            let seen = word.load(Ordering::Relaxed);
            if seen != EMPTY && (leap || self.expired(seen, now)) {
                // If a worker just wrote a new entry it stays.
                let _ = word.compare_exchange(seen, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Adds every backend id that an entry names, expired or not: with the connection tables' part of
    /// what must be free of an id before it is reused.
    pub fn collect_ids(&self, ids: &mut IdSet) {
        for word in self.words() {
            if let Some(backend) = backend_of(word.load(Ordering::Relaxed)) {
                ids.insert(backend);
            }
        }
    }

    /// Number of entries, expired ones included.
    pub fn occupancy(&self) -> usize {
        let taken = |word: &&AtomicU64| word.load(Ordering::Relaxed) != EMPTY;
        self.words().filter(taken).count()
    }

    /// Number of places.
    pub fn capacity(&self) -> usize {
        self.mask + 1
    }

    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.lines.iter().flat_map(|line| &line.0)
    }

    /// The place of a datagram: the low bits of its hash. The tag is made of the high ones.
    fn word(&self, datagram: FlowHash) -> &AtomicU64 {
        let place = datagram.bucket(self.mask);
        &self.lines[place / LINE_WORDS].0[place % LINE_WORDS]
    }

    /// What a word says about a datagram.
    fn answer(&self, word: u64, datagram: FlowHash, now: Nanos) -> Option<BackendId> {
        let same = (word >> TAG_SHIFT) as u32 == datagram.tag();
        (same && !self.expired(word, now)).then(|| backend_of(word))?
    }

    fn expired(&self, word: u64, now: Nanos) -> bool {
        let age = seconds(now).wrapping_sub(word) & STAMP_MASK;
        // The clock of the worker that wrote the entry may be a little ahead of ours.
        age > u64::from(self.lifetime) && age <= STAMP_MASK - SKEW
    }
}

/// Places for every datagram asked for, so that few share one.
const PLACES_PER_DATAGRAM: usize = 4;

/// The word of a place never used, or swept. No entry is zero: its backend id is not.
const EMPTY: u64 = 0;

// An entry: tag 32 bits, backend 17, stamp 15 (seconds).
const TAG_SHIFT: u32 = 32;
const BACKEND_SHIFT: u32 = TAG_SHIFT - BackendId::BITS;
const STAMP_MASK: u64 = (1 << BACKEND_SHIFT) - 1;
/// Seconds by which one worker's clock may lag behind another's.
const SKEW: u64 = 60;
/// Before the first sweep: a time that no clock leaps away from.
const NEVER: u64 = u64::MAX;
/// Half of what a stamp can tell, 4.5 hours.
const LEAP: Duration = Duration::from_secs(STAMP_MASK / 2);

fn pack(datagram: FlowHash, backend: BackendId, now: Nanos) -> u64 {
    u64::from(datagram.tag()) << TAG_SHIFT
        | u64::from(backend.get()) << BACKEND_SHIFT
        | seconds(now) & STAMP_MASK
}

fn backend_of(word: u64) -> Option<BackendId> {
    BackendId::new((word >> BACKEND_SHIFT) as u32 & BackendId::MAX.get()).ok()
}

fn seconds(now: Nanos) -> u64 {
    now.as_secs()
}
