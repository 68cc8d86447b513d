//! Filling a Maglev table: backends take turns until no slot is free.
//!
//! About `M ln M` steps for `M` slots, so a step must be cheap: a permutation is walked by adding
//! its skip and wrapping, never multiplied out, and whether a slot is free is one bit of a map that
//! stays in the L1 cache (8 KiB at 65,537 slots) while the slots themselves would not.

/// One backend while the table is filled: its permutation, how far it has walked, its credit.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The next slot of the permutation to try.
    next: u32,
    skip: u32,
    weight: u32,
    /// Below the largest weight between visits.
    credit: u32,
    backend: u16,
}

impl Turn {
    /// A backend at the start of its permutation `(offset + j * skip) mod M`: `offset` below `M`,
    /// `skip` from 1 to `M - 1`, `weight` at least 1.
    pub fn new(backend: u16, offset: u32, skip: u32, weight: u32) -> Self {
        Turn {
            next: offset,
            skip,
            weight,
            credit: 0,
            backend,
        }
    }

    /// Index of the backend.
    pub fn backend(&self) -> usize {
        usize::from(self.backend)
    }

    /// Is this visit a turn? Pays for it if so. `largest` is the largest weight of all.
    #[inline(always)]
    fn visit(&mut self, largest: u32) -> bool {
        // `largest - weight` cannot go below zero, where `credit + weight` might overflow.
        if self.credit >= largest - self.weight {
            self.credit -= largest - self.weight;
            true
        } else {
            self.credit += self.weight;
            false
        }
    }

    /// Walks to the next free slot, claims it and returns it. There must be one.
    #[inline(always)]
    fn claim(&mut self, free: &mut Free) -> usize {
        loop {
            let slot = self.next;
            // Slot and skip are below M, which is below 2^24: no overflow.
            let next = slot + self.skip;
            self.next = if next >= free.m { next - free.m } else { next };
            if free.take(slot) {
                return slot as usize;
            }
        }
    }
}

/// The slots of a table of `m` (prime): indices of backends, which take turns in the order of
/// `turns`. Empty when nobody takes part.
pub fn populate(m: u32, turns: &mut [Turn]) -> Box<[u16]> {
    let Some(largest) = turns.iter().map(|turn| turn.weight).max() else {
        return Box::default();
    };
    let mut slots = vec![0; m as usize].into_boxed_slice();
    let mut free = Free::new(m);
    loop {
        for turn in turns.iter_mut() {
            if turn.visit(largest) {
                slots[turn.claim(&mut free)] = turn.backend;
                if free.left == 0 {
                    return slots;
                }
            }
        }
    }
}

/// Which slots are free: one bit a slot.
struct Free {
    taken: Box<[u64]>,
    m: u32,
    left: u32,
}

impl Free {
    fn new(m: u32) -> Self {
        Free {
            taken: vec![0; (m as usize).div_ceil(64)].into_boxed_slice(),
            m,
            left: m,
        }
    }

    /// Takes a slot if it is free.
    #[inline(always)]
    fn take(&mut self, slot: u32) -> bool {
        let word = &mut self.taken[(slot / 64) as usize];
        let bit = 1 << (slot % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::maglev::TableSize;

    fn turns(backends: &[(u32, u32, u32)]) -> Vec<Turn> {
        let turn = |(index, &(offset, skip, weight))| Turn::new(index as u16, offset, skip, weight);
        backends.iter().enumerate().map(turn).collect()
    }

    #[test]
    fn the_papers_vector() {
        let mut three = turns(&[(3, 4, 1), (0, 2, 1), (3, 1, 1)]);
        assert_eq!(*populate(7, &mut three), [1, 0, 1, 0, 2, 2, 0]);
        let mut two = turns(&[(3, 4, 1), (0, 2, 1), (3, 1, 1)]);
        two.remove(1);
        assert_eq!(*populate(7, &mut two), [0, 0, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn nobody_fills_nothing() {
        assert!(populate(7, &mut []).is_empty());
    }

    #[test]
    fn credit_pays_for_turns() {
        // Weights 1 and 2: the heavy backend takes a turn in every round, the light one in every
        // second, at its second visit. Both walk the slots in order.
        let mut turns = turns(&[(0, 1, 1), (0, 1, 2)]);
        assert_eq!(*populate(7, &mut turns), [1, 0, 1, 1, 0, 1, 1]);
        // Weights 10 and 3: the light one's turns come in rounds 4, 7 and 10.
        let mut turns = self::turns(&[(0, 1, 10), (0, 1, 3)]);
        let slots = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        assert_eq!(*populate(13, &mut turns), slots);
    }

    /// The paper's pseudocode, word by word, over permutations multiplied out.
    fn textbook(m: u32, backends: &[(u32, u32, u32)]) -> Vec<u16> {
        let permutation = |i: usize, j: u64| {
            let (offset, skip, _) = backends[i];
            ((u64::from(offset) + j * u64::from(skip)) % u64::from(m)) as usize
        };
        let mut next = vec![0; backends.len()];
        let mut entry = vec![None; m as usize];
        let mut n = 0;
        loop {
            for (i, next) in next.iter_mut().enumerate() {
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

    proptest! {
        #[test]
        fn equal_weights_are_the_textbook((m, mut backends) in table(1..2), weight in 1u32..=1000) {
            let expected = textbook(m, &backends);
            for backend in &mut backends {
                backend.2 = weight;
            }
            prop_assert_eq!(populate(m, &mut turns(&backends)).to_vec(), expected);
        }

        #[test]
        fn shares_are_proportional((m, backends) in table(1..1001)) {
            let slots = populate(m, &mut turns(&backends));
            prop_assert_eq!(slots.len(), m as usize);
            let total: u32 = backends.iter().map(|backend| backend.2).sum();
            for (index, &(_, _, weight)) in backends.iter().enumerate() {
                let share = slots.iter().filter(|&&slot| usize::from(slot) == index).count();
                let exact = f64::from(m) * f64::from(weight) / f64::from(total);
                // Credit rounds each backend down by less than one turn; the turns all of them
                // miss, and the last round's cut, fall to the others in proportion.
                let n = backends.len() as f64;
                let slack = 1.0 + n * f64::from(weight) / f64::from(total);
                prop_assert!((share as f64 - exact).abs() <= slack,
                    "backend {} of weight {}: {} slots, exact {}", index, weight, share, exact);
            }
        }
    }
}
