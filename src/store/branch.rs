//! One branch of a store: reading it, changing it, merging into it, undoing what was done.

use super::commit::{Commit, Info};
use super::commit_merge::MergeContext;
use super::committer::Step;
use super::conflict::{Conflict, PathConflict};
use super::directory::Source;
use super::error::StoreError;
use super::facade::Store;
use super::history::Log;
use super::object::{EMPTY_TREE, ObjectId};
use super::path::{BranchName, Path};
use super::reader::Overlay;
use super::transaction::{CommitError, Committed, How, Transaction, TransactionConflict, tree_of};
use super::tree::{Leaf, Tree};
use super::tree_merge::merge_trees;
use super::view::View;

/// A handle; the branch itself exists once something was committed to it. Cheap to clone.
#[derive(Clone)]
pub struct Branch {
    store: Store,
    name: BranchName,
}

impl Branch {
    pub(super) fn new(store: Store, name: BranchName) -> Self {
        Self { store, name }
    }

    /// Its name.
    pub fn name(&self) -> &BranchName {
        &self.name
    }

    /// The store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The newest commit; `None` if the branch does not exist.
    pub fn head(&self) -> Result<Option<ObjectId>, StoreError> {
        self.store.committer().head(&self.name)
    }

    /// The newest state. Take one view for all reads that belong together.
    pub fn view(&self) -> Result<View, StoreError> {
        let source = self.store.overlay();
        Ok(View::new(tree_of(&source, self.head()?)?, source))
    }

    /// The value at a path in the newest state.
    pub fn get(&self, path: &Path) -> Result<Option<Leaf>, StoreError> {
        self.view()?.get(path)
    }

    /// Begins a transaction on the newest state.
    pub fn begin(&self) -> Result<Transaction, StoreError> {
        Transaction::new(self.clone(), self.head()?)
    }

    /// Writes one value, on top of whatever is there by then.
    pub fn set(&self, path: &Path, leaf: &Leaf, info: &Info) -> Result<Committed, CommitError> {
        self.update(info, |tree, source| tree.set(source, path, leaf))
    }

    /// Removes what stands at a path.
    pub fn remove(&self, path: &Path, info: &Info) -> Result<Committed, CommitError> {
        self.update(info, |tree, source| tree.remove(source, path).map(|_| ()))
    }

    /// Puts a whole tree at a path, in place of whatever stands there.
    pub fn set_tree(
        &self,
        path: &Path,
        view: &View,
        info: &Info,
    ) -> Result<Committed, CommitError> {
        let id = view.id()?;
        self.update(info, |tree, source| {
            source.adopt(view.overlay(), &id)?;
            tree.set_tree_id(source, path, id)
        })
    }

    /// Writes `new` (or removes, if `None`) only if `expected` is what stands there; says whether it did.
    pub fn test_and_set(
        &self,
        path: &Path,
        expected: Option<&Leaf>,
        new: Option<&Leaf>,
        info: &Info,
    ) -> Result<bool, CommitError> {
        let mut done = false;
        self.update(info, |tree, source| {
            done = tree.get(source, path)?.as_ref() == expected;
            match new {
                _ if !done => Ok(()),
                Some(leaf) => tree.set(source, path, leaf),
                None => tree.remove(source, path).map(|_| ()),
            }
        })?;
        Ok(done)
    }

    /// Makes a change on the newest state, in one commit. No other change comes between its reads and its
    /// writes, so there are no conflicts; it must be quick. It is made again if another process moves the branch.
    pub fn update(
        &self,
        info: &Info,
        mut change: impl FnMut(&mut Tree, &Overlay) -> Result<(), StoreError>,
    ) -> Result<Committed, CommitError> {
        let overlay = self.store.overlay();
        self.store.committer().advance(&self.name, |turn| {
            let mut tree = tree_of(&overlay, turn.head)?;
            change(&mut tree, &overlay)?;
            let new = tree.write(&*overlay)?;
            self.step(&overlay, turn.head, new, info)
        })
    }

    /// Merges a commit of another branch, or of another store.
    pub fn merge(&self, theirs: &ObjectId) -> Result<Committed, CommitError> {
        let overlay = self.store.overlay();
        self.store.committer().advance(&self.name, |turn| {
            let merged = match turn.head {
                Some(ours) => self.merge_context(&*overlay).merge_commits(&ours, theirs)?,
                None => Ok(*theirs),
            };
            let new = merged.map_err(|merge| conflict(*merge))?;
            if turn.head == Some(new) {
                return Ok(Step::Stay(Committed {
                    head: Some(new),
                    how: How::Unchanged,
                }));
            }
            let how = if new == *theirs {
                How::Forward
            } else {
                How::Merged
            };
            self.validate(&*overlay, overlay.commit(&new)?.tree)?;
            let objects = overlay.reachable(&[new])?;
            Ok(Step::Move {
                new: Some(new),
                objects,
                answer: Committed {
                    head: Some(new),
                    how,
                },
            })
        })
    }

