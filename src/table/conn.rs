//! The connection table: which backend a flow was sent to, so that it stays there when the Maglev
//! table changes around it.
//!
//! One table per worker. A bucket is one cache line of eight entries, an entry one atomic word (see
//! [`Entry`]), so a lookup touches one line and reading from another thread is safe and never torn.
//! [`ConnOwner`] is the only writer; [`ConnTable`] is what others may read.
//!
//! # Lifetime
//!
//! An entry expires when it was idle longer than the timeout of its kind ([`Timeouts`]). Expired
//! entries are dropped when a lookup meets them, and by a sweep that goes on in small steps with
//! [`ConnOwner::advance`]: every bucket once a minute or so, at worst twice per wrap of the age stamp, so
//! that an entry never gets old enough to look young.
//!
//! # Pressure
//!
//! A new flow whose bucket is full takes the place of the oldest unpromoted entry, else of the oldest
//! closing one, else of the oldest that was idle longer than `min_idle`. There may be none: then
//! the flow is only hashed. A flood of SYNs therefore fills what unpromoted entries it finds, never
//! an established connection's place; and it makes no more than so many entries per second.
//!
//! Two flows whose hashes agree in the bucket's bits and the tag share an entry. With 2^20 buckets that is
//! one pair in 2^52.

mod entry;
mod owner;
mod stats;
mod sweep;
mod timeouts;

use std::sync::atomic::Ordering;

use crate::hw::{LINE_WORDS, Line, Lines};
use crate::table::{FlowHash, IdSet, Tick};

pub use entry::{Entry, Segment};
pub use owner::{ConnError, ConnOwner, ConnSettings, Found, Inserted, Look, Wanted};
pub use stats::ConnStats;
pub use timeouts::{TimeoutError, TimeoutSettings, Timeouts};

/// The readable side of a table: for other workers, and for control's scans.
#[derive(Debug)]
pub struct ConnTable {
    lines: Lines,
    /// Number of buckets, a power of two, minus 1.
    mask: usize,
    stats: stats::SharedStats,
}

impl ConnTable {
    /// The live entry of a flow, looked up by somebody who does not own the table: another worker
    /// with a fragment or an ICMP error in hand. Changes nothing.
    pub fn peek(&self, hash: FlowHash, now: Tick, timeouts: &Timeouts) -> Option<Entry> {
        let words = self.line(hash).0.iter();
        words
            .filter_map(|word| Entry::from_word(word.load(Ordering::Relaxed)))
            .find(|entry| entry.tag() == hash.tag() && !timeouts.expired(*entry, now))
    }

    /// All entries with their bucket numbers, expired ones included, while the owner goes on working: an
    /// entry written during the scan may be missed, none is seen torn.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Entry)> {
        let buckets = self.lines.iter().enumerate();
        buckets.flat_map(|(bucket, line)| {
            let words = line.0.iter();
            words.filter_map(move |word| {
                Entry::from_word(word.load(Ordering::Relaxed)).map(|entry| (bucket, entry))
            })
        })
    }

    /// Adds every backend id that an entry names. An id that no live snapshot knows (all workers have
    /// left the last one that did) and that is in no table after this scan may be reused: without a
    /// snapshot nobody can enter it again.
    pub fn collect_ids(&self, ids: &mut IdSet) {
        self.entries()
            .for_each(|(_, entry)| ids.insert(entry.backend()));
    }

    /// Number of buckets: a power of two. A flow's bucket is its hash modulo this.
    pub fn buckets(&self) -> usize {
        self.lines.len()
    }

    /// Number of entries there is room for.
    pub fn capacity(&self) -> usize {
        self.lines.len() * LINE_WORDS
    }

    /// Counters as of the owner's last burst.
    pub fn stats(&self) -> ConnStats {
        self.stats.load()
    }

    /// The table's memory, for the check that it lies on huge pages.
    pub fn memory(&self) -> &Lines {
        &self.lines
    }

    #[inline(always)]
    fn line(&self, hash: FlowHash) -> &Line {
        &self.lines[hash.bucket(self.mask)]
    }
}
