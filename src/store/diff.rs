//! Which values differ between two trees.

use super::directory::{Slot, Source, ValueId, slot_at};
use super::error::StoreError;
use super::object::ObjectId;
use super::path::{MAX_DEPTH, Path};

/// How a value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added(ValueId),
    Removed(ValueId),
    Updated { old: ValueId, new: ValueId },
}

/// The values at or below `scope` that differ between two trees, in path order. Equal subtrees are
/// not read. `None` is the empty tree.
pub fn diff(
    source: &dyn Source,
    scope: &Path,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
) -> Result<Vec<(Path, Change)>, StoreError> {
    if old == new {
        return Ok(Vec::new());
    }
    let at_scope = |tree: Option<ObjectId>| match tree {
        Some(tree) => slot_at(source, &tree, scope),
        None => Ok(None),
    };
    let (old, new) = (at_scope(old)?, at_scope(new)?);
    let mut changes = Vec::new();
    walk(source, scope, MAX_DEPTH, old, new, &mut changes)?;
    changes.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(changes)
}

fn walk(
    source: &dyn Source,
    path: &Path,
    depth: usize,
    old: Option<Slot>,
    new: Option<Slot>,
    changes: &mut Vec<(Path, Change)>,
) -> Result<(), StoreError> {
    if old == new {
        return Ok(());
    }
    let split = |slot| match slot {
        Some(Slot::Value(value)) => (Some(value), None),
        Some(Slot::Directory(id)) => (None, Some(id)),
        None => (None, None),
    };
    let ((old_value, old_directory), (new_value, new_directory)) = (split(old), split(new));
    let change = match (old_value, new_value) {
        (None, None) => None,
        (None, Some(new)) => Some(Change::Added(new)),
        (Some(old), None) => Some(Change::Removed(old)),
        (Some(old), Some(new)) => Some(Change::Updated { old, new }),
    };
    changes.extend(change.map(|change| (path.clone(), change)));
    // Deeper than any path can name, there is nothing to report.
    if (old_directory.is_none() && new_directory.is_none()) || depth == 0 {
        return Ok(());
    }
    let load = |id: Option<ObjectId>| match id {
        Some(id) => source.directory(&id),
        None => Ok(Default::default()),
    };
    let (old, new) = (load(old_directory)?, load(new_directory)?);
    for name in old.differing(&new) {
        walk(
            source,
            &path.child(name),
            depth - 1,
            old.get(name),
            new.get(name),
            changes,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;
    use crate::store::tree::{Leaf, Tree};

    fn tree(objects: &MemoryObjects, values: &[(&str, &str)]) -> ObjectId {
        let mut tree = Tree::new();
        for (path, text) in values {
            tree.set(objects, &path.parse().unwrap(), &Leaf::plain(text))
                .unwrap();
        }
        tree.write(objects).unwrap()
    }

    /// Changes as lines: `+path`, `-path`, `~path`.
    fn check(scope: &str, old: &[(&str, &str)], new: &[(&str, &str)], expected: &[&str]) {
        let objects = MemoryObjects::new();
        let (old, new) = (tree(&objects, old), tree(&objects, new));
        let changes = diff(&objects, &scope.parse().unwrap(), Some(old), Some(new)).unwrap();
        let lines: Vec<String> = changes
            .iter()
            .map(|(path, change)| match change {
                Change::Added(_) => format!("+{path}"),
                Change::Removed(_) => format!("-{path}"),
                Change::Updated { .. } => format!("~{path}"),
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn each_changed_value_is_named_once() {
        let old = [("a/b", "1"), ("a/c", "2"), ("d", "3")];
        check("", &old, &old, &[]);
        check(
            "",
            &old,
            &[("a/b", "1"), ("a/c", "9"), ("e", "3")],
            &["~a/c", "-d", "+e"],
        );
        check("", &old, &[], &["-a/b", "-a/c", "-d"]);
        check(
            "",
            &old,
            &[("a", "1"), ("d/x", "3")],
            &["+a", "-a/b", "-a/c", "-d", "+d/x"],
        );
    }

    #[test]
    fn the_scope_is_a_path_or_a_subtree() {
        let old = [("a/b", "1"), ("a/c", "2"), ("d", "3")];
        let new = [("a/b", "5"), ("a/c", "6"), ("d", "7")];
        check("a", &old, &new, &["~a/b", "~a/c"]);
        check("a/c", &old, &new, &["~a/c"]);
        check("a/c/x", &old, &new, &[]);
        check("x", &old, &new, &[]);
    }
}
