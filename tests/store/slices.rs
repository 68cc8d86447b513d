//! Forgetting old history, and carrying pieces of it elsewhere.

use std::time::Duration;

use rustyrail::store::squash::Retention;
use rustyrail::store::{Branch, BranchName, Info, ObjectId, Signature, StoreError};

use super::fixture::*;

fn head(branch: &Branch) -> ObjectId {
    branch.head().unwrap().unwrap()
}

/// Sets `a` to 1, 2, 3 ..., a second apart; the commits in that order.
fn count(branch: &Branch, numbers: std::ops::RangeInclusive<i64>) -> Vec<ObjectId> {
    let commits = numbers.map(|number| {
        let author = Signature::new("Ada", "", 1_000_000 + number);
        let info = Info {
            author,
            message: format!("a = {number}"),
        };
        branch
            .set(&path("a"), &leaf(&number.to_string()), &info)
            .unwrap()
            .head
            .unwrap()
    });
    commits.collect()
}

fn keep(commits: usize) -> Retention {
    Retention {
        commits,
        since: None,
        remotes: Vec::new(),
        grace: Duration::ZERO,
    }
}

pub fn a_squash_keeps_ids_and_states(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "b/c", "stays");
    let commits = count(&main, 1..=20);
    assert_eq!(store.squash(&keep(100)).unwrap().dropped, 0);
    let squashed = store.squash(&keep(5)).unwrap();
    assert_eq!(
        (squashed.boundary, squashed.dropped),
        (vec![commits[15]], 16)
    );
    let log: Vec<ObjectId> = main
        .log(&path(""))
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(log, commits[15..].iter().rev().copied().collect::<Vec<_>>());
    for (number, commit) in (16..).zip(&commits[15..]) {
        let view = store.at(commit).unwrap();
        assert_eq!(
            (text(&view, "a"), text(&view, "b/c")),
            (number.to_string(), "stays".to_owned())
        );
    }
    assert!(matches!(store.at(&commits[3]), Err(StoreError::Missing(_))));
    // Life goes on, also in a store that is opened later; and it can be cut again.
    let main = fixture.store().main();
    let more = count(&main, 21..=22);
    assert_eq!(main.log(&path("a")).unwrap().len(), 7);
    let store = fixture.store();
    let since = Retention {
        since: Some(1_000_000 + 21),
        ..keep(0)
    };
    assert_eq!(store.squash(&since).unwrap().boundary, [more[0]]);
    assert_eq!(state(&store.main()), ["a=22", "b/c=stays"]);
}

pub fn a_squash_keeps_both_parents_of_a_merge(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    count(&main, 1..=3);
    let side = store.branch(&branch("side"));
    assert!(side.reset(None, Some(head(&main))).unwrap());
    let author = Signature::new("Ada", "", 1_000_004);
    let info = Info {
        author,
        message: "side".to_owned(),
    };
    side.set(&path("b"), &leaf("1"), &info).unwrap();
    count(&main, 5..=8);
    main.merge(&head(&side)).unwrap();
    assert!(side.reset(Some(head(&side)), None).unwrap());
    let newest = count(&main, 9..=9);
    // The merge, one of its parents, and what came after: the other parent is kept too.
    let squashed = store.squash(&keep(3)).unwrap();
    assert_eq!(squashed.boundary.len(), 2);
    assert_eq!(state(&main), ["a=9", "b=1"]);
    let log = main.log(&path("")).unwrap();
    assert_eq!((log.len(), log[0].0), (4, newest[0]));
}

fn main_head(branch: &Branch) -> Vec<(BranchName, ObjectId)> {
    vec![(BranchName::main(), head(branch))]
}

pub fn a_slice_goes_to_another_store(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "b/c", "1");
    let commits = count(&main, 1..=5);
    let other = fixture.another();
    let there = other.store();
    let there_main = there.main();
    let first = store
        .export(&[(BranchName::main(), commits[2])], &[])
        .unwrap();
    let imported = there.import(&first, false).unwrap();
    assert_eq!(
        (imported.heads, imported.boundary),
        (vec![(BranchName::main(), commits[2])], vec![])
    );
    assert_eq!(there_main.head().unwrap(), None);
    there_main.merge(&commits[2]).unwrap();
    assert_eq!(state(&there_main), ["a=3", "b/c=1"]);
    // What the other side has need not be sent again.
    set(&main, "b/d", "2");
    let second = store.export(&main_head(&main), &[commits[2]]).unwrap();
    assert!(second.len() < store.export(&main_head(&main), &[]).unwrap().len());
    there.import(&second, false).unwrap();
    there_main.merge(&head(&main)).unwrap();
    assert_eq!(
        (head(&there_main), state(&there_main)),
        (head(&main), state(&main))
    );
    assert_eq!(there_main.log(&path("")).unwrap().len(), 7);
}

pub fn a_slice_can_be_the_beginning(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "b", "stays");
    let commits = count(&main, 1..=5);
    let (heads, since) = (main_head(&main), [commits[2]]);
    let slice = main.store().export(&heads, &since).unwrap();
    let other = fixture.another();
    let there = other.store();
    let there_main = there.main();
    for cut in [false, true] {
        let refused = there.import(&slice, cut).unwrap_err().to_string();
        let lacks = if cut {
            "it lacks "
        } else {
            "which is not here"
        };
        assert!(refused.contains(lacks), "{refused}");
    }
    let slice = main.store().export_complete(&heads, &since).unwrap();
    let refused = there.import(&slice, false).unwrap_err().to_string();
    assert!(refused.contains(&commits[2].to_string()), "{refused}");
    assert_eq!(there.import(&slice, true).unwrap().boundary, [commits[3]]);
    there_main.merge(&commits[4]).unwrap();
    assert_eq!(
        (there_main.log(&path("")).unwrap().len(), state(&there_main)),
        (2, vec!["a=5".to_owned(), "b=stays".to_owned()])
    );
}

pub fn damaged_slices_are_refused(fixture: &Fixture) {
    let main = fixture.main();
    count(&main, 1..=3);
    let slice = main.store().export(&main_head(&main), &[]).unwrap();
    let other_fixture = fixture.another();
    let other = other_fixture.store();
    for length in [0, 10, 30, slice.len() / 2, slice.len() - 1] {
        assert!(other.import(&slice[..length], false).is_err(), "{length}");
    }
    for at in (0..slice.len()).step_by(7) {
        let mut damaged = slice.clone();
        damaged[at] ^= 0x10;
        if let Ok(imported) = other.import(&damaged, false) {
            // Only the name of the branch is not covered by any checksum.
            assert!(
                at < slice.len() / 2 && imported.heads != main_head(&main),
                "{at}"
            );
        }
    }
    assert_eq!(other.main().head().unwrap(), None);
}
