//! Filling a Maglev table: backends take turns until no slot is free.
//!
//! By the book that is about `M ln M` steps for `M` slots, so a step must be cheap: a permutation is walked
//! by adding its skip and wrapping, never multiplied out, and whether a slot is free is one bit of a map
//! that stays in the L1 cache (8 KiB at 65,537 slots) while the slots themselves would not.
//!
//! Half of these steps look for the last `sqrt(M)` slots. When no more than those are left it is cheaper to ask
//! each of them where in the backend's permutation it stands, and to take the first; the table is the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::modulo::{Factor, inverse};

/// A backend's way through the slots: `(offset + j * skip) mod M`, at the next slot to try.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    next: u32,
    skip: u32,
}

impl Walk {
    /// A walk at its start: `offset` below `M`, `skip` from 1 to `M - 1`.
    pub fn new(offset: u32, skip: u32) -> Self {
        Walk { next: offset, skip }
    }

    /// The slot the walk is at; goes on to the one after it.
    #[inline(always)]
    fn step(&mut self, m: u32) -> u32 {
        let slot = self.next;
        // Slot and skip are below M, which is below 2^24: no overflow.
        let next = slot + self.skip;
        self.next = if next >= m { next - m } else { next };
        slot
    }
}

/// Who owns which slot. Backends are named by their rank: their place in the order of turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Populated {
    /// The owner of each slot; none at all when nobody took part.
    pub slots: Box<[u16]>,
    /// Number of slots by rank.
    pub shares: Box<[u32]>,
}

/// Fills a table of `m` slots (prime) for backends given as walk and weight (at least 1), no more than 2^16, in
/// the order of their turns.
pub fn populate(m: u32, backends: &[(Walk, u32)]) -> Populated {
    let (walks, weights): (Vec<_>, Vec<_>) = backends.iter().copied().unzip();
    let Some(&largest) = weights.iter().max() else {
        return Populated::default();
    };
    let all: u64 = weights.iter().copied().map(u64::from).sum();
    let at_most = walks.len() as u64 * u64::from(largest);
    if all == at_most {
        one_after_another(m, walks)
    } else if at_most < all * FEW_VISITS {
        by_credit(m, walks, &weights, largest)
    } else {
        by_calendar(m, walks, &weights, largest)
    }
}

/// Visits per turn up to which making them all is cheaper than knowing who is next: each is a comparison.
const FEW_VISITS: u64 = 32;

/// Equal weights: every visit is a turn.
fn one_after_another(m: u32, walks: Vec<Walk>) -> Populated {
    let n = walks.len();
    let mut next = 0;
    let slots = fill(m, walks, || {
        let rank = next;
        next = if rank + 1 == n { 0 } else { rank + 1 };
        rank
    });
    let (whole, rest) = (m / n as u32, m as usize % n);
    let share = |rank| whole + u32::from(rank < rest);
    Populated {
        slots,
        shares: (0..n).map(share).collect(),
    }
}

/// Unequal weights: visits all in turn until one has the credit.
fn by_credit(m: u32, walks: Vec<Walk>, weights: &[u32], largest: u32) -> Populated {
    let mut visits: Vec<_> = weights.iter().copied().map(Visits::new).collect();
    let mut next = 0;
    let slots = fill(m, walks, || {
        loop {
            let rank = next;
            next = if rank + 1 == visits.len() {
                0
            } else {
                rank + 1
            };
            if visits[rank].visit(largest) {
                return rank;
            }
        }
    });
    Populated {
        slots,
        shares: visits.into_iter().map(|visits| visits.turns).collect(),
    }
}

/// Very unequal weights, where nearly all visits would be in vain: the credit for the k-th turn is there in round
/// `k * largest / weight`, rounded up, so whoever has the earliest round and then the lowest rank is next.
fn by_calendar(m: u32, walks: Vec<Walk>, weights: &[u32], largest: u32) -> Populated {
    let round = |rank: usize, turn: u32| {
        let credit = u64::from(turn) * u64::from(largest);
        credit.div_ceil(u64::from(weights[rank]))
    };
    let mut shares = vec![0; walks.len()].into_boxed_slice();
    let first = (0..walks.len()).map(|rank| Reverse((round(rank, 1), rank)));
    let mut calendar: BinaryHeap<_> = first.collect();
    let slots = fill(m, walks, || {
        let Some(mut earliest) = calendar.peek_mut() else {
            return 0;
        };
        let Reverse((_, rank)) = *earliest;
        shares[rank] += 1;
        *earliest = Reverse((round(rank, shares[rank] + 1), rank));
        rank
    });
    Populated { slots, shares }
}

