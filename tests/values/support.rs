//! A store that counts, and clocks to stamp with.

use std::sync::atomic::{AtomicU64, Ordering};

use rustyrail::store::value::{Clock, Millis, Node, Stamp};
use rustyrail::store::{Kind, MemoryObjects, Object, ObjectId, Objects, StoreError};

/// Objects in memory, and how many were read and written.
#[derive(Default)]
pub struct Counting {
    inner: MemoryObjects,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counting {
    /// What `work` gives, and how many objects it read and wrote.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (T, u64, u64) {
        let before = [&self.reads, &self.writes].map(|count| count.load(Ordering::Relaxed));
        let result = work();
        let after = [&self.reads, &self.writes].map(|count| count.load(Ordering::Relaxed));
        (result, after[0] - before[0], after[1] - before[1])
    }
}

impl Objects for Counting {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(id)
    }

    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.put(kind, data)
    }
}

/// Node number `index`: `node-a`, `node-b`, ...
pub fn node(index: usize) -> Node {
    format!("node-{}", char::from(b'a' + index as u8))
        .parse()
        .unwrap()
}

/// The clock of node number `index`.
pub fn clock(index: usize) -> Clock {
    Clock::new(node(index))
}

/// A point in time.
pub fn at(millis: u64) -> Millis {
    Millis::new(millis).unwrap()
}

/// A stamp of node number `index`.
pub fn stamp(millis: u64, index: usize, sequence: u32) -> Stamp {
    Stamp::new(at(millis), node(index), sequence).unwrap()
}

/// Lines of letters without a pattern, so that where an edit was made can be told from its result.
pub fn lines(seed: u64, count: usize) -> Vec<String> {
    let mut state = seed | 1;
    let mut letter = || {
        // Xorshift: any fixed sequence without pattern will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"abcdefghijklmnopqrstuvwxyz    "[(state >> 32) as usize % 30] as char
    };
    let mut line = || (0..30).map(|_| letter()).chain(['\u{e9}', '\n']).collect();
    (0..count).map(|_| line()).collect()
}
