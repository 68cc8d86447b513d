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

/// Open addressing, at most a quarter full. Which packets come is not known, but which keys there are is:
/// of some ways to spread them the one is taken that puts the most where they are looked for first.
#[derive(Debug)]
pub(super) struct Exact<K> {
    /// Of an empty place the service is [`ServiceIndex::NONE`].
    places: Box<[(K, ServiceIndex)]>,
    multiplier: u64,
    shift: u32,
}

impl<K> Default for Exact<K> {
    fn default() -> Self {
        Exact {
            places: Box::default(),
            multiplier: 1,
            shift: 0,
        }
    }
}

impl<K: Key> Exact<K> {
    /// Of two equal keys the first one counts.
    pub(super) fn new(keys: &[(K, ServiceIndex)]) -> Self {
        // Fibonacci hashing to begin with; the keys are the operator's own, so nothing here is secret.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        const TRIES: u64 = 32;
        if keys.is_empty() {
            return Exact::default();
        }
        let len = (keys.len() * 4).next_power_of_two();
        let empty = |multiplier| Exact {
            places: Box::default(),
            multiplier,
            shift: 64 - len.trailing_zeros(),
        };
        let tries = (1..=TRIES).map(|n| empty(GOLDEN.wrapping_mul(2 * n - 1)));
        let mut taken = vec![false; len];
        let best = tries.min_by_key(|table: &Self| {
            taken.fill(false);
            let displaced = keys
                .iter()
                .filter(|(key, _)| std::mem::replace(&mut taken[table.home(*key)], true));
            displaced.count()
        });
        let mut table = best.unwrap_or_default();
        table.fill(keys, len);
        table
    }

    /// Gives the keys their places, `len` in all.
    fn fill(&mut self, keys: &[(K, ServiceIndex)], len: usize) {
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
        self.first(key).unwrap_or_else(|| self.look_on(key))
    }

    /// The service of a key, if it is where it is looked for first.
    #[inline(always)]
    pub(super) fn first(&self, key: K) -> Option<ServiceIndex> {
        let &(there, service) = self.places.get(self.home(key))?;
        (there == key).then_some(service)
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
        (key.word().wrapping_mul(self.multiplier) >> self.shift) as usize
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
