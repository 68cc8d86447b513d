//! Snapshot isolation; commit by moving forward, merging, replaying; conflicts.

use rustyrail::store::{CommitError, How};

use super::fixture::*;

pub fn reads_answer_from_the_beginning_and_from_own_writes(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let mut transaction = main.begin().unwrap();
    set(&main, "a", "2");
    set(&main, "b", "2");
    assert_eq!(transaction.get(&path("a")).unwrap(), Some(leaf("1")));
    assert_eq!(transaction.get(&path("b")).unwrap(), None);
    transaction.set(&path("c/d"), &leaf("3")).unwrap();
    assert_eq!(transaction.get(&path("c/d")).unwrap(), Some(leaf("3")));
    assert_eq!(transaction.list(&path("c")).unwrap().unwrap().len(), 1);
    assert!(transaction.remove(&path("c/d")).unwrap());
    assert_eq!(transaction.list(&path("c")).unwrap(), None);
    assert_eq!(main.get(&path("c/d")).unwrap(), None);
}

pub fn alone_it_moves_the_branch_forward(fixture: &Fixture) {
    let main = fixture.main();
    let mut transaction = main.begin().unwrap();
    transaction.set(&path("a"), &leaf("1")).unwrap();
    transaction.set(&path("b"), &leaf("2")).unwrap();
    let first = transaction.commit(&info("two at once")).unwrap();
    assert_eq!(
        (first.how, first.head),
        (How::Forward, main.head().unwrap())
    );
    assert_eq!(state(&main), ["a=1", "b=2"]);
    assert_eq!(main.log(&path("")).unwrap().len(), 1);
}

pub fn changes_of_different_paths_merge(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "d/a", "1");
    set(&main, "d/b", "1");
    let mut transaction = main.begin().unwrap();
    assert_eq!(transaction.get(&path("d/a")).unwrap(), Some(leaf("1")));
    transaction.set(&path("d/b"), &leaf("2")).unwrap();
    transaction.set(&path("e/f"), &leaf("2")).unwrap();
    set(&main, "d/a", "3");
    set(&main, "e/g", "3");
    let done = transaction.commit(&info("mine")).unwrap();
    assert_eq!((done.how, done.head), (How::Merged, main.head().unwrap()));
    assert_eq!(state(&main), ["d/a=3", "d/b=2", "e/f=2", "e/g=3"]);
    let commit = fixture.store().commit(&done.head.unwrap()).unwrap();
    assert_eq!(commit.parents.len(), 2);
    assert!(commit.parents.is_sorted());
}

pub fn a_blind_write_is_replayed(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let mut transaction = main.begin().unwrap();
    transaction.set(&path("a"), &leaf("mine")).unwrap();
    set(&main, "a", "theirs");
    let done = transaction.commit(&info("mine")).unwrap();
    assert_eq!(done.how, How::Replayed);
    assert_eq!(state(&main), ["a=mine"]);
    let commit = fixture.store().commit(&done.head.unwrap()).unwrap();
    assert_eq!((commit.parents.len(), commit.subject()), (1, "mine"));
}

pub fn a_read_that_answers_differently_is_a_conflict(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let mut transaction = main.begin().unwrap();
    let old = transaction.get(&path("a")).unwrap().unwrap();
    transaction
        .set(
            &path("a"),
            &leaf(&format!(
                "{}+1",
                std::str::from_utf8(old.bytes().unwrap()).unwrap()
            )),
        )
        .unwrap();
    set(&main, "a", "5");
    let head = main.head().unwrap();
    let Err(CommitError::Conflict(conflict)) = transaction.commit(&info("mine")) else {
        panic!("not a conflict");
    };
    assert_eq!(conflict.operation.as_deref(), Some("get /a"));
    assert_eq!(conflict.merge.paths.len(), 1);
    let at = &conflict.merge.paths[0];
    assert_eq!(at.path, path("a"));
    assert!(at.base.is_some() && at.ours.is_some() && at.theirs.is_some());
    assert_ne!(at.ours, at.theirs);
    assert_eq!(
        (state(&main), main.head().unwrap()),
        (vec!["a=5".to_owned()], head)
    );
}

