//! Exact match: a table from whole keys to services, for one probe per packet.

use super::service::ServiceIndex;

/// A key as the table compares it.
pub(super) trait Key: Copy + Eq + Default {
    /// All of the key in one word: the same for equal keys, seldom for others.
    fn word(self) -> u64;
}

/// Address, port and protocol of an IPv4 service.
impl Key for u64 {
    #[inline(always)]
    fn word(self) -> u64 {
        self
    }
}

/// The two halves of the address of an IPv6 service, and port and protocol.
impl Key for (u64, u64, u32) {
    #[inline(always)]
    fn word(self) -> u64 {
        self.1 ^ self.0.rotate_left(32) ^ u64::from(self.2) << 29
    }
}

/// Open addressing, at most a quarter full.
#[derive(Debug)]
pub(super) struct Exact<K> {
    /// Of an empty place the service is [`ServiceIndex::NONE`].
    places: Box<[(K, ServiceIndex)]>,
    spread: Spread,
}

/// Where keys are looked for first. Which packets come is not known, but which keys there are is: of some ways to
/// spread them the one is taken that gives the most a place of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    multiplier: u64,
    shift: u32,
}

impl Spread {
    /// For keys given as words: over at least four times as many places, a power of two of them.
    pub(super) fn new(words: &[u64]) -> Self {
        // Fibonacci hashing to begin with; the keys are the operator's own, so nothing here is secret.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        const TRIES: u64 = 32;
        // Two at least, so that the shift is less than a word.
        let len = (words.len() * 4).next_power_of_two().max(2);
        let nth = |n: u64| Spread {
            multiplier: GOLDEN.wrapping_mul(2 * n - 1),
            shift: 64 - len.trailing_zeros(),
        };
        let mut taken = vec![false; len];
        let best = (1..=TRIES).map(nth).min_by_key(|spread| {
            taken.fill(false);
            let displaced = words
                .iter()
                .filter(|word| std::mem::replace(&mut taken[spread.home(**word)], true));
            displaced.count()
        });
        best.unwrap_or(nth(1))
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        1 << (64 - self.shift)
    }

    /// The place of a key, given as a word.
    #[inline(always)]
    pub(super) fn home(&self, word: u64) -> usize {
        (word.wrapping_mul(self.multiplier) >> self.shift) as usize
    }
}

impl<K> Default for Exact<K> {
    fn default() -> Self {
        Exact {
            places: Box::default(),
            spread: Spread::new(&[]),
        }
    }
}

impl<K: Key> Exact<K> {
    /// Of two equal keys the first one counts.
    pub(super) fn new(keys: &[(K, ServiceIndex)]) -> Self {
        if keys.is_empty() {
            return Exact::default();
        }
        let words: Vec<_> = keys.iter().map(|(key, _)| key.word()).collect();
        let mut table = Exact {
            places: Box::default(),
            spread: Spread::new(&words),
        };
        table.fill(keys);
        table
    }

    /// Gives the keys their places.
    fn fill(&mut self, keys: &[(K, ServiceIndex)]) {
        let len = self.spread.len();
        self.places = vec![(K::default(), ServiceIndex::NONE); len].into();
        for &(key, service) in keys {
            let mut at = self.home(key);
            while self.places[at].1 != ServiceIndex::NONE && self.places[at].0 != key {
                at = (at + 1) & (len - 1);
            }
            if self.places[at].1 == ServiceIndex::NONE {
                self.places[at] = (key, service);
            }
        }
    }

    /// The service of a key; [`ServiceIndex::NONE`] if there is none.
    #[inline(always)]
    pub(super) fn get(&self, key: K) -> ServiceIndex {
        match self.places.get(self.home(key)) {
            Some(&(there, service)) if there == key => service,
            _ => self.look_on(key),
        }
    }

    /// As [`Exact::get`], for a key that is not in its first place.
    #[cold]
    fn look_on(&self, key: K) -> ServiceIndex {
        let mut at = self.home(key);
        loop {
            // An empty table has no places at all.
            let Some(&(there, service)) = self.places.get(at) else {
                return ServiceIndex::NONE;
            };
            if there == key || service == ServiceIndex::NONE {
                return service;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    #[inline(always)]
    fn home(&self, key: K) -> usize {
        self.spread.home(key.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_map(
            keys in prop::collection::vec(0..500u64, 0..300),
            asked in prop::collection::vec(0..1000u64, 100),
            spread in any::<u64>(),
        ) {
            let mut model = BTreeMap::new();
            let mut services = Vec::new();
            for (index, key) in keys.iter().map(|key| key.wrapping_mul(spread)).enumerate() {
                let service = ServiceIndex(index as u16);
                model.entry(key).or_insert(service);
                services.push((key, service));
            }
            let table = Exact::new(&services);
            for key in asked.iter().chain(&keys).map(|key| key.wrapping_mul(spread)) {
                prop_assert_eq!(table.get(key), model.get(&key).copied().unwrap_or(ServiceIndex::NONE));
            }
            let wide: Vec<_> = services.iter().map(|&(key, s)| ((key, !key, 5), s)).collect();
            let table = Exact::new(&wide);
            for key in asked.iter().chain(&keys).map(|key| key.wrapping_mul(spread)) {
                let expected = model.get(&key).copied().unwrap_or(ServiceIndex::NONE);
                prop_assert_eq!(table.get((key, !key, 5)), expected);
                prop_assert_eq!(table.get((key, !key, 6)), ServiceIndex::NONE);
            }
        }
    }
}
