//! Merging branches, reverting, making and deleting them, rules.

use rustyrail::store::commit_merge::MAX_BASES;
use rustyrail::store::conflict::Conflict;
use rustyrail::store::history::merge_bases;
use rustyrail::store::{Branch, CommitError, How, ObjectId, Store};

use super::fixture::*;

/// A branch that begins where another one is.
fn fork(from: &Branch, name: &str) -> Branch {
    let new = from.store().branch(&branch(name));
    assert!(new.reset(None, from.head().unwrap()).unwrap());
    new
}

fn head(branch: &Branch) -> ObjectId {
    branch.head().unwrap().unwrap()
}

fn conflict(result: Result<impl std::fmt::Debug, CommitError>) -> Conflict {
    match result {
        Err(CommitError::Conflict(conflict)) => conflict.merge,
        other => panic!("not a conflict: {other:?}"),
    }
}

pub fn both_orders_write_the_same_merge_commit(fixture: &Fixture) {
    let left = fixture.main();
    set(&left, "a", "1");
    set(&left, "b", "1");
    let right = fork(&left, "right");
    set(&left, "a", "2");
    set(&right, "b", "2");
    let (left_head, right_head) = (head(&left), head(&right));
    assert_eq!(left.merge(&right_head).unwrap().how, How::Merged);
    assert_eq!(right.merge(&left_head).unwrap().how, How::Merged);
    assert_eq!(head(&left), head(&right));
    assert_eq!(state(&left), ["a=2", "b=2"]);
    assert_eq!(left.merge(&right_head).unwrap().how, How::Unchanged);
    set(&right, "c", "3");
    assert_eq!(left.merge(&head(&right)).unwrap().how, How::Forward);
    assert_eq!(head(&left), head(&right));
}

pub fn a_conflict_names_paths_and_both_sides(fixture: &Fixture) {
    let left = fixture.main();
    for at in ["x/a", "x/b", "y"] {
        set(&left, at, "1");
    }
    let right = fork(&left, "right");
    for (branch, value) in [(&left, "2"), (&right, "3")] {
        set(branch, "x/a", value);
        set(branch, "x/b", "same");
        set(branch, "z", value);
    }
    left.remove(&path("y"), &info("remove")).unwrap();
    set(&right, "y", "3");
    let before = head(&left);
    let ours = conflict(left.merge(&head(&right)));
    let theirs = conflict(right.merge(&before));
    let paths: Vec<_> = ours
        .paths
        .iter()
        .map(|at| at.path.as_str().to_owned())
        .collect();
    assert_eq!(paths, ["x/a", "y", "z"]);
    assert_eq!(ours.paths[1].ours, None);
    assert_eq!(ours.paths[2].base, None);
    assert_eq!(ours, theirs.swapped());
    assert_eq!(head(&left), before);
}

pub fn three_heads_unite_in_one_commit_everywhere(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "base", "0");
    let heads: Vec<ObjectId> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let branch = fork(&main, name);
            set(&branch, name, "1");
            head(&branch)
        })
        .collect();
    let unite = |order: [usize; 3]| {
        let overlay = store.overlay();
        let name = branch("main");
        let context = rustyrail::store::commit_merge::MergeContext {
            source: &*overlay,
            registry: store.registry(),
            validator: &rustyrail::store::conflict::AnyTree,
            branch: &name,
        };
        let mut heads: Vec<_> = order.iter().map(|at| heads[*at]).collect();
        heads.push(head(&main));
        context.merge_heads(&heads).unwrap().unwrap().unwrap()
    };
    let united = unite([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(unite(order), united);
    }
}

