//! Laws of merging trees and commits.

use std::collections::BTreeMap;

use proptest::prelude::*;

use rustyrail::store::tree_merge::merge_trees;
use rustyrail::store::{
    Info, Leaf, MemoryObjects, ObjectId, Path, Registry, Signature, Store, StoreError, Tree,
};

/// Paths of which some are directories of others.
const PATHS: [&str; 9] = [
    "a", "a/b", "a/b/c", "a/d", "e", "e/f", "g/h/i", "g/h/j", "k",
];

type Values = BTreeMap<Path, u8>;
/// Which path, and its new value or that it is removed.
type Edit = (usize, Option<u8>);

fn edits(count: usize) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((0..PATHS.len(), prop::option::of(0..3_u8)), 0..count)
}

/// Makes changes, but for those that a value or a directory is in the way of.
fn change(tree: &mut Tree, objects: &MemoryObjects, edits: &[Edit]) {
    for (path, value) in edits {
        let path: Path = PATHS[*path].parse().unwrap();
        let done = match value {
            Some(value) => tree.set(objects, &path, &Leaf::plain([*value])),
            None => tree.remove(objects, &path).map(drop),
        };
        match done {
            Ok(()) | Err(StoreError::NotADirectory(_) | StoreError::IsADirectory(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn values(objects: &MemoryObjects, tree: ObjectId) -> Values {
    let tree = Tree::at(tree);
    let paths = PATHS.iter().map(|path| path.parse::<Path>().unwrap());
    let found = paths.filter_map(|path| {
        let leaf = tree.get(objects, &path).unwrap()?;
        Some((path, leaf.bytes().unwrap()[0]))
    });
    found.collect()
}

proptest! {
    #[test]
    fn trees_merge_lawfully(start in edits(12), one in edits(5), other in edits(5)) {
        let objects = MemoryObjects::new();
        let registry = Registry::standard();
        let mut tree = Tree::new();
        change(&mut tree, &objects, &start);
        let o = tree.write(&objects).unwrap();
        let [a, b] = [one, other].map(|edits| {
            let mut side = Tree::at(o);
            change(&mut side, &objects, &edits);
            side.write(&objects).unwrap()
        });
        let m = |base: ObjectId, ours: ObjectId, theirs: ObjectId| {
            merge_trees(&objects, &registry, Some(&base), &ours, &theirs).unwrap()
        };
        for x in [a, b] {
            for merged in [m(o, o, x), m(o, x, o), m(o, x, x)] {
                prop_assert_eq!((merged.tree, merged.conflicts.len()), (x, 0));
            }
        }
        let (merged, swapped) = (m(o, a, b), m(o, b, a));
        prop_assert_eq!(merged.tree, swapped.tree);
        let paths = |merged: &[rustyrail::store::conflict::PathConflict]| {
            let sides = merged.iter();
            sides.map(|c| (c.path.clone(), c.reason.clone(), c.ours.clone(), c.theirs.clone())).collect::<Vec<_>>()
        };
        let turned = paths(&swapped.conflicts).into_iter().map(|(p, r, ours, theirs)| (p, r, theirs, ours));
        prop_assert_eq!(paths(&merged.conflicts), turned.collect::<Vec<_>>());

        // Path by path: what one side alone changed has its value, what both did alike too.
        let [base, ours, theirs, got] = [o, a, b, merged.tree].map(|tree| values(&objects, tree));
        for path in PATHS.iter().map(|path| path.parse::<Path>().unwrap()) {
            let at = |values: &Values| values.get(&path).copied();
            let (o, a, b) = (at(&base), at(&ours), at(&theirs));
            if merged.conflicts.iter().any(|c| c.path.contains(&path) || path.contains(&c.path)) {
                continue;
            }
            let expected = if a == o { b } else { a };
            prop_assert!(a == o || b == o || a == b, "{path} is changed by both");
            prop_assert_eq!(at(&got), expected, "{}", path);
        }
    }

    /// Two who merge each other at once write the same commit, and have nothing left to merge.
    #[test]
    fn commits_merge_to_one(one in edits(4), other in edits(4)) {
        let store = Store::in_memory().unwrap();
        let info = |name: &str, seconds| Info {
            author: Signature::new(name, "", seconds),
            message: "change".to_owned(),
        };
        let [main, side] = ["main", "side"].map(|name| store.branch(&name.parse().unwrap()));
        let base: Path = "base".parse().unwrap();
        let first = main.set(&base, &Leaf::plain("1"), &info("first", 1)).unwrap().head;
        side.reset(None, first).unwrap();
        for (branch, name, edits) in [(&main, "one", &one), (&side, "other", &other)] {
            for (seconds, (at, value)) in (2..).zip(edits) {
                let path: Path = format!("{name}/{at}").parse().unwrap();
                let leaf = value.map(|value| Leaf::plain([value]));
                let done = match &leaf {
                    Some(leaf) => branch.set(&path, leaf, &info(name, seconds)),
                    None => branch.remove(&path, &info(name, seconds)),
                };
                done.unwrap();
            }
        }
        // The paths are disjoint: there is no conflict.
        let heads = [&main, &side].map(|branch| branch.head().unwrap().unwrap());
        main.merge(&heads[1]).unwrap();
        side.merge(&heads[0]).unwrap();
        let met = main.head().unwrap();
        prop_assert_eq!(met, side.head().unwrap());
        main.merge(&side.head().unwrap().unwrap()).unwrap();
        prop_assert_eq!(met, main.head().unwrap());
    }
}
