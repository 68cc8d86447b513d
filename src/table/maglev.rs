//! Maglev consistent hashing: a table of slots, each naming a backend.
//!
//! Every backend has a permutation of the slots, made of two hashes of its name; backends take turns
//! in byte order of their names, each turn claiming the first slot of the backend's permutation that
//! is still free, until the table is full. So the table depends on names, weights and the pool's key
//! alone, and two rails with the same pool build the same one, whatever order they learned it in.
//!
//! Source: D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
//! 2016, section 3.4. Weights are ours: see [`Maglev::build`].

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::hash::{FlowHash, HashKey};
use super::populate::{Populated, Walk, populate};
pub use super::prime::{TableSize, TableSizeError};
use super::slots::Slots;

/// Backends one table can index: a slot is 2 bytes at most.
pub const MAX_BACKENDS: usize = 1 << 16;

/// More backends than a slot can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} backends in one service: a table names at most {MAX_BACKENDS}")]
pub struct TooManyBackends(pub usize);

/// A lookup table. Slots hold indices into the backends it was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maglev {
    size: TableSize,
    /// `size` slots, or none at all when no backend has a weight.
    slots: Slots,
    shares: Box<[u32]>,
    digest: Digest,
}

/// A fingerprint of which name owns which slot, equal on rails that agree, whatever the order in
/// which their backends were given. Names without slots do not count.
///
/// SipHash-2-4 with an all-zero key over: the table size (u32), then for each name that has slots,
/// in byte order, its length (u32) and bytes, then for each slot the rank of its owner among those
/// names (u16); numbers little-endian. An empty table is the size alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Maglev {
    /// Builds the table of `size` slots for `backends`, given as name and weight in any order.
    ///
    /// Weight 0 means no slot: drained, down and failed backends are passed that way, so that the
    /// index of a backend does not depend on its state. Without any weight the table is empty.
    ///
    /// A round visits the backends in byte order of their names. A backend's credit grows by its
    /// weight at each visit; when it reaches the largest weight the backend takes one turn and pays
    /// that much. With equal weights every visit is a turn, which is the paper's algorithm.
    pub fn build<N: AsRef<str>>(
        size: TableSize,
        key: &HashKey,
        backends: &[(N, u32)],
    ) -> Result<Self, TooManyBackends> {
        if backends.len() > MAX_BACKENDS {
            return Err(TooManyBackends(backends.len()));
        }
        let in_turn = in_turn(backends);
        let walks: Vec<_> = in_turn
            .iter()
            .map(|&(index, name)| {
                let (offset, skip) = offset_and_skip(size, key, name);
                (Walk::new(offset, skip), backends[index].1)
            })
            .collect();
        let table = populate(size.get(), &walks);
        let digest = digest(size, &in_turn, &table);

        // From ranks to what the caller knows the backends by; the check above keeps that within two bytes.
        let given: Vec<_> = in_turn.iter().map(|&(index, _)| index as u16).collect();
        let mut slots = table.slots;
        if !given.iter().copied().eq(0..given.len() as u16) {
            slots
                .iter_mut()
                .for_each(|slot| *slot = given[usize::from(*slot)]);
        }
        let mut shares = vec![0; backends.len()].into_boxed_slice();
        for (&index, share) in given.iter().zip(table.shares) {
            shares[usize::from(index)] = share;
        }
        Ok(Maglev {
            size,
            slots: Slots::new(&slots, backends.len()),
            shares,
            digest,
        })
    }

    /// The table's size, also when it is empty.
    pub fn size(&self) -> TableSize {
        self.size
    }

    /// No backend has a slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The backend for a flow, as an index into the backends given to [`Maglev::build`]; `None` when
    /// the table is empty.
    #[inline(always)]
    pub fn lookup(&self, hash: FlowHash) -> Option<u16> {
        self.slot(hash.slot(self.size.get()))
    }

    /// The backend of one slot; `None` when the table is empty or the slot beyond its end.
    #[inline(always)]
    pub fn slot(&self, slot: u32) -> Option<u16> {
        self.slots.get(slot)
    }

    /// All slots, in order; none when the table is empty.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Number of slots of each backend, in the order given to [`Maglev::build`].
    pub fn shares(&self) -> &[u32] {
        &self.shares
    }

    /// Fingerprint of the table, for comparison between rails.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The two numbers that make a backend's permutation of the slots:
/// `permutation[j] = (offset + j * skip) mod M`.
pub fn offset_and_skip(size: TableSize, key: &HashKey, name: &str) -> (u32, u32) {
    let m = u64::from(size.get());
    let offset = siphash_2_4(key.k0(), key.k1(), name) % m;
    let skip = siphash_2_4(key.k1(), key.k0(), name) % (m - 1) + 1;
    // Both are below M, which fits 32 bits.
    (offset as u32, skip as u32)
}

/// SipHash-2-4 over a name's UTF-8 bytes. `Hasher::write` adds nothing to them, unlike `str::hash`.
fn siphash_2_4(k0: u64, k1: u64, name: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Index and name of the backends that take turns, in the order in which they do.
fn in_turn<N: AsRef<str>>(backends: &[(N, u32)]) -> Vec<(usize, &str)> {
    let all = backends.iter().enumerate();
    let mut in_turn: Vec<_> = all
        .filter(|(_, (_, weight))| *weight > 0)
        .map(|(index, (name, _))| (index, name.as_ref()))
        .collect();
    // Equal names never leave `check`; should they come, the sort is stable.
    in_turn.sort_by_key(|(_, name)| *name);
    in_turn
}

/// See [`Digest`]. `in_turn` are index and name of the backends by the rank that `table` knows them by.
fn digest(size: TableSize, in_turn: &[(usize, &str)], table: &Populated) -> Digest {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(&size.get().to_le_bytes());
    // A backend that got no slot has no rank here.
    let mut ranks = Vec::with_capacity(in_turn.len());
    let mut next = 0u16;
    for ((_, name), &share) in in_turn.iter().zip(&table.shares) {
        ranks.push(next);
        if share > 0 {
            // Names are far shorter than 4 GiB and backends no more than a slot can name.
            hasher.write(&(name.len() as u32).to_le_bytes());
            hasher.write(name.as_bytes());
            next = next.wrapping_add(1);
        }
    }
    // By the piece: what is hashed is still in the cache.
    let mut bytes = [0; 2 * DIGEST_PIECE];
    for piece in table.slots.chunks(DIGEST_PIECE) {
        for (bytes, &slot) in bytes.chunks_exact_mut(2).zip(piece) {
            bytes.copy_from_slice(&ranks[usize::from(slot)].to_le_bytes());
        }
        hasher.write(&bytes[..2 * piece.len()]);
    }
    Digest(hasher.finish())
}

/// Slots hashed at a time.
const DIGEST_PIECE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HashKey {
        "000102030405060708090a0b0c0d0e0f".parse().unwrap()
    }

    fn build(backends: &[(&str, u32)]) -> Maglev {
        Maglev::build(TableSize::new(251).unwrap(), &key(), backends).unwrap()
    }

    #[test]
    fn no_weight_means_an_empty_table_that_says_so() {
        for backends in [&[][..], &[("a", 0)][..], &[("a", 0), ("b", 0)][..]] {
            let table = build(backends);
            assert!(table.is_empty());
            assert_eq!(table.lookup(FlowHash(u64::MAX)), None);
            assert_eq!(table.slot(0), None);
            assert!(table.shares().iter().all(|&share| share == 0));
        }
    }

    #[test]
    fn a_weightless_backend_keeps_its_index_but_has_no_slot() {
        let with = build(&[("a", 1), ("b", 0), ("c", 1)]);
        let without = build(&[("a", 1), ("c", 1)]);
        assert_eq!(with.shares()[1], 0);
        assert_eq!(with.digest(), without.digest());
        for slot in 0..251 {
            let index = without.slot(slot).map(|index| index * 2);
            assert_eq!(with.slot(slot), index);
        }
    }

    #[test]
    fn the_digest_ignores_order_and_sees_names() {
        let table = build(&[("a", 1), ("b", 2)]);
        assert_eq!(table.digest(), build(&[("b", 2), ("a", 1)]).digest());
        assert_ne!(table.digest(), build(&[("a", 2), ("b", 1)]).digest());
        assert_ne!(table.digest(), build(&[("a", 1), ("c", 2)]).digest());
        assert_ne!(build(&[("a", 1)]).digest(), build(&[("b", 1)]).digest());
    }

    #[test]
    fn too_many_backends_are_refused() {
        let backends = vec![("a", 0); MAX_BACKENDS + 1];
        let size = TableSize::default();
        assert_eq!(
            Maglev::build(size, &key(), &backends),
            Err(TooManyBackends(65_537))
        );
        assert!(Maglev::build(size, &key(), &backends[1..]).is_ok());
    }
}
