//! One state of a tree, to read.

use std::sync::Arc;

use super::diff::{Change, diff};
use super::directory::{Source, ValueId};
use super::error::StoreError;
use super::merge::Value;
use super::object::ObjectId;
use super::path::Path;
use super::reader::Overlay;
use super::tree::{Item, Leaf, Tree};

/// A tree that never changes, whatever happens to the branch it was taken from. Cheap to clone.
#[derive(Clone)]
pub struct View {
    tree: Tree,
    source: Arc<Overlay>,
}

impl View {
    pub(super) fn new(tree: Tree, source: Arc<Overlay>) -> Self {
        Self { tree, source }
    }

    /// The value at a path, or `None` if there is none.
    pub fn get(&self, path: &Path) -> Result<Option<Leaf>, StoreError> {
        self.tree.get(&*self.source, path)
    }

    /// The value at a path as a Rust type; an error if it is of another type.
    pub fn read<T: Value>(&self, path: &Path) -> Result<Option<T>, StoreError> {
        self.tree.read(&*self.source, path)
    }

    /// The identity of the value at a path, without reading the value.
    pub fn value_id(&self, path: &Path) -> Result<Option<ValueId>, StoreError> {
        self.tree.value_id(&*self.source, path)
    }

    /// What is in a directory, by name; `None` if the path is not a directory.
    pub fn list(&self, path: &Path) -> Result<Option<Vec<Item>>, StoreError> {
        self.tree.list(&*self.source, path)
    }

    /// The directory at a path as a view of its own.
    pub fn find_tree(&self, path: &Path) -> Result<Option<Self>, StoreError> {
        let tree = self.tree.find_tree(&*self.source, path)?;
        Ok(tree.map(|tree| Self {
            tree,
            source: self.source.clone(),
        }))
    }

    /// Every value at or below a path, in path order.
    pub fn walk(&self, path: &Path) -> Result<Vec<(Path, ValueId)>, StoreError> {
        let values = diff(&*self.source, path, None, Some(self.id()?))?;
        let added = values
            .into_iter()
            .filter_map(|(path, change)| match change {
                Change::Added(value) => Some((path, value)),
                Change::Removed(_) | Change::Updated { .. } => None,
            });
        Ok(added.collect())
    }

    /// The id of the tree object: equal ids, equal trees.
    pub fn id(&self) -> Result<ObjectId, StoreError> {
        self.tree.clone().write(&*self.source)
    }

    /// The objects this is read from: what [`Value`]s need.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    pub(super) fn overlay(&self) -> &Arc<Overlay> {
        &self.source
    }
}