/// The visits a backend of some weight had: what they brought it and what it paid.
#[derive(Clone, Copy, Debug)]
struct Visits {
    weight: u32,
    /// Below the largest weight between visits.
    credit: u32,
    /// Turns taken, each of them a slot.
    turns: u32,
}

impl Visits {
    fn new(weight: u32) -> Self {
        Visits {
            weight,
            credit: 0,
            turns: 0,
        }
    }

    /// Is this visit a turn? Pays for it if so. `largest` is the largest weight of all.
    #[inline(always)]
    fn visit(&mut self, largest: u32) -> bool {
        // `largest - weight` cannot go below zero, where `credit + weight` might overflow.
        if self.credit >= largest - self.weight {
            self.credit -= largest - self.weight;
            self.turns += 1;
            true
        } else {
            self.credit += self.weight;
            false
        }
    }
}

/// Gives every slot to the rank whose turn it is when its walk is the first to come there.
#[inline(always)]
fn fill(m: u32, mut walks: Vec<Walk>, mut turn: impl FnMut() -> usize) -> Box<[u16]> {
    let mut slots = vec![0; m as usize].into_boxed_slice();
    let mut taken = vec![0u64; (m as usize).div_ceil(64)];
    let few = m.isqrt();
    for _ in few..m {
        let rank = turn();
        let walk = &mut walks[rank];
        let slot = loop {
            let slot = walk.step(m);
            let (word, bit) = (&mut taken[(slot / 64) as usize], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                break slot;
            }
        };
        slots[slot as usize] = rank as u16;
    }
    let is_free = |&slot: &u32| taken[(slot / 64) as usize] & 1 << (slot % 64) == 0;
    let mut free: Vec<u32> = (0..m).filter(is_free).collect();
    let mut by_skip = vec![None; walks.len()];
    while !free.is_empty() {
        let rank = turn();
        let walk = &mut walks[rank];
        let per_skip = by_skip[rank].get_or_insert_with(|| Factor::new(inverse(walk.skip, m), m));
        let slot = free.swap_remove(walk.first(&free, per_skip, m));
        slots[slot as usize] = rank as u16;
        walk.next = slot;
        walk.step(m);
    }
    slots
}

