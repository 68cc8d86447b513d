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

/// Takes the place of the library's huge pages: the same cache lines of loom's words.
mod hw {
    use std::io;
    use std::ops::Deref;

    use crate::sync::atomic::AtomicU64;

    pub const LINE_WORDS: usize = 8;

    #[derive(Debug, Default)]
    pub struct Line(pub [AtomicU64; LINE_WORDS]);

    #[derive(Debug)]
    pub struct Lines(Vec<Line>);

    impl Lines {
        pub fn zeroed(len: usize) -> io::Result<Self> {
            Ok(Lines((0..len).map(|_| Line::default()).collect()))
        }
    }

    impl Deref for Lines {
        type Target = [Line];

        fn deref(&self) -> &[Line] {
            &self.0
        }
    }
}

/// The plain types that the included sources use.
mod table {
    pub use rustyrail::table::{BackendId, FlowHash, IdSet, Nanos};
}

#[path = "../src/table/fragment.rs"]
#[allow(dead_code, reason = "a model uses part of the API")]
mod fragment;
#[path = "../src/table/publish.rs"]
#[allow(dead_code, reason = "a model uses part of the API")]
mod publish;

/// Runs the model under every interleaving with at most `preemptions` involuntary switches;
/// without a bound under every one there is.
fn explore(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

mod publisher {
    use loom::thread::{self, ThreadId};

    use crate::explore;
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

mod fragments {
    use std::time::Duration;

    use loom::sync::Arc;
    use loom::thread;

    use crate::explore;
    use crate::fragment::FragmentTable;
    use crate::table::{BackendId, FlowHash, Nanos};

    const NOW: Nanos = Nanos(1_000_000_000);
    const LATER: Nanos = Nanos(100_000_000_000);

    fn id(id: u32) -> BackendId {
        BackendId::new(id).unwrap()
    }

    fn table() -> Arc<FragmentTable> {
        Arc::new(FragmentTable::new(1, Duration::from_secs(30)).unwrap())
    }

    /// Two workers enter one datagram, a third one reads: all see the same answer or none yet.
    #[test]
    fn one_datagram_gets_one_answer() {
        explore(None, || {
            let table = table();
            let datagram = FlowHash(7 << 32);
            let workers = [1, 2].map(|backend| {
                let table = table.clone();
                thread::spawn(move || table.remember(datagram, id(backend), NOW))
            });
            let early = table.lookup(datagram, NOW);
            let [first, second] = workers.map(|worker| worker.join().unwrap());
            assert_eq!(first, second);
            assert!(early.is_none_or(|early| early == first));
            assert_eq!(table.lookup(datagram, NOW), Some(first));
        });
    }

    /// Two datagrams of one place: nobody gets the other's answer.
    #[test]
    fn neighbours_do_not_mix() {
        explore(None, || {
            let table = table();
            let workers = [1, 2].map(|n| {
                let table = table.clone();
                let datagram = FlowHash(u64::from(n) << 32);
                thread::spawn(move || {
                    assert_eq!(table.remember(datagram, id(n), NOW), id(n));
                    let answer = table.lookup(datagram, NOW);
                    assert!(answer.is_none_or(|answer| answer == id(n)));
                })
            });
            workers
                .into_iter()
                .for_each(|worker| worker.join().unwrap());
            assert_eq!(table.occupancy(), 1);
        });
    }

    /// A sweep beside a worker that writes over an expired entry keeps the new one.
    #[test]
    fn a_sweep_keeps_what_was_just_written() {
        explore(None, || {
            let table = table();
            let datagram = FlowHash(7 << 32);
            table.remember(datagram, id(1), NOW);
            let worker = {
                let table = table.clone();
                thread::spawn(move || table.remember(datagram, id(2), LATER))
            };
            table.sweep(LATER);
            assert_eq!(worker.join().unwrap(), id(2));
            assert_eq!(table.lookup(datagram, LATER), Some(id(2)));
        });
    }
}
