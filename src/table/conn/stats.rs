//! Counters of a connection table: plain numbers at the owner, atomic words for everybody else.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened in a table since it was made, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnStats {
    /// Packets whose flow had an entry.
    pub hits: u64,
    /// Packets whose flow had none.
    pub misses: u64,
    /// New entries, over evicted ones or not.
    pub inserts: u64,
    /// Live entries that made room for new ones.
    pub evictions: u64,
    /// Entries that reached their timeout.
    pub expired: u64,
    /// Entries moved to another backend.
    pub repins: u64,
    /// Flows not entered because every entry of their bucket was worth more.
    pub full: u64,
    /// Flows not entered because the limit of new pins was reached.
    pub limited: u64,
    /// Entries now, including those that reached their timeout and were not swept yet.
    pub occupancy: u64,
}

/// The owner's numbers as of its last burst, for the exporter. Each word is right by itself; they
/// may stem from two neighbouring bursts.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct SharedStats([AtomicU64; 9]);

impl SharedStats {
    pub(super) fn store(&self, stats: &ConnStats) {
        let ConnStats {
            hits,
            misses,
            inserts,
            evictions,
            expired,
            repins,
            full,
            limited,
            occupancy,
        } = *stats;
        let numbers = [
            hits, misses, inserts, evictions, expired, repins, full, limited, occupancy,
        ];
        for (word, number) in self.0.iter().zip(numbers) {
            word.store(number, Ordering::Relaxed);
        }
    }

    pub(super) fn load(&self) -> ConnStats {
        let [
            hits,
            misses,
            inserts,
            evictions,
            expired,
            repins,
            full,
            limited,
            occupancy,
        ] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        ConnStats {
            hits,
            misses,
            inserts,
            evictions,
            expired,
            repins,
            full,
            limited,
            occupancy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_in_its_place() {
        let stats = ConnStats {
            hits: 1,
            misses: 2,
            inserts: 3,
            evictions: 4,
            expired: 5,
            repins: 6,
            full: 7,
            limited: 8,
            occupancy: 9,
        };
        let shared = SharedStats::default();
        shared.store(&stats);
        assert_eq!(shared.load(), stats);
    }
}
