//! Publisher and readers with real threads: who sees what, and who drops what.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use rustyrail::table::publish::Publisher;

/// A value that writes down which thread dropped it.
struct Traced {
    number: u64,
    /// Twice the number: a torn value would not match.
    double: u64,
    drops: Arc<Mutex<Vec<(u64, ThreadId)>>>,
}

impl Drop for Traced {
    fn drop(&mut self) {
        let mut drops = self.drops.lock().unwrap();
        drops.push((self.number, thread::current().id()));
    }
}

#[derive(Default)]
struct Trace(Arc<Mutex<Vec<(u64, ThreadId)>>>);

impl Trace {
    fn value(&self, number: u64) -> Traced {
        Traced {
            number,
            double: 2 * number,
            drops: Arc::clone(&self.0),
        }
    }

    /// Numbers of the values dropped so far, all of which this thread must have dropped.
    fn dropped_here(&self) -> Vec<u64> {
        let mut drops = self.0.lock().unwrap().clone();
        drops.sort_by_key(|drop| drop.0);
        let here = thread::current().id();
        assert!(drops.iter().all(|drop| drop.1 == here), "{drops:?}");
        drops.into_iter().map(|drop| drop.0).collect()
    }
}

#[test]
fn a_value_lives_until_its_last_reader_moved_on() {
    let trace = Trace::default();
    let mut publisher = Publisher::new(trace.value(0));
    let (mut first, mut second) = (publisher.reader(), publisher.reader());
    assert_eq!(first.version(), None);
    assert_eq!(first.current().number, 0);
    assert_eq!(second.current().number, 0);

    assert_eq!(publisher.publish(trace.value(1)), 1);
    assert_eq!(publisher.current().number, 1);
    assert_eq!(publisher.reclaim(), 1);
    assert_eq!(first.current().number, 1);
    assert_eq!(first.version(), Some(1));
    assert_eq!(publisher.reclaim(), 1, "the second reader still holds it");
    second.park();
    assert_eq!(second.version(), None);
    assert!(trace.dropped_here().is_empty(), "parking frees nothing");
    assert_eq!(publisher.reclaim(), 0);
    assert_eq!(trace.dropped_here(), [0]);
    assert_eq!(second.current().number, 1);
}

#[test]
fn values_nobody_read_are_dropped_at_once() {
    let trace = Trace::default();
    let mut publisher = Publisher::new(trace.value(0));
    let _idle = publisher.reader();
    for number in 1..=3 {
        publisher.publish(trace.value(number));
    }
    assert_eq!(trace.dropped_here(), [0, 1, 2]);
}

#[test]
fn readers_that_go_first_leave_everything_to_the_publisher() {
    let trace = Trace::default();
    let mut publisher = Publisher::new(trace.value(0));
    let mut reader = publisher.reader();
    let worker = thread::spawn(move || reader.current().number);
    assert_eq!(worker.join().unwrap(), 0);
    publisher.publish(trace.value(1));
    drop(publisher);
    assert_eq!(trace.dropped_here(), [0, 1]);
}

#[test]
fn a_publisher_that_goes_first_leaves_nothing_to_drop_on_a_worker() {
    let trace = Trace::default();
    let mut publisher = Publisher::new(trace.value(0));
    let (mut on_old, mut parked) = (publisher.reader(), publisher.reader());
    assert_eq!(on_old.current().number, 0);
    publisher.publish(trace.value(1));
    drop(publisher);
    let worker = thread::spawn(move || {
        let seen = (on_old.current().number, parked.current().number);
        drop((on_old, parked));
        seen
    });
    assert_eq!(worker.join().unwrap(), (1, 1));
    assert!(trace.dropped_here().is_empty());
}

#[test]
fn a_thousand_swaps_under_four_readers() {
    const SWAPS: u64 = 1_000;
    const READERS: usize = 4;
    let trace = Trace::default();
    let mut publisher = Publisher::new(trace.value(0));
    let stop = AtomicBool::new(false);
    let started = AtomicUsize::new(0);
    let readers: Vec<_> = (0..READERS).map(|_| publisher.reader()).collect();
    thread::scope(|scope| {
        let (stop, started) = (&stop, &started);
        for (index, mut reader) in readers.into_iter().enumerate() {
            scope.spawn(move || {
                let mut newest = 0;
                let mut bursts = 0;
                // The last value must be seen before leaving: a reader may lag, not miss it.
                while !stop.load(Ordering::Acquire) || newest < SWAPS {
                    let value = reader.current();
                    assert_eq!(value.double, 2 * value.number);
                    assert!(value.number >= newest, "went back from {newest}");
                    newest = value.number;
                    if bursts == 0 {
                        started.fetch_add(1, Ordering::Relaxed);
                    }
                    bursts += 1;
                    // Readers park at different rates, the first one never.
                    if index > 0 && bursts % (7 * index) == 0 {
                        reader.park();
                        thread::yield_now();
                    }
                }
            });
        }
        while started.load(Ordering::Relaxed) < READERS {
            thread::yield_now();
        }
        for number in 1..=SWAPS {
            publisher.publish(trace.value(number));
        }
        stop.store(true, Ordering::Release);
    });
    assert_eq!(publisher.reclaim(), 0);
    assert_eq!(trace.dropped_here(), (0..SWAPS).collect::<Vec<_>>());
    drop(publisher);
    assert_eq!(trace.dropped_here().len() as u64, SWAPS + 1);
}
