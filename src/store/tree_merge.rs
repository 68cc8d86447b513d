//! Three-way merge of trees, path by path.
//!
//! # Guarantees
//!
//! - A side that equals the base yields the other side, as the very same tree object.
//! - Changes of different paths never conflict: removing a directory's values on one side and adding another one
//!   on the other leaves the added one.
//! - The result depends on the three trees, and on who made the sides where that is given, alone; it is the same for
//!   either order of the sides; so are the conflicts, with the sides exchanged.
//! - Subtrees that are equal on two of the three sides are not read: the cost goes with the change,
//!   not with the tree.

use super::conflict::PathConflict;
use super::directory::{Directory, Slot, Source, ValueId};
use super::entries::Mode;
use super::error::StoreError;
use super::merge::{Authors, Content, MergeError, merge_content_by};
use super::object::{EMPTY_TREE, ObjectId};
use super::path::{MAX_DEPTH, Path};
use super::types::Registry;

/// What a merge came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedTree {
    /// The merged tree. Paths in conflict are absent from it.
    pub tree: ObjectId,
    /// In path order; the merge succeeded if there are none.
    pub conflicts: Vec<PathConflict>,
}

/// Merges two trees that were one at `base`; `None` if they have no usable common ancestor.
pub fn merge_trees(
    source: &dyn Source,
    registry: &Registry,
    base: Option<&ObjectId>,
    ours: &ObjectId,
    theirs: &ObjectId,
) -> Result<MergedTree, StoreError> {
    merge_trees_by(source, registry, Authors::default(), base, ours, theirs)
}

/// The same, knowing who made the sides: types whose merge puts one side's things before the other's go by that.
pub fn merge_trees_by(
    source: &dyn Source,
    registry: &Registry,
    authors: Authors<'_>,
    base: Option<&ObjectId>,
    ours: &ObjectId,
    theirs: &ObjectId,
) -> Result<MergedTree, StoreError> {
    let mut merger = Merger {
        source,
        registry,
        authors,
        conflicts: Vec::new(),
    };
    let base = base.copied();
    let tree = merger.directory(&Path::root(), 0, base, Some(*ours), Some(*theirs))?;
    let mut conflicts = merger.conflicts;
    conflicts.sort_by(|left, right| left.path.cmp(&right.path));
    let tree = match tree {
        Some(tree) => tree,
        None => source.put_tree(&[], None)?,
    };
    Ok(MergedTree { tree, conflicts })
}

struct Merger<'a> {
    source: &'a dyn Source,
    registry: &'a Registry,
    authors: Authors<'a>,
    conflicts: Vec<PathConflict>,
}

/// The same thing in the base, on our side, on their side.
type Three<T> = [Option<T>; 3];