/// Two branches merge each other's heads crosswise: both are lowest common ancestors afterwards.
pub fn several_ancestors_fold_into_one_base(fixture: &Fixture) {
    let left = fixture.main();
    set(&left, "a", "1");
    set(&left, "b", "1");
    let right = fork(&left, "right");
    set(&left, "a", "2");
    set(&right, "b", "2");
    let (one, other) = (head(&left), head(&right));
    // Different commits with the same parents' content: what two nodes write that also change something.
    left.merge(&other).unwrap();
    set(&left, "c", "left");
    right.merge(&one).unwrap();
    set(&right, "d", "right");
    // Make the merge commits differ, so that neither is an ancestor of the other side.
    let crossed = cross(left.store(), &one, &other);
    assert_eq!(bases(left.store(), &crossed.0, &crossed.1), {
        let mut both = vec![one, other];
        both.sort();
        both
    });
    let (cross_left, cross_right) = (
        fork_at(&left, "l", crossed.0),
        fork_at(&left, "r", crossed.1),
    );
    set(&cross_left, "a", "3");
    set(&cross_right, "b", "3");
    cross_left.merge(&head(&cross_right)).unwrap();
    assert_eq!(state(&cross_left), ["a=3", "b=3", "l=", "r="]);
}

/// Merges of the same two commits that are commits of their own.
fn cross(store: &Store, one: &ObjectId, other: &ObjectId) -> (ObjectId, ObjectId) {
    let make = |name: &str| {
        let overlay = store.overlay();
        let mut tree = rustyrail::store::Tree::at(store.commit(one).unwrap().tree);
        let b = store.at(other).unwrap().get(&path("b")).unwrap().unwrap();
        tree.set(&*overlay, &path("b"), &b).unwrap();
        tree.set(&*overlay, &path(name), &leaf("")).unwrap();
        let tree = tree.write(&*overlay).unwrap();
        let commit = rustyrail::store::Commit::new(tree, vec![*one, *other], &info(name));
        let id = commit.store(&*overlay).unwrap();
        write(store, &overlay.reachable(&[id]).unwrap());
        id
    };
    (make("l"), make("r"))
}

/// Writes objects that no branch leads to yet.
fn write(store: &Store, objects: &[rustyrail::store::backend::NewObject]) {
    let batch = rustyrail::store::backend::Batch {
        objects: objects.to_vec(),
        updates: Vec::new(),
    };
    store.backend().commit(&batch).unwrap();
}

fn fork_at(from: &Branch, name: &str, at: ObjectId) -> Branch {
    let new = from.store().branch(&branch(name));
    assert!(new.reset(None, Some(at)).unwrap());
    new
}

fn bases(store: &Store, left: &ObjectId, right: &ObjectId) -> Vec<ObjectId> {
    merge_bases(&*store.overlay(), left, &[*right]).unwrap()
}

pub fn beyond_sixteen_ancestors_there_is_no_base(fixture: &Fixture) {
    let store = fixture.store();
    let root = store.main();
    set(&root, "a", "1");
    for (count, merges) in [(MAX_BASES, true), (MAX_BASES + 1, false)] {
        let roots: Vec<ObjectId> = (0..count)
            .map(|number| {
                let branch = fork(&root, &format!("{count}/{number}"));
                set(&branch, &format!("n{number}"), "1");
                head(&branch)
            })
            .collect();
        let make = |name: &str| {
            let overlay = store.overlay();
            let mut tree = rustyrail::store::Tree::new();
            tree.set(&*overlay, &path("a"), &leaf(name)).unwrap();
            for number in 0..count {
                tree.set(&*overlay, &path(&format!("n{number}")), &leaf("1"))
                    .unwrap();
            }
            let tree = tree.write(&*overlay).unwrap();
            let commit = rustyrail::store::Commit::new(tree, roots.clone(), &info(name));
            let id = commit.store(&*overlay).unwrap();
            write(&store, &overlay.reachable(&[id]).unwrap());
            id
        };
        // One side changes `a`, the other one keeps it: only with a base that is visible.
        let (left, right) = (make("1"), make("2"));
        assert_eq!(bases(&store, &left, &right).len(), count);
        let result = fork_at(&root, &format!("{count}/left"), left).merge(&right);
        assert_eq!(result.is_ok(), merges, "{count}: {result:?}");
    }
}