impl Walk {
    /// Which of the slots `free` the walk comes to first. `per_skip` is the inverse of the skip.
    #[inline(always)]
    fn first(&self, free: &[u32], per_skip: &Factor, m: u32) -> usize {
        let steps = |slot: u32| {
            let ahead = slot + m - self.next;
            per_skip.times(if ahead >= m { ahead - m } else { ahead }, m)
        };
        let places = free.iter().enumerate();
        // Steps and place in one word: comparing them is one operation.
        let keys = places.map(|(place, slot)| u64::from(steps(*slot)) << 32 | place as u64);
        keys.min().map_or(0, |key| key as u32 as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::maglev::TableSize;

    fn filled(m: u32, backends: &[(u32, u32, u32)]) -> Populated {
        let walk = |&(offset, skip, weight)| (Walk::new(offset, skip), weight);
        let backends: Vec<_> = backends.iter().map(walk).collect();
        populate(m, &backends)
    }

    #[test]
    fn the_papers_vector() {
        let three = [(3, 4, 1), (0, 2, 1), (3, 1, 1)];
        assert_eq!(*filled(7, &three).slots, [1, 0, 1, 0, 2, 2, 0]);
        let two = [(3, 4, 1), (3, 1, 1)];
        assert_eq!(*filled(7, &two).slots, [0, 0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn nobody_fills_nothing() {
        assert_eq!(filled(7, &[]), Populated::default());
    }

    #[test]
    fn credit_pays_for_turns() {
        // Weights 1 and 2: the heavy backend takes a turn in every round, the light one in every
        // second, at its second visit. Both walk the slots in order.
        let table = filled(7, &[(0, 1, 1), (0, 1, 2)]);
        assert_eq!(*table.slots, [1, 0, 1, 1, 0, 1, 1]);
        assert_eq!(*table.shares, [2, 5]);
        // Weights 10 and 3: the light one's turns come in rounds 4, 7 and 10.
        let table = filled(13, &[(0, 1, 10), (0, 1, 3)]);
        assert_eq!(*table.slots, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    }

    /// The paper's pseudocode, word by word, over permutations multiplied out; a visit is a turn when the
    /// credit reaches the largest weight, and with equal weights that is every visit.
    fn textbook(m: u32, backends: &[(u32, u32, u32)]) -> Vec<u16> {
        let permutation = |i: usize, j: u64| {
            let (offset, skip, _) = backends[i];
            ((u64::from(offset) + j * u64::from(skip)) % u64::from(m)) as usize
        };
        let largest = backends.iter().map(|backend| backend.2).max().unwrap();
        let mut credit = vec![0; backends.len()];
        let mut next = vec![0; backends.len()];
        let mut entry = vec![None; m as usize];
        let mut n = 0;
        loop {
            for (i, next) in next.iter_mut().enumerate() {
                credit[i] += backends[i].2;
                if credit[i] < largest {
                    continue;
                }
                credit[i] -= largest;
                let mut c = permutation(i, *next);
                while entry[c].is_some() {
                    *next += 1;
                    c = permutation(i, *next);
                }
                entry[c] = Some(i as u16);
                *next += 1;
                n += 1;
                if n == m {
                    return entry.into_iter().flatten().collect();
                }
            }
        }
    }

    /// A prime and backends whose offsets and skips suit it.
    fn table(weights: std::ops::Range<u32>) -> impl Strategy<Value = (u32, Vec<(u32, u32, u32)>)> {
        let primes = (3u64..2000).prop_filter_map("not prime", |m| TableSize::new(m).ok());
        primes.prop_flat_map(move |m| {
            let m = m.get();
            let backend = (0..m, 1..m, weights.clone());
            (Just(m), prop::collection::vec(backend, 1..40))
        })
    }

    /// Slots of a rank, counted one by one.
    fn counted(table: &Populated, rank: usize) -> u32 {
        let own = table
            .slots
            .iter()
            .filter(|&&slot| usize::from(slot) == rank);
        own.count() as u32
    }

    proptest! {
        #[test]
        fn it_is_the_textbook_but_faster(
            (m, mut backends) in table(1..1001),
            shape in 0..3,
            heavy: prop::sample::Index,
        ) {
            match shape {
                0 => backends.iter_mut().for_each(|backend| backend.2 = 7),
                1 => {
                    backends.iter_mut().for_each(|backend| backend.2 = backend.2 % 3 + 1);
                    let heavy = heavy.index(backends.len());
                    backends[heavy].2 = 1000;
                }
                _ => {}
            }
            let table = filled(m, &backends);
            prop_assert_eq!(table.slots.to_vec(), textbook(m, &backends));
            for (rank, &share) in table.shares.iter().enumerate() {
                prop_assert_eq!(share, counted(&table, rank));
            }
        }

        #[test]
        fn shares_are_proportional((m, backends) in table(1..1001)) {
            let table = filled(m, &backends);
            prop_assert_eq!(table.slots.len(), m as usize);
            let total: u32 = backends.iter().map(|backend| backend.2).sum();
            for (rank, &(_, _, weight)) in backends.iter().enumerate() {
                let share = table.shares[rank];
                let exact = f64::from(m) * f64::from(weight) / f64::from(total);
                // Credit rounds each backend down by less than one turn; the turns all of them
                // miss, and the last round's cut, fall to the others in proportion.
                let n = backends.len() as f64;
                let slack = 1.0 + n * f64::from(weight) / f64::from(total);
                prop_assert!((f64::from(share) - exact).abs() <= slack,
                    "backend {} of weight {}: {} slots, exact {}", rank, weight, share, exact);
            }
        }
    }
}
