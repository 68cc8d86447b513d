//! Transactions: a private copy of a branch, and a record of what was done to it.
//!
//! # Guarantees
//!
//! - *Snapshot isolation.* All reads answer from the state the branch was in when the transaction began, and from the
//!   transaction's own writes; nobody sees these before the commit.
//! - *Commit* moves the branch at once or not at all: forward if nothing else has changed, else
//!   by merging, else by doing the same operations once more on the new state.
//! - Two transactions that made the same change are not merged into one: whoever took a lock, or removed a job,
//!   must not learn that somebody else did so too and both were right. The second one is replayed.
//! - *Conflict.* If merging is impossible and an operation done again meets a different answer, the caller
//!   gets a [`TransactionConflict`] that names the paths, both sides, and the answer that changed. Begin again then.
//! - A long transaction is not starved by short ones: its commit is made on a state that no other
//!   change can move meanwhile.
//! - The new state has passed the store's validator.

use std::fmt;
use std::sync::Arc;

use super::branch::Branch;
use super::commit::{Commit, Info};
use super::committer::{Step, Turn};
use super::conflict::{Conflict, PathConflict, Violation};
use super::directory::{Source, ValueId, slot_at};
use super::error::StoreError;
use super::merge::Value;
use super::object::{EMPTY_TREE, ObjectId};
use super::path::Path;
use super::reader::Overlay;
use super::tree::{Item, Leaf, Tree};
use super::view::View;

/// Why a transaction was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Others changed what this change depends on. Nothing was written; begin again.
    #[error("{0}")]
    Conflict(Box<TransactionConflict>),
    /// The new state breaks a rule, whatever others did.
    #[error("refused: {0}")]
    Refused(Violation),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stood in the way: Xenstore's `EAGAIN`, with reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionConflict {
    /// Why the merge was not possible.
    pub merge: Conflict,
    /// The operation that answers differently now; `None` if all answer alike, but the result breaks a rule.
    pub operation: Option<String>,
}

impl fmt::Display for TransactionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.merge)?;
        match &self.operation {
            Some(operation) => write!(f, "\nand {operation} answers differently now"),
            None => Ok(()),
        }
    }
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The head that has the change.
    pub head: Option<ObjectId>,
    pub how: How,
}

/// How a change got onto its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Nothing was changed; the branch has not moved.
    Unchanged,
    /// The branch stood where the transaction had begun.
    Forward,
    /// Merged with the changes of others.
    Merged,
    /// Done again on the changes of others.
    Replayed,
}

/// One operation with its answer, as far as the answer depends on others.
enum Operation {
    Get(Path, Option<ValueId>),
    List(Path, Option<Vec<Item>>),
    FindTree(Path, Option<ObjectId>),
    Set(Path, ValueId),
    Modify(Path, Modification),
    SetTree(Path, ObjectId),
    Remove(Path, bool),
}

/// Reads a value, changes it, writes it.
type Modification = Box<dyn Fn(&mut Tree, &Overlay) -> Result<(), StoreError> + Send + Sync>;

/// See the module.
pub struct Transaction {
    branch: Branch,
    base: Option<ObjectId>,
    tree: Tree,
    overlay: Arc<Overlay>,
    operations: Vec<Operation>,
}

impl Transaction {
    pub(super) fn new(branch: Branch, base: Option<ObjectId>) -> Result<Self, StoreError> {
        let overlay = branch.store().overlay();
        let tree = tree_of(&overlay, base)?;
        Ok(Self {
            branch,
            base,
            tree,
            overlay,
            operations: Vec::new(),
        })
    }

    /// The commit all reads answer from; `None` if the branch did not exist.
    pub fn base(&self) -> Option<ObjectId> {
        self.base
    }

    /// The value at a path.
    pub fn get(&mut self, path: &Path) -> Result<Option<Leaf>, StoreError> {
        let value = self.tree.value_id(&*self.overlay, path)?;
        self.operations.push(Operation::Get(path.clone(), value));
        self.tree.get(&*self.overlay, path)
    }

    /// The value at a path as a Rust type; an error if it is of another type.
    pub fn read<T: Value>(&mut self, path: &Path) -> Result<Option<T>, StoreError> {
        let value = self.tree.value_id(&*self.overlay, path)?;
        self.operations.push(Operation::Get(path.clone(), value));
        self.tree.read(&*self.overlay, path)
    }

    /// What is in a directory; `None` if the path is not a directory.
    pub fn list(&mut self, path: &Path) -> Result<Option<Vec<Item>>, StoreError> {
        let items = self.tree.list(&*self.overlay, path)?;
        self.operations
            .push(Operation::List(path.clone(), items.clone()));
        Ok(items)
    }

    /// The directory at a path as it is now.
    pub fn find_tree(&mut self, path: &Path) -> Result<Option<View>, StoreError> {
        let view = View::new(self.tree.clone(), self.overlay.clone()).find_tree(path)?;
        let id = view.as_ref().map(View::id).transpose()?;
        self.operations.push(Operation::FindTree(path.clone(), id));
        Ok(view)
    }

