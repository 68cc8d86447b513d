//! A bounded map from object ids to decoded things, for many threads.

use std::sync::{Mutex, PoisonError};

use super::object::{IdMap, ObjectId};

/// Independently locked parts, so that readers on different cores rarely meet.
const SHARDS: usize = 16;

/// Keeps what was used recently. Two generations: when the young one is full it becomes the old one, and
/// what is not asked for again before that repeats is forgotten.
pub struct Cache<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// Size at which a shard's young generation is full, in bytes.
    full: usize,
}

struct Shard<V> {
    young: IdMap<(V, usize)>,
    old: IdMap<(V, usize)>,
    young_size: usize,
}

impl<V: Clone> Cache<V> {
    /// A cache of at most about `budget` bytes, as [`insert`](Self::insert) is told the sizes.
    pub fn new(budget: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                young: IdMap::default(),
                old: IdMap::default(),
                young_size: 0,
            })
        };
        Self {
            shards: std::array::from_fn(|_| shard()),
            full: budget / SHARDS / 2,
        }
    }

    /// What is kept for this id.
    pub fn get(&self, id: &ObjectId) -> Option<V> {
        let mut shard = self.shard(id);
        if let Some((value, _)) = shard.young.get(id) {
            return Some(value.clone());
        }
        let (value, size) = shard.old.remove(id)?;
        self.add(&mut shard, id, value.clone(), size);
        Some(value)
    }

    /// Keeps a value of `size` bytes for a while.
    pub fn insert(&self, id: &ObjectId, value: V, size: usize) {
        // What would push out everything else is not worth keeping.
        if size < self.full {
            self.add(&mut self.shard(id), id, value, size);
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.clear();
            shard.old.clear();
            shard.young_size = 0;
        }
    }

    fn shard(&self, id: &ObjectId) -> std::sync::MutexGuard<'_, Shard<V>> {
        // The map inside hashes by the first bytes; the last one is independent of them.
        let at = usize::from(id.as_bytes()[19]) % SHARDS;
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, shard: &mut Shard<V>, id: &ObjectId, value: V, size: usize) {
        if shard.young_size + size > self.full {
            shard.old = std::mem::take(&mut shard.young);
            shard.young_size = 0;
        }
        if shard.young.insert(*id, (value, size)).is_none() {
            shard.young_size += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::Kind;

    fn id(number: usize) -> ObjectId {
        ObjectId::of(Kind::Blob, &number.to_le_bytes())
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = Cache::new(SHARDS * 2 * 100);
        cache.insert(&id(0), 0, 10);
        for number in 1..10_000 {
            cache.insert(&id(number), number, 10);
            assert_eq!(cache.get(&id(0)), Some(0), "after {number}");
        }
        assert_eq!(cache.get(&id(1)), None);
        let kept = (0..10_000)
            .filter(|number| cache.get(&id(*number)).is_some())
            .count();
        assert!(kept <= 2 * SHARDS * 10, "{kept}");
        cache.clear();
        assert_eq!(cache.get(&id(0)), None);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let cache = Cache::new(SHARDS * 2 * 100);
        cache.insert(&id(0), 0, 1000);
        assert_eq!(cache.get(&id(0)), None);
    }
}
