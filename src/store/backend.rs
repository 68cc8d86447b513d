//! Where objects and branches are kept. One trait, and one suite of tests over everything that implements it.
//!
//! # What a back end guarantees
//!
//! - [`commit`](Backend::commit) returns after its objects *and* its branches are as durable as the back end
//!   makes anything; whoever reads a branch afterwards finds every object it leads to.
//! - A branch moves only if it stood where the update expects it. Several updates of one batch are
//!   independent of each other.
//! - An error leaves its branch where it was, except [`StoreError::Unsure`], which says that the branch has
//!   moved although its durability could not be confirmed.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::error::StoreError;
use super::object::{IdMap, Kind, MemoryObjects, Object, ObjectId, Objects};
use super::path::BranchName;

/// An object to be written.
#[derive(Clone, Debug)]
pub struct NewObject {
    pub id: ObjectId,
    pub object: Object,
    /// A tree it differs from in a few entries only: writing the difference is enough if that one is written too.
    pub like: Option<ObjectId>,
}

/// A move of a branch. `None` is: no such branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub branch: BranchName,
    pub expected: Option<ObjectId>,
    pub new: Option<ObjectId>,
}

/// What is committed at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub objects: Vec<NewObject>,
    pub updates: Vec<Update>,
}

/// Whether a branch has moved, or why that is not known or not possible.
pub type UpdateResult = Result<bool, StoreError>;

/// A set of object ids.
pub type IdSet = IdMap<()>;

/// See the module's guarantees.
pub trait Backend: Send + Sync {
    /// The object with this id.
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError>;

    /// Where a branch stands. Sees moves made by other processes.
    fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError>;

    /// All branches, by name.
    fn heads(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError>;

    /// Writes the objects, then moves the branches. For each update, in order: whether the branch
    /// stood where it was expected, and so has moved. An error as a whole: no branch has moved.
    fn commit(&self, batch: &Batch) -> Result<Vec<UpdateResult>, StoreError>;

    /// Where each remote's branches were when it was last heard of, by remote.
    fn remote_heads(&self) -> Result<Vec<(String, BranchName, ObjectId)>, StoreError>;

    /// The commit people mean by a text that is neither a branch nor a whole id, such as the start of an id.
    fn lookup(&self, text: &str) -> Result<Option<ObjectId>, StoreError>;

    /// Commits whose parents were cut off.
    fn boundary(&self) -> Result<Arc<IdSet>, StoreError>;

    /// Makes these the commits whose parents are cut off, durably. Nothing is dropped.
    fn set_boundary(&self, boundary: &[ObjectId]) -> Result<(), StoreError>;

    /// Drops what no branch leads to, without going past the boundary, except objects younger than `grace`. The
    /// caller sees to it that nothing is committed meanwhile.
    fn collect_garbage(&self, grace: Duration) -> Result<(), StoreError>;
}

/// Objects and branches in memory: nothing is durable, everything else holds.
#[derive(Default)]
pub struct MemoryBackend {
    objects: MemoryObjects,
    refs: RwLock<Refs>,
}

#[derive(Default)]
struct Refs {
    heads: std::collections::BTreeMap<BranchName, ObjectId>,
    boundary: Arc<IdSet>,
}

impl MemoryBackend {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Backend for MemoryBackend {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        self.objects.get(id)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        let refs = self.refs.read().unwrap_or_else(PoisonError::into_inner);
        Ok(refs.heads.get(branch).copied())
    }

    fn heads(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError> {
        let refs = self.refs.read().unwrap_or_else(PoisonError::into_inner);
        Ok(refs
            .heads
            .iter()
            .map(|(branch, id)| (branch.clone(), *id))
            .collect())
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<UpdateResult>, StoreError> {
        for new in &batch.objects {
            self.objects.insert(new.id, new.object.clone());
        }
        let mut refs = self.refs.write().unwrap_or_else(PoisonError::into_inner);
        let mut moved = |update: &Update| {
            if refs.heads.get(&update.branch) != update.expected.as_ref() {
                return Ok(false);
            }
            match update.new {
                Some(new) => refs.heads.insert(update.branch.clone(), new),
                None => refs.heads.remove(&update.branch),
            };
            Ok(true)
        };
        Ok(batch.updates.iter().map(&mut moved).collect())
    }

    fn remote_heads(&self) -> Result<Vec<(String, BranchName, ObjectId)>, StoreError> {
        Ok(Vec::new())
    }

    fn lookup(&self, text: &str) -> Result<Option<ObjectId>, StoreError> {
        Ok(self.objects.abbreviated(text, Kind::Commit))
    }

    fn boundary(&self) -> Result<Arc<IdSet>, StoreError> {
        Ok(self
            .refs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .boundary
            .clone())
    }

    fn set_boundary(&self, boundary: &[ObjectId]) -> Result<(), StoreError> {
        let mut refs = self.refs.write().unwrap_or_else(PoisonError::into_inner);
        refs.boundary = Arc::new(boundary.iter().map(|id| (*id, ())).collect());
        Ok(())
    }

    fn collect_garbage(&self, _: Duration) -> Result<(), StoreError> {
        let refs = self.refs.write().unwrap_or_else(PoisonError::into_inner);
        let roots = refs.heads.values().copied().collect();
        let keep = super::reachable::reachable(&self.objects, roots, &refs.boundary)?;
        self.objects.retain(|id| keep.contains_key(id));
        Ok(())
    }
}