pub fn revert_undoes_one_commit_and_keeps_the_rest(fixture: &Fixture) {
    let main = fixture.main();
    set(&main, "a", "1");
    let first = head(&main);
    set(&main, "a", "2");
    let second = head(&main);
    set(&main, "b", "1");
    main.revert(&second, None, &info("revert")).unwrap();
    assert_eq!(state(&main), ["a=1", "b=1"]);
    assert_eq!(main.log(&path("")).unwrap().len(), 4);
    let again = main.revert(&second, None, &info("revert again")).unwrap();
    assert_eq!(again.how, How::Unchanged);
    set(&main, "a", "3");
    let refused = conflict(main.revert(&second, None, &info("too late")));
    assert_eq!(refused.paths[0].path, path("a"));
    // A merge has two parents: the caller says which state to go back to.
    let side = fork_at(&main, "side", first);
    set(&side, "c", "1");
    let (before, side_head) = (head(&main), head(&side));
    let merge = main.merge(&side_head).unwrap().head.unwrap();
    assert!(main.revert(&merge, None, &info("which?")).is_err());
    main.revert(&merge, Some(&before), &info("without the side"))
        .unwrap();
    assert_eq!(state(&main), ["a=3", "b=1"]);
    // The first commit of all goes back to nothing.
    let lone = fixture.store().branch(&branch("lone"));
    set(&lone, "x", "1");
    lone.revert(&head(&lone), None, &info("nothing")).unwrap();
    assert_eq!(state(&lone), [""; 0]);
}

pub fn branches_are_made_moved_and_deleted(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "a", "1");
    let first = head(&main);
    set(&main, "a", "2");
    let side = fork_at(&main, "node/rail-a", first);
    let names = || -> Vec<String> {
        store
            .branches()
            .unwrap()
            .iter()
            .map(|(name, _)| name.to_string())
            .collect()
    };
    assert_eq!(names(), ["main", "node/rail-a"]);
    assert!(!side.reset(None, Some(head(&main))).unwrap());
    assert!(side.reset(Some(first), Some(head(&main))).unwrap());
    assert_eq!(state(&side), ["a=2"]);
    assert!(side.reset(Some(head(&main)), None).unwrap());
    assert_eq!(names(), ["main"]);
    assert_eq!(side.head().unwrap(), None);
    set(&side, "b", "1");
    assert_eq!(state(&side), ["b=1"]);
}

pub fn what_breaks_a_rule_is_refused(fixture: &Fixture) {
    let main = fixture.store_with(Box::new(AtMost(2))).main();
    set(&main, "a", "1");
    set(&main, "b", "1");
    let before = head(&main);
    let Err(CommitError::Refused(violation)) = main.set(&path("c"), &leaf("1"), &info("third"))
    else {
        panic!("not refused");
    };
    assert_eq!(violation.to_string(), "at most 2 values: there are 3");
    let mut transaction = main.begin().unwrap();
    transaction.set(&path("c"), &leaf("1")).unwrap();
    assert!(matches!(
        transaction.commit(&info("third")),
        Err(CommitError::Refused(_))
    ));
    assert_eq!(head(&main), before);
}

pub fn a_merge_that_breaks_a_rule_is_a_conflict(fixture: &Fixture) {
    let main = fixture.store_with(Box::new(AtMost(2))).main();
    set(&main, "a", "1");
    let mut transaction = main.begin().unwrap();
    transaction.set(&path("c"), &leaf("1")).unwrap();
    let side = fork(&main, "side");
    set(&side, "c", "1");
    set(&main, "b", "1");
    let before = head(&main);
    for result in [main.merge(&head(&side)), transaction.commit(&info("third"))] {
        let refused = conflict(result);
        assert!(refused.paths.is_empty());
        assert_eq!(refused.violation.unwrap().rule, "at most 2 values");
        assert_ne!(refused.ours, refused.theirs);
    }
    assert_eq!(head(&main), before);
}
