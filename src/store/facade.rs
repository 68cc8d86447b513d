//! The store: branches over a back end, with the types and the rules its values obey.

use std::sync::Arc;

use super::backend::{Backend, MemoryBackend};
use super::branch::Branch;
use super::commit::Commit;
use super::committer::Committer;
use super::conflict::{AnyTree, Validator};
use super::directory::Source;
use super::error::StoreError;
use super::history::Log;
use super::hub::{Hub, Wake};
use super::object::ObjectId;
use super::path::BranchName;
use super::reader::{Overlay, Reader};
use super::transaction::tree_of;
use super::types::Registry;
use super::view::View;
use super::watch::{Scope, Watch};

/// A store. Cheap to clone, and to be shared by any number of threads.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    reader: Arc<Reader>,
    hub: Arc<Hub>,
    committer: Committer,
    registry: Registry,
    validator: Box<dyn Validator>,
}

/// What a store is opened with.
pub struct Options {
    /// The types it knows; others it keeps, but cannot merge.
    pub registry: Registry,
    /// Which trees its branches may hold.
    pub validator: Box<dyn Validator>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registry: Registry::standard(),
            validator: Box::new(AnyTree),
        }
    }
}

impl Store {
    /// A store over a back end.
    pub fn open(backend: Arc<dyn Backend>, options: Options) -> Result<Self, StoreError> {
        let reader = Arc::new(Reader::new(backend)?);
        let hub = Arc::new(Hub::default());
        let committer = Committer::new(reader.clone(), hub.clone());
        let Options {
            registry,
            validator,
        } = options;
        let store = Self {
            inner: Arc::new(Inner {
                reader,
                hub,
                committer,
                registry,
                validator,
            }),
        };
        store.refresh()?;
        Ok(store)
    }

    /// A store in memory, with all types and no rules.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::open(Arc::new(MemoryBackend::new()), Options::default())
    }

    /// A branch, which need not exist yet.
    pub fn branch(&self, name: &BranchName) -> Branch {
        Branch::new(self.clone(), name.clone())
    }

    /// The branch of the desired state.
    pub fn main(&self) -> Branch {
        self.branch(&BranchName::main())
    }

    /// All branches with their heads, by name.
    pub fn branches(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError> {
        self.backend().heads()
    }

    /// The commit people mean by a text: a branch, an id, the start of one, and whatever else the
    /// back end understands.
    pub fn resolve(&self, text: &str) -> Result<Option<ObjectId>, StoreError> {
        if let Ok(branch) = text.parse()
            && let Some(head) = self.inner.committer.head(&branch)?
        {
            return Ok(Some(head));
        }
        match text.parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) => self.backend().lookup(text),
        }
    }

    /// The state at a commit.
    pub fn at(&self, commit: &ObjectId) -> Result<View, StoreError> {
        let source = self.overlay();
        Ok(View::new(tree_of(&source, Some(*commit))?, source))
    }

    /// A commit.
    pub fn commit(&self, id: &ObjectId) -> Result<Arc<Commit>, StoreError> {
        self.overlay().commit(id)
    }

    /// Watches for changes from now on.
    pub fn watch(&self, scope: Scope) -> Result<Watch, StoreError> {
        self.refresh()?;
        Ok(Watch::new(self.clone(), scope))
    }

    /// Calls `wake` after any branch has moved: for those who cannot wait in [`Watch::next`].
    pub fn on_move(&self, wake: Wake) {
        self.inner.hub.subscribe(wake);
    }

    /// Looks for branches that other processes have moved, and tells the watches. Watches that wait do this
    /// by themselves now and then.
    pub fn refresh(&self) -> Result<(), StoreError> {
        self.inner.reader.refresh_boundary()?;
        let known = self.inner.hub.branches();
        let here: Vec<_> = self
            .branches()?
            .into_iter()
            .map(|(branch, _)| branch)
            .collect();
        for branch in here.iter().chain(&known) {
            self.inner.committer.head(branch)?;
        }
        Ok(())
    }

    /// The commits that lead to any of these, latest first.
    pub fn log(&self, heads: &[ObjectId]) -> Result<Vec<(ObjectId, Arc<Commit>)>, StoreError> {
        let source = self.overlay();
        Log::new(&*source, heads.iter().copied())?.collect()
    }

    /// The back end.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        self.inner.reader.backend()
    }

    /// The types this store knows.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Reads everything, and collects new objects.
    pub fn overlay(&self) -> Arc<Overlay> {
        Arc::new(Overlay::new(self.inner.reader.clone()))
    }

    pub(super) fn validator(&self) -> &dyn Validator {
        &*self.inner.validator
    }

    pub(super) fn committer(&self) -> &Committer {
        &self.inner.committer
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.inner.hub
    }
}