    /// Merges a commit, with somebody's word where no rule decides. `settle` is given the merged tree, from which paths
    /// in conflict are absent, and the conflicts; it edits the tree and returns the conflicts it leaves. If nothing
    /// conflicts this is [`merge`](Self::merge), else the merge commit bears `info`.
    pub fn merge_settled(
        &self,
        theirs: &ObjectId,
        info: &Info,
        settle: impl Fn(&mut Tree, &Overlay, &[PathConflict]) -> Result<Vec<PathConflict>, StoreError>,
    ) -> Result<Committed, CommitError> {
        match self.merge(theirs) {
            Err(CommitError::Conflict(_)) => {}
            other => return other,
        }
        let overlay = self.store.overlay();
        self.store.committer().advance(&self.name, |turn| {
            let Some(ours) = turn.head else {
                return Err(StoreError::Contended(self.name.clone()).into());
            };
            let merged = self
                .merge_context(&*overlay)
                .merge_trees_of(&ours, theirs)?;
            let mut tree = Tree::at(merged.tree);
            let left = settle(&mut tree, &overlay, &merged.conflicts)?;
            if !left.is_empty() {
                return Err(conflict(Conflict {
                    ours,
                    theirs: *theirs,
                    paths: left,
                    violation: None,
                }));
            }
            let tree = tree.write(&*overlay)?;
            self.validate(&*overlay, tree)?;
            let mut parents = vec![ours, *theirs];
            parents.sort();
            let new = Commit::new(tree, parents, info).store(&*overlay)?;
            Ok(Step::Move {
                new: Some(new),
                objects: overlay.reachable(&[new])?,
                answer: Committed {
                    head: Some(new),
                    how: How::Merged,
                },
            })
        })
    }

    /// Undoes what a commit changed, keeping everything else: a new commit. A merge commit has several
    /// parents: say which one's state to go back to.
    pub fn revert(
        &self,
        commit: &ObjectId,
        parent: Option<&ObjectId>,
        info: &Info,
    ) -> Result<Committed, CommitError> {
        let overlay = self.store.overlay();
        let undone = overlay.commit(commit)?;
        let before = match (parent, undone.parents.as_slice()) {
            (Some(parent), parents) if parents.contains(parent) => Some(*parent),
            (None, []) => None,
            (None, [parent]) => Some(*parent),
            _ => return Err(StoreError::WhichParent(*commit).into()),
        };
        let before = match before {
            Some(parent) => overlay.commit(&parent)?.tree,
            None => EMPTY_TREE,
        };
        self.store.committer().advance(&self.name, |turn| {
            let now = match turn.head {
                Some(head) => overlay.commit(&head)?.tree,
                None => EMPTY_TREE,
            };
            let registry = self.store.registry();
            let merged = merge_trees(&*overlay, registry, Some(&undone.tree), &now, &before)?;
            if !merged.conflicts.is_empty() {
                let (ours, theirs) = (turn.head.unwrap_or(now), *commit);
                let paths = merged.conflicts;
                return Err(conflict(Conflict {
                    ours,
                    theirs,
                    paths,
                    violation: None,
                }));
            }
            self.step(&overlay, turn.head, merged.tree, info)
        })
    }

    /// Puts the branch at a commit, wherever it was: for making a branch, and for going back without
    /// leaving a trace of it. Only if it stands at `expected`; says whether it did.
    pub fn reset(
        &self,
        expected: Option<ObjectId>,
        new: Option<ObjectId>,
    ) -> Result<bool, CommitError> {
        let overlay = self.store.overlay();
        self.store.committer().advance(&self.name, |turn| {
            if turn.head != expected {
                return Ok(Step::Stay(false));
            }
            if let Some(new) = new {
                self.validate(&*overlay, overlay.commit(&new)?.tree)?;
            }
            Ok(Step::Move {
                new,
                objects: Vec::new(),
                answer: true,
            })
        })
    }

    /// The commits that lead to the head and changed what stands at `path`, latest first.
    pub fn log(&self, path: &Path) -> Result<Vec<(ObjectId, std::sync::Arc<Commit>)>, StoreError> {
        let source = self.store.overlay();
        Log::of_path(&*source, self.head()?, path.clone())?.collect()
    }

    pub(super) fn merge_context<'a>(&'a self, source: &'a dyn Source) -> MergeContext<'a> {
        MergeContext {
            source,
            registry: self.store.registry(),
            validator: self.store.validator(),
            branch: &self.name,
        }
    }

    pub(super) fn validate(&self, source: &dyn Source, tree: ObjectId) -> Result<(), CommitError> {
        match self
            .store
            .validator()
            .check(source, &self.name, &Tree::at(tree))?
        {
            Some(violation) => Err(CommitError::Refused(violation)),
            None => Ok(()),
        }
    }

    /// A commit of `tree` on top of `head`, if that changes anything.
    fn step(
        &self,
        overlay: &Overlay,
        head: Option<ObjectId>,
        tree: ObjectId,
        info: &Info,
    ) -> Result<Step<Committed>, CommitError> {
        let old = match head {
            Some(head) => overlay.commit(&head)?.tree,
            None => EMPTY_TREE,
        };
        if tree == old {
            return Ok(Step::Stay(Committed {
                head,
                how: How::Unchanged,
            }));
        }
        self.validate(overlay, tree)?;
        let new = Commit::new(tree, head.into_iter().collect(), info).store(overlay)?;
        let answer = Committed {
            head: Some(new),
            how: How::Forward,
        };
        Ok(Step::Move {
            new: Some(new),
            objects: overlay.reachable(&[new])?,
            answer,
        })
    }
}

fn conflict(merge: Conflict) -> CommitError {
    CommitError::Conflict(Box::new(TransactionConflict {
        merge,
        operation: None,
    }))
}
