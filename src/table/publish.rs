//! How control hands a new value (the snapshot of all tables) to the workers.
//!
//! # Guarantees
//!
//! - A reader sees values in the order in which they were published, each whole, and never goes back.
//! - While nothing changes, reading costs one acquire load and a comparison. A change costs each reader one
//!   short lock once; a reader that finds the lock taken keeps its value for one more burst
//!   instead of waiting, unless it holds none.
//! - A value is dropped by the thread that owns the [`Publisher`], and only after every reader let go
//!   of it: when it read a newer one, parked, or was dropped itself. That is RCU's grace period,
//!   counted by `Arc`.
//! - When the publisher is dropped before its readers, what they may still read is leaked rather than
//!   freed on a worker. Stop the workers first and nothing leaks.
//!
//! Checked by a loom model in `tests/loom.rs`, and with real threads in `tests/publish.rs`.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// The writing end. One per value; belongs to the control core.
#[derive(Debug)]
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    current: Arc<T>,
    /// Replaced values, until no reader holds them. Keeping an `Arc` here is what makes sure that no
    /// reader ever drops the last one.
    retired: Vec<Arc<T>>,
}

/// The reading end. One per worker.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    held: Option<Version<T>>,
}

impl<T> Publisher<T> {
    /// Publishes the first value, as version 0.
    pub fn new(value: T) -> Self {
        let current = Arc::new(value);
        let latest = Version {
            number: 0,
            value: Arc::clone(&current),
        };
        let shared = Arc::new(Shared {
            number: AtomicU64::new(0),
            latest: Mutex::new(latest),
        });
        Publisher {
            shared,
            current,
            retired: Vec::new(),
        }
    }

    /// Makes one more reader. It holds nothing before its first [`Reader::current`].
    pub fn reader(&self) -> Reader<T> {
        Reader {
            shared: Arc::clone(&self.shared),
            held: None,
        }
    }

    /// The value published last.
    pub fn current(&self) -> &T {
        &self.current
    }

    /// Number of the value published last: 0 for the first, then one more each time.
    pub fn version(&self) -> u64 {
        self.shared.number.load(Ordering::Relaxed)
    }

    /// Replaces the value. Readers find the new one the next time they ask; the old one is dropped by
    /// this or a later call of `publish` or [`Publisher::reclaim`]. Returns the new version.
    pub fn publish(&mut self, value: T) -> u64 {
        let value = Arc::new(value);
        let number = self.version() + 1;
        let retired = std::mem::replace(&mut self.current, Arc::clone(&value));
        let replaced = {
            let mut latest = self.shared.lock();
            let replaced = std::mem::replace(&mut *latest, Version { number, value });
            // Under the lock, so that whoever sees the number finds that value or a newer one.
            self.shared.number.store(number, Ordering::Release);
            replaced
        };
        self.retired.push(retired);
        drop(replaced);
        self.reclaim();
        number
    }

    /// Drops, here and now, every replaced value that no reader holds any more, and returns the number
    /// of values still held. When that is 0, every reader has passed a quiescent point since the last
    /// `publish`: whatever only older values named (a backend id) is no longer in any worker's hands.
    /// What readers wrote elsewhere under those values (table entries) is visible to the caller then,
    /// because dropping the last hold synchronises with all earlier ones.
    pub fn reclaim(&mut self) -> usize {
        // A replaced value is no longer in `shared`, so nobody can make new holds on it: a count of
        // one, this `Arc` alone, stays one.
        self.retired.retain(|value| Arc::strong_count(value) > 1);
        self.retired.len()
    }
}

impl<T> Drop for Publisher<T> {
    /// Readers that still exist keep what they hold and can read the last value; none of that may
    /// be freed by them, so one count of each is never given back.
    fn drop(&mut self) {
        self.reclaim();
        self.retired.drain(..).for_each(std::mem::forget);
        // Only a publisher makes readers, so no new one can appear after this check.
        if Arc::strong_count(&self.shared) > 1 {
            std::mem::forget(Arc::clone(&self.current));
        }
    }
}

impl<T> Reader<T> {
    /// The newest value. Ask once per burst: the value stays the same for as long as the returned
    /// reference lives.
    #[inline]
    pub fn current(&mut self) -> &T {
        let number = self.shared.number.load(Ordering::Acquire);
        if self.held.as_ref().is_some_and(|held| held.number != number) {
            self.refresh();
        }
        let shared = &self.shared;
        let held = self.held.get_or_insert_with(|| shared.lock().clone());
        &held.value
    }

    /// Lets go of the value, so that the publisher need not wait for a reader that sleeps: it counts as
    /// quiescent until it asks again.
    pub fn park(&mut self) {
        // Never the last hold: the publisher keeps one until it sees no other.
        self.held = None;
    }

    /// Version of the value held, for the exporter; `None` while parked.
    pub fn version(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.number)
    }

    /// Exchanges the value held for the newest, unless the lock is taken.
    #[cold]
    fn refresh(&mut self) {
        let latest = match self.shared.latest.try_lock() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let newest = latest.clone();
        drop(latest);
        self.held = Some(newest);
    }
}

/// What publisher and readers share.
#[derive(Debug)]
struct Shared<T> {
    /// Number of the version in `latest`, readable without the lock.
    number: AtomicU64,
    /// Locked for the time of a pointer swap or an `Arc` clone only; values are never dropped under it.
    latest: Mutex<Version<T>>,
}

/// A value and its place in the order of publication.
#[derive(Debug)]
struct Version<T> {
    number: u64,
    value: Arc<T>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Version<T>> {
        // No code that can panic runs under the lock; what it guards is whole at any time anyway.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Version<T> {
    fn clone(&self) -> Self {
        Version {
            number: self.number,
            value: Arc::clone(&self.value),
        }
    }
}