    /// Writes a value, making the directories above it.
    pub fn set(&mut self, path: &Path, leaf: &Leaf) -> Result<(), StoreError> {
        let (mode, id) = (leaf.content.mode(), leaf.content.store(&*self.overlay)?);
        let value = ValueId {
            tag: leaf.tag.clone(),
            mode,
            id,
        };
        self.run(Operation::Set(path.clone(), value)).map(|_| ())
    }

    /// Writes a value of a Rust type.
    pub fn write<T: Value>(&mut self, path: &Path, value: &T) -> Result<(), StoreError> {
        let content = value.write(&*self.overlay)?;
        self.set(
            path,
            &Leaf {
                tag: T::tag(),
                content,
            },
        )
    }

    /// Changes a value by a function of what stands there. If others have changed it meanwhile, the
    /// function is applied to their value, so this never conflicts: the way to count.
    pub fn modify<T: Value>(
        &mut self,
        path: &Path,
        change: impl Fn(Option<T>) -> T + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        let at = path.clone();
        let modification = move |tree: &mut Tree, source: &Overlay| {
            let new = change(tree.read(source, &at)?);
            tree.write_value(source, &at, &new)
        };
        self.run(Operation::Modify(path.clone(), Box::new(modification)))
            .map(|_| ())
    }

    /// Puts a whole tree at a path, in place of whatever stands there; an empty one removes it.
    pub fn set_tree(&mut self, path: &Path, view: &View) -> Result<(), StoreError> {
        let id = view.id()?;
        self.overlay.adopt(view.overlay(), &id)?;
        self.run(Operation::SetTree(path.clone(), id)).map(|_| ())
    }

    /// Removes a value or a directory; says whether there was one.
    pub fn remove(&mut self, path: &Path) -> Result<bool, StoreError> {
        let there = self.tree.clone().remove(&*self.overlay, path)?;
        self.run(Operation::Remove(path.clone(), there))?;
        Ok(there)
    }

    /// Writes `new` (or removes, if `None`) only if `expected` is what stands there; says whether it did.
    pub fn test_and_set(
        &mut self,
        path: &Path,
        expected: Option<&Leaf>,
        new: Option<&Leaf>,
    ) -> Result<bool, StoreError> {
        if self.get(path)?.as_ref() != expected {
            return Ok(false);
        }
        match new {
            Some(leaf) => self.set(path, leaf)?,
            None => drop(self.remove(path)?),
        }
        Ok(true)
    }

    /// The objects values are made of: what [`Value`]s need.
    pub fn source(&self) -> &dyn Source {
        &*self.overlay
    }

    /// Commits: see the module's guarantees.
    pub fn commit(mut self, info: &Info) -> Result<Committed, CommitError> {
        let tree = self.tree.write(&*self.overlay)?;
        let base_tree = match self.base {
            Some(base) => self.overlay.commit(&base)?.tree,
            None => EMPTY_TREE,
        };
        if tree == base_tree {
            return Ok(Committed {
                head: self.base,
                how: How::Unchanged,
            });
        }
        let change = Change {
            transaction: &self,
            info,
            tree,
            base_tree,
        };
        self.branch
            .store()
            .committer()
            .advance(self.branch.name(), |turn| change.step(&turn))
    }

    /// Does an operation on this transaction's tree, and records it.
    fn run(&mut self, operation: Operation) -> Result<bool, StoreError> {
        let alike = operation.run(&mut self.tree, &self.overlay)?;
        self.operations.push(operation);
        Ok(alike)
    }
}

impl Operation {
    /// Does the operation on a tree; says whether the answer is the recorded one.
    fn run(&self, tree: &mut Tree, source: &Overlay) -> Result<bool, StoreError> {
        Ok(match self {
            Self::Get(path, answer) => tree.value_id(source, path)? == *answer,
            Self::List(path, answer) => tree.list(source, path)? == *answer,
            Self::FindTree(path, answer) => {
                let found = tree.find_tree(source, path)?;
                found.map(|mut tree| tree.write(source)).transpose()? == *answer
            }
            Self::Set(path, value) => {
                tree.set_id(source, path, value.clone())?;
                true
            }
            Self::Modify(_, modification) => {
                modification(tree, source)?;
                true
            }
            Self::SetTree(path, id) => {
                tree.set_tree_id(source, path, *id)?;
                true
            }
            Self::Remove(path, answer) => tree.remove(source, path)? == *answer,
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, path) = match self {
            Self::Get(path, _) => ("get", path),
            Self::List(path, _) => ("list", path),
            Self::FindTree(path, _) => ("find_tree", path),
            Self::Set(path, _) => ("set", path),
            Self::Modify(path, _) => ("modify", path),
            Self::SetTree(path, _) => ("set_tree", path),
            Self::Remove(path, _) => ("remove", path),
        };
        write!(f, "{verb} {path:?}")
    }
}

/// A transaction on its way onto the branch.
struct Change<'a> {
    transaction: &'a Transaction,
    info: &'a Info,
    tree: ObjectId,
    base_tree: ObjectId,
}

