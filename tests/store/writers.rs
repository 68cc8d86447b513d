//! Many writers at once: what Xenstore's transactions were never able to promise.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustyrail::store::{CommitError, How};

use super::fixture::*;

const WRITERS: usize = 64;

/// Every transaction reads and writes its own directory; not one may fail.
pub fn disjoint_paths_never_conflict(fixture: &Fixture) {
    const ROUNDS: usize = 20;
    let main = fixture.main();
    set(&main, "base", "1");
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (main, start) = (&main, &start);
            scope.spawn(move || {
                start.wait();
                let at = path(&format!("domain/{writer}/state"));
                for round in 0..ROUNDS {
                    let mut transaction = main.begin().unwrap();
                    let old = transaction.get(&at).unwrap();
                    assert_eq!(
                        old,
                        round.checked_sub(1).map(|last| leaf(&last.to_string()))
                    );
                    transaction.set(&at, &leaf(&round.to_string())).unwrap();
                    let done = transaction.commit(&info("state")).unwrap();
                    assert_ne!(done.how, How::Unchanged);
                }
            });
        }
    });
    let last = (ROUNDS - 1).to_string();
    assert_eq!(state(&main).len(), WRITERS + 1);
    assert_eq!(
        state(&main)
            .iter()
            .filter(|line| line.ends_with(&format!("/state={last}")))
            .count(),
        WRITERS
    );
}

/// In each round every writer tries to be the one that writes the next number.
pub fn one_path_has_one_winner_per_round(fixture: &Fixture) {
    const ROUNDS: usize = 100;
    let main = fixture.main();
    let at = path("turn");
    set(&main, "turn", "0");
    let (start, wins) = (Barrier::new(WRITERS), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    start.wait();
                    let mut transaction = main.begin().unwrap();
                    let expected = leaf(&round.to_string());
                    let new = leaf(&(round + 1).to_string());
                    let mine = transaction
                        .test_and_set(&at, Some(&expected), Some(&new))
                        .unwrap();
                    match transaction.commit(&info("my turn")) {
                        Ok(done) if mine && done.how != How::Unchanged => {
                            wins.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => (),
                        Err(CommitError::Conflict(conflict)) => {
                            assert_eq!(conflict.operation.as_deref(), Some("get /turn"));
                        }
                        Err(error) => panic!("{error}"),
                    }
                    start.wait();
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), ROUNDS);
    assert_eq!(state(&main), [format!("turn={ROUNDS}")]);
}

/// Long transactions (a hundred reads and writes) while short ones never pause.
pub fn long_transactions_finish_among_short_ones(fixture: &Fixture) {
    const LONG: usize = 10;
    let main = fixture.main();
    set(&main, "base", "1");
    let (done, short, long) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (main, done, short) = (&main, &done, &short);
            scope.spawn(move || {
                let at = path(&format!("short/{writer}"));
                while !done.load(Ordering::Relaxed) {
                    let number = short.fetch_add(1, Ordering::Relaxed);
                    let mut transaction = main.begin().unwrap();
                    transaction.set(&at, &leaf(&number.to_string())).unwrap();
                    transaction.commit(&info("short")).unwrap();
                }
            });
        }
        for domain in 0..LONG {
            let mut transaction = main.begin().unwrap();
            let moved_on = main.head().unwrap();
            for key in 0..100 {
                let at = path(&format!("domain/{domain}/{key}"));
                assert_eq!(transaction.get(&at).unwrap(), None);
                transaction.set(&at, &leaf("new")).unwrap();
            }
            // Only commit once others have.
            while main.head().unwrap() == moved_on {
                std::thread::yield_now();
            }
            let committed = transaction.commit(&info("create domain")).unwrap();
            assert_eq!(committed.how, How::Merged);
            long.fetch_add(1, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(long.into_inner(), LONG);
    eprintln!(
        "{LONG} long transactions finished among {} short ones, at the first attempt",
        short.into_inner()
    );
    let values = main.view().unwrap().walk(&path("domain")).unwrap();
    assert_eq!(values.len(), LONG * 100);
}