pub fn a_listing_that_answers_differently_is_a_conflict(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "ids/1", "");
    let mut transaction = main.begin().unwrap();
    let next = transaction.list(&path("ids")).unwrap().unwrap().len() + 1;
    transaction
        .set(&path(&format!("ids/{next}")), &leaf("mine"))
        .unwrap();
    set(&main, "ids/2", "theirs");
    let Err(CommitError::Conflict(conflict)) = transaction.commit(&info("mine")) else {
        panic!("not a conflict");
    };
    assert_eq!(conflict.operation.as_deref(), Some("list /ids"));
    assert_eq!(conflict.merge.paths[0].path, path("ids/2"));
    assert_eq!(state(&main), ["ids/1=", "ids/2=theirs"]);
}

pub fn a_value_in_the_way_is_a_conflict(fixture: &Fixture) {
    let main = fixture.main();
    let mut transaction = main.begin().unwrap();
    transaction.set(&path("a/b"), &leaf("mine")).unwrap();
    set(&main, "a", "theirs");
    let Err(CommitError::Conflict(conflict)) = transaction.commit(&info("mine")) else {
        panic!("not a conflict");
    };
    assert_eq!(conflict.operation.as_deref(), Some("set /a/b"));
    assert_eq!(conflict.merge.paths[0].path, path("a"));
}

pub fn nothing_written_moves_nothing(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let head = main.head().unwrap();
    let mut transaction = main.begin().unwrap();
    transaction.get(&path("a")).unwrap();
    transaction.set(&path("a"), &leaf("2")).unwrap();
    transaction.set(&path("a"), &leaf("1")).unwrap();
    set(&main, "a", "7");
    let done = transaction.commit(&info("nothing")).unwrap();
    assert_eq!((done.how, done.head), (How::Unchanged, head));
}

/// Two transactions begin on a branch that does not exist: their histories have no common ancestor.
pub fn a_first_commit_can_race(fixture: &Fixture) {
    let main = fixture.main();
    let mut transactions = [
        main.begin().unwrap(),
        main.begin().unwrap(),
        main.begin().unwrap(),
    ];
    for (transaction, (at, value)) in
        transactions
            .iter_mut()
            .zip([("a", "1"), ("b", "1"), ("a", "1")])
    {
        transaction.set(&path(at), &leaf(value)).unwrap();
    }
    for transaction in transactions {
        transaction.commit(&info("first")).unwrap();
    }
    assert_eq!(state(&main), ["a=1", "b=1"]);
}

pub fn counters_add_up(fixture: &Fixture) {
    let main = fixture.main();
    let at = path("hits");
    let mut transaction = main.begin().unwrap();
    transaction.write(&at, &Sum(10)).unwrap();
    transaction.commit(&info("ten")).unwrap();
    let mut both = [main.begin().unwrap(), main.begin().unwrap()];
    for transaction in &mut both {
        transaction
            .modify(&at, |hits: Option<Sum>| Sum(hits.unwrap().0 + 1))
            .unwrap();
    }
    for transaction in both {
        transaction.commit(&info("one more")).unwrap();
    }
    assert_eq!(main.view().unwrap().read(&at).unwrap(), Some(Sum(12)));
    // Different changes, read and written as a whole, are merged by the type's rule.
    let mut both = [main.begin().unwrap(), main.begin().unwrap()];
    for (transaction, more) in both.iter_mut().zip([5, 7]) {
        let Sum(hits) = transaction.read(&at).unwrap().unwrap();
        transaction.write(&at, &Sum(hits + more)).unwrap();
    }
    let how = both.map(|transaction| transaction.commit(&info("more")).unwrap().how);
    assert_eq!(how, [How::Forward, How::Merged]);
    assert_eq!(main.view().unwrap().read(&at).unwrap(), Some(Sum(24)));
}

/// Two take the same lock, and two remove the same job: only one of them did.
pub fn the_same_change_twice_is_a_conflict(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "job", "1");
    let mut lock = [main.begin().unwrap(), main.begin().unwrap()];
    for transaction in &mut lock {
        assert!(
            transaction
                .test_and_set(&path("lock"), None, Some(&leaf("taken")))
                .unwrap()
        );
    }
    let mut job = [main.begin().unwrap(), main.begin().unwrap()];
    for transaction in &mut job {
        assert!(transaction.remove(&path("job")).unwrap());
    }
    for ([first, second], operation) in [(lock, "get /lock"), (job, "remove /job")] {
        first.commit(&info("first")).unwrap();
        let Err(CommitError::Conflict(conflict)) = second.commit(&info("second")) else {
            panic!("not a conflict");
        };
        assert_eq!(conflict.operation.as_deref(), Some(operation));
        assert_eq!(
            conflict.merge.paths[0].reason,
            "both sides made the same change"
        );
    }
}