impl Merger<'_> {
    /// Merges directories; an absent one is an empty one, and an empty result is `None`.
    fn directory(
        &mut self,
        path: &Path,
        depth: usize,
        base: Option<ObjectId>,
        ours: Option<ObjectId>,
        theirs: Option<ObjectId>,
    ) -> Result<Option<ObjectId>, StoreError> {
        let nonempty = |id: Option<ObjectId>| id.filter(|id| *id != EMPTY_TREE);
        let (base, ours, theirs) = (nonempty(base), nonempty(ours), nonempty(theirs));
        if let Some(side) = unchanged([&base, &ours, &theirs]) {
            return Ok(*side);
        }
        if depth > MAX_DEPTH {
            let (base, ours, theirs) = (
                base.map(Slot::Directory),
                ours.map(Slot::Directory),
                theirs.map(Slot::Directory),
            );
            self.conflict(path, "directories nest too deep", [base, ours, theirs]);
            return Ok(None);
        }
        let load = |id: Option<ObjectId>| match id {
            Some(id) => self.source.directory(&id),
            None => Ok(Default::default()),
        };
        let sides = [load(base)?, load(ours)?, load(theirs)?];
        let mut merged = Directory::clone(&sides[1]);
        let mut names = sides[0].differing(&sides[1]);
        names.extend(sides[0].differing(&sides[2]));
        for name in names {
            let slots = [sides[0].get(name), sides[1].get(name), sides[2].get(name)];
            match self.slot(&path.child(name), depth + 1, slots)? {
                Some(slot) => merged.insert(name, &slot),
                None => {
                    merged.remove(name);
                }
            }
        }
        if merged.is_empty() {
            return Ok(None);
        }
        merged.store(self.source, ours.as_ref()).map(Some)
    }

    /// Merges what stands under one name: as a value, and apart from that as a directory, because a
    /// value in place of a directory is a change of that path, and each value that was below it another.
    fn slot(
        &mut self,
        path: &Path,
        depth: usize,
        slots: Three<Slot>,
    ) -> Result<Option<Slot>, StoreError> {
        let [base, ours, theirs] = slots.clone().map(|slot| match slot {
            Some(Slot::Value(value)) => (Some(value), None),
            Some(Slot::Directory(id)) => (None, Some(id)),
            None => (None, None),
        });
        let value = match self.value([&base.0, &ours.0, &theirs.0]) {
            Ok(value) => value,
            Err(MergeError::Store(error)) => return Err(error),
            Err(MergeError::Conflict(conflict)) => {
                self.conflict(path, &conflict.reason, slots.clone());
                None
            }
        };
        match (
            value,
            self.directory(path, depth, base.1, ours.1, theirs.1)?,
        ) {
            (None, None) => Ok(None),
            (Some(value), None) => Ok(Some(Slot::Value(value))),
            (None, Some(id)) => Ok(Some(Slot::Directory(id))),
            (Some(_), Some(_)) => {
                self.conflict(path, "a value on one side, a directory on the other", slots);
                Ok(None)
            }
        }
    }

    fn value(&self, sides: [&Option<ValueId>; 3]) -> Result<Option<ValueId>, MergeError> {
        if let Some(side) = unchanged(sides) {
            return Ok(side.clone());
        }
        let [base, Some(ours), Some(theirs)] = sides else {
            return Err(clash("one side removed what the other changed"));
        };
        if ours.tag != theirs.tag {
            return Err(clash("the sides gave it different types"));
        }
        let base_mode = base.as_ref().map(|value| value.mode);
        // A value may be a file while it is small and a directory when it has grown; the content decides then.
        let has_grown = [ours.mode, theirs.mode].contains(&Mode::Directory);
        let mode = unchanged([&base_mode, &Some(ours.mode), &Some(theirs.mode)])
            .and_then(|mode| *mode)
            .or(has_grown.then_some(Mode::Directory))
            .ok_or_else(|| clash("the sides made it different kinds of file"))?;
        if ours.id == theirs.id {
            return Ok(Some(ValueId {
                mode,
                ..ours.clone()
            }));
        }
        if [ours.mode, theirs.mode]
            .iter()
            .any(|mode| matches!(mode, Mode::Link | Mode::Submodule))
        {
            return Err(clash("both sides changed a link"));
        }
        let Some(rule) = self.registry.rule(&ours.tag) else {
            return Err(clash(&format!(
                "both sides changed it, and type {} is not known here",
                ours.tag
            )));
        };
        let load = |value: &ValueId| Content::load(self.source, value.mode, &value.id);
        let base = base
            .as_ref()
            .filter(|base| base.tag == ours.tag)
            .map(load)
            .transpose()?;
        let content = merge_content_by(
            &*rule,
            &self.source,
            self.authors,
            base.as_ref(),
            &load(ours)?,
            &load(theirs)?,
        )?;
        let id = content.store(&self.source)?;
        let mode = if content.mode() == Mode::Directory || mode == Mode::Directory {
            content.mode()
        } else {
            mode
        };
        Ok(Some(ValueId {
            tag: ours.tag.clone(),
            mode,
            id,
        }))
    }

    fn conflict(&mut self, path: &Path, reason: &str, slots: Three<Slot>) {
        let [base, ours, theirs] = slots;
        let (path, reason) = (path.clone(), reason.to_owned());
        self.conflicts.push(PathConflict {
            path,
            reason,
            base,
            ours,
            theirs,
        });
    }
}

/// The answer to a merge in which not both sides changed, whatever it is about.
fn unchanged<T: PartialEq>([base, ours, theirs]: [T; 3]) -> Option<T> {
    if ours == theirs || base == theirs {
        Some(ours)
    } else if base == ours {
        Some(theirs)
    } else {
        None
    }
}

fn clash(reason: &str) -> MergeError {
    super::merge::Conflict::new(reason).into()
}
