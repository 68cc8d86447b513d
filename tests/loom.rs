//! Models of the lock-free protocols: the table sources themselves, compiled against loom's
//! synchronisation types, run under every interleaving of their threads.

/// Takes the place of the library's `sync`: the included sources import `crate::sync`.
mod sync {
    pub use loom::sync::{Arc, Mutex, MutexGuard};
    pub use std::sync::{PoisonError, TryLockError};

    pub mod atomic {
        pub use loom::sync::atomic::{AtomicU64, Ordering};
    }
}

#[path = "../src/table/publish.rs"]
#[allow(dead_code, reason = "a model uses part of the API")]
mod publish;

mod publisher {
    use loom::thread::{self, ThreadId};

    use crate::publish::{Publisher, Reader};

    /// A value that only its maker's thread may drop.
    struct Guarded {
        number: u64,
        double: u64,
        maker: ThreadId,
    }

    impl Guarded {
        fn new(number: u64) -> Self {
            Guarded {
                number,
                double: 2 * number,
                maker: thread::current().id(),
            }
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.maker, "value {}", self.number);
        }
    }

    /// Reads once; the value must be whole and not older than `seen`.
    fn read(reader: &mut Reader<Guarded>, seen: u64) -> u64 {
        let value = reader.current();
        assert_eq!(value.double, 2 * value.number);
        assert!(value.number >= seen);
        value.number
    }

    /// Runs the model under every interleaving with at most `preemptions` involuntary switches;
    /// without a bound under every one there is.
    fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(model);
    }

    #[test]
    fn two_readers_one_swap() {
        // Three threads without a bound take minutes on a slow machine.
        explore(Some(3), || {
            let mut publisher = Publisher::new(Guarded::new(1));
            let workers: Vec<_> = (0..2)
                .map(|_| {
                    let mut reader = publisher.reader();
                    thread::spawn(move || {
                        let seen = read(&mut reader, 0);
                        read(&mut reader, seen);
                    })
                })
                .collect();
            publisher.publish(Guarded::new(2));
            publisher.reclaim();
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(publisher.reclaim(), 0);
        });
    }

    #[test]
    fn a_reader_that_parks_and_two_swaps() {
        explore(None, || {
            let mut publisher = Publisher::new(Guarded::new(1));
            let mut reader = publisher.reader();
            let worker = thread::spawn(move || {
                let seen = read(&mut reader, 0);
                reader.park();
                let seen = read(&mut reader, seen);
                read(&mut reader, seen)
            });
            publisher.publish(Guarded::new(2));
            publisher.publish(Guarded::new(3));
            let seen = worker.join().unwrap();
            assert!((1..=3).contains(&seen));
            assert_eq!(publisher.reclaim(), 0);
        });
    }

    #[test]
    fn a_held_value_is_never_reclaimed() {
        explore(None, || {
            let mut publisher = Publisher::new(Guarded::new(1));
            let mut reader = publisher.reader();
            let worker = thread::spawn(move || {
                let value = reader.current();
                let before = value.number;
                // The publisher may swap and reclaim here, while the reference is alive.
                thread::yield_now();
                assert_eq!((value.number, value.double), (before, 2 * before));
            });
            publisher.publish(Guarded::new(2));
            publisher.reclaim();
            worker.join().unwrap();
        });
    }
}