impl Change<'_> {
    /// Forward, else merge, else replay.
    fn step(&self, turn: &Turn<'_>) -> Result<Step<Committed>, CommitError> {
        let Transaction { base, overlay, .. } = self.transaction;
        if turn.head == *base {
            self.validate(self.tree)?;
            let new = self.commit(self.tree, *base)?;
            return self.move_to(new, How::Forward);
        }
        let Some(head) = turn.head else {
            // The branch was deleted: what there was to merge with is gone.
            return self.replay(None, self.conflict(EMPTY_TREE, Vec::new()));
        };
        let twice = self.changed_twice(head)?;
        if !twice.is_empty() {
            return self.replay(Some(head), self.conflict(head, twice));
        }
        let own = self.commit(self.tree, *base)?;
        let context = self.transaction.branch.merge_context(&**overlay);
        let merged = match base {
            Some(base) if turn.descends_from(base) => {
                context.merge_at(Some(&self.base_tree), &head, &own)?
            }
            _ => context.merge_commits(&head, &own)?,
        };
        match merged {
            Ok(new) => self.move_to(new, How::Merged),
            Err(conflict) => self.replay(Some(head), *conflict),
        }
    }

    /// What others have changed and this transaction also writes, in a way that merging would take
    /// for one change although they are two.
    fn changed_twice(&self, head: ObjectId) -> Result<Vec<PathConflict>, StoreError> {
        let Transaction {
            overlay,
            operations,
            ..
        } = self.transaction;
        let head_tree = overlay.commit(&head)?.tree;
        let mut twice: Vec<PathConflict> = Vec::new();
        for operation in operations {
            let (path, modified) = match operation {
                Operation::Get(..) | Operation::List(..) | Operation::FindTree(..) => continue,
                Operation::Modify(path, _) => (path, true),
                Operation::Set(path, _)
                | Operation::SetTree(path, _)
                | Operation::Remove(path, _) => (path, false),
            };
            let at = |tree| slot_at(&**overlay, tree, path);
            let (base, ours, theirs) = (at(&self.base_tree)?, at(&head_tree)?, at(&self.tree)?);
            if ours != base && (modified || ours == theirs) {
                let (path, reason) = (path.clone(), "both sides made the same change".to_owned());
                twice.push(PathConflict {
                    path,
                    reason,
                    base,
                    ours,
                    theirs,
                });
            }
        }
        Ok(twice)
    }

    fn conflict(&self, ours: ObjectId, paths: Vec<PathConflict>) -> Conflict {
        Conflict {
            ours,
            theirs: self.tree,
            paths,
            violation: None,
        }
    }

    fn replay(
        &self,
        head: Option<ObjectId>,
        conflict: Conflict,
    ) -> Result<Step<Committed>, CommitError> {
        let Transaction {
            overlay,
            operations,
            ..
        } = self.transaction;
        let mut tree = tree_of(overlay, head)?;
        let failed = |operation: Option<&Operation>, violation: Option<Violation>| {
            let mut merge = conflict.clone();
            merge.violation = violation.or(merge.violation);
            let operation = operation.map(ToString::to_string);
            CommitError::Conflict(Box::new(TransactionConflict { merge, operation }))
        };
        for operation in operations {
            match operation.run(&mut tree, overlay) {
                Ok(true) => (),
                Ok(false) | Err(StoreError::NotADirectory(_) | StoreError::IsADirectory(_)) => {
                    return Err(failed(Some(operation), None));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let tree = tree.write(&**overlay)?;
        if head.is_some_and(|head| {
            overlay
                .commit(&head)
                .is_ok_and(|commit| commit.tree == tree)
        }) {
            return Ok(Step::Stay(Committed {
                head,
                how: How::Unchanged,
            }));
        }
        match self.validate(tree) {
            Err(CommitError::Refused(violation)) => return Err(failed(None, Some(violation))),
            other => other?,
        }
        let new = self.commit(tree, head)?;
        self.move_to(new, How::Replayed)
    }

    fn validate(&self, tree: ObjectId) -> Result<(), CommitError> {
        let Transaction {
            branch, overlay, ..
        } = self.transaction;
        branch.validate(&**overlay, tree)
    }

    fn commit(&self, tree: ObjectId, parent: Option<ObjectId>) -> Result<ObjectId, StoreError> {
        let overlay = &*self.transaction.overlay;
        Commit::new(tree, parent.into_iter().collect(), self.info).store(overlay)
    }

    fn move_to(&self, new: ObjectId, how: How) -> Result<Step<Committed>, CommitError> {
        let objects = self.transaction.overlay.reachable(&[new])?;
        Ok(Step::Move {
            new: Some(new),
            objects,
            answer: Committed {
                head: Some(new),
                how,
            },
        })
    }
}

/// The tree of a commit; empty if there is none.
pub(super) fn tree_of(source: &Overlay, commit: Option<ObjectId>) -> Result<Tree, StoreError> {
    Ok(match commit {
        Some(commit) => Tree::at(source.commit(&commit)?.tree),
        None => Tree::new(),
    })
}
