//! Reading objects through caches, and collecting the new ones of one change.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::backend::{Backend, IdSet, NewObject};
use super::cache::Cache;
use super::commit::Commit;
use super::directory::{Directory, Source};
use super::entries::Entries;
use super::error::StoreError;
use super::object::{IdMap, Kind, Object, ObjectId, Objects};

/// Memory for each of the three caches, in bytes: room for the directories of a tree of 100,000 paths.
const CACHE_BUDGET: usize = 32 << 20;
/// What an entry of a cache costs beside its content, in bytes.
const CACHE_OVERHEAD: usize = 96;

/// A back end with caches in front, and the objects on their way to it.
pub struct Reader {
    backend: Arc<dyn Backend>,
    blobs: Cache<Object>,
    directories: Cache<Arc<Directory>>,
    commits: Cache<Arc<Commit>>,
    /// Objects of batches that are not durable yet, with the last batch they belong to.
    pending: RwLock<IdMap<(Object, u64)>>,
    boundary: RwLock<Arc<IdSet>>,
}

impl Reader {
    /// Reads through `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        let boundary = RwLock::new(backend.boundary()?);
        Ok(Self {
            backend,
            blobs: Cache::new(CACHE_BUDGET),
            directories: Cache::new(CACHE_BUDGET),
            commits: Cache::new(CACHE_BUDGET),
            pending: RwLock::default(),
            boundary,
        })
    }

    /// The back end itself.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The object with this id.
    pub fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        if let Some(object) = self.blobs.get(id) {
            return Ok(Some(object));
        }
        if let Some((object, _)) = self
            .pending
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
        {
            return Ok(Some(object.clone()));
        }
        let object = self.backend.get(id)?;
        if let Some(object) = &object {
            self.keep(id, object);
        }
        Ok(object)
    }

    /// The commits whose parents were cut off.
    pub fn boundary(&self) -> Arc<IdSet> {
        self.boundary
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over a boundary that somebody may have moved.
    pub fn refresh_boundary(&self) -> Result<(), StoreError> {
        let new = self.backend.boundary()?;
        let mut boundary = self
            .boundary
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if *boundary != new {
            *boundary = new;
            self.commits.clear();
        }
        Ok(())
    }

    /// Forgets what is kept at hand, because some of it may be gone.
    pub fn forget(&self) -> Result<(), StoreError> {
        self.blobs.clear();
        self.directories.clear();
        self.commits.clear();
        self.refresh_boundary()
    }

    /// Makes the objects of a batch readable before they are durable.
    pub fn announce(&self, objects: &[NewObject], batch: u64) {
        let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
        pending.extend(
            objects
                .iter()
                .map(|new| (new.id, (new.object.clone(), batch))),
        );
    }

    /// The batches up to this one are in the back end, or will never be.
    pub fn retire(&self, batch: u64, written: &[NewObject]) {
        for new in written {
            self.keep(&new.id, &new.object);
        }
        let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, (_, last)| *last > batch);
    }

    /// Directories and commits are kept decoded.
    fn keep(&self, id: &ObjectId, object: &Object) {
        if object.kind == Kind::Blob {
            self.blobs
                .insert(id, object.clone(), object.data.len() + CACHE_OVERHEAD);
        }
    }
}

/// What one change reads and writes: everything there is, and its own new objects before anyone else sees them.
pub struct Overlay {
    reader: Arc<Reader>,
    new: Mutex<IdMap<NewObject>>,
}

impl Overlay {
    /// Nothing new yet.
    pub fn new(reader: Arc<Reader>) -> Self {
        Self {
            reader,
            new: Mutex::default(),
        }
    }

    /// The new objects these commits or trees lead to. What was overwritten on the way is left behind.
    pub fn reachable(&self, roots: &[ObjectId]) -> Result<Vec<NewObject>, StoreError> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = IdSet::default();
        let mut found = Vec::new();
        let mut waiting = roots.to_vec();
        while let Some(id) = waiting.pop() {
            let Some(object) = new.get(&id).filter(|_| seen.insert(id, ()).is_none()) else {
                continue;
            };
            found.push(object.clone());
            match object.object.kind {
                Kind::Blob => (),
                Kind::Tree => {
                    let entries = Entries::decode_object(&id, &object.object.data)?;
                    waiting.extend(entries.iter().map(|entry| entry.id));
                }
                Kind::Commit => {
                    let commit = Commit::decode_object(&id, &object.object.data)?;
                    waiting.push(commit.tree);
                    waiting.extend(commit.parents);
                }
            }
        }
        // A tree's `like` is older than the tree: bases come first.
        found.reverse();
        Ok(found)
    }

    /// Takes over what a tree of another change leads to and that change alone has.
    pub fn adopt(&self, other: &Self, tree: &ObjectId) -> Result<(), StoreError> {
        if !std::ptr::eq(self, other) {
            let found = other.reachable(&[*tree])?;
            let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            new.extend(found.into_iter().map(|object| (object.id, object)));
        }
        Ok(())
    }

    fn own(&self, id: &ObjectId) -> Option<Object> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.get(id).map(|new| new.object.clone())
    }

    fn add(&self, kind: Kind, data: &[u8], like: Option<&ObjectId>) -> ObjectId {
        let id = ObjectId::of(kind, data);
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.entry(id).or_insert_with(|| NewObject {
            id,
            object: Object::new(kind, data),
            like: like.copied().filter(|like| *like != id),
        });
        id
    }
}

impl Objects for Overlay {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        match self.own(id) {
            Some(object) => Ok(Some(object)),
            None => self.reader.get(id),
        }
    }

    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError> {
        Ok(self.add(kind, data, None))
    }
}

impl Source for Overlay {
    fn directory(&self, id: &ObjectId) -> Result<Arc<Directory>, StoreError> {
        if let Some(directory) = self.reader.directories.get(id) {
            return Ok(directory);
        }
        let directory = Arc::new(Directory::load(self, id)?);
        self.reader
            .directories
            .insert(id, directory.clone(), directory.size() + CACHE_OVERHEAD);
        Ok(directory)
    }

    fn commit(&self, id: &ObjectId) -> Result<Arc<Commit>, StoreError> {
        if let Some(commit) = self.reader.commits.get(id) {
            return Ok(commit);
        }
        let mut commit = Commit::load(self, id)?;
        if self.reader.boundary().contains_key(id) {
            commit.parents.clear();
        }
        let (commit, size) = (
            Arc::new(commit.clone()),
            commit.message.len() + 4 * CACHE_OVERHEAD,
        );
        self.reader.commits.insert(id, commit.clone(), size);
        Ok(commit)
    }

    fn put_tree(&self, data: &[u8], like: Option<&ObjectId>) -> Result<ObjectId, StoreError> {
        Ok(self.add(Kind::Tree, data, like))
    }
}
