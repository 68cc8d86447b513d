//! The desired state: the pool on branch `main` of a store, and how it changes.
//!
//! - `main` holds a valid pool at every commit: whatever would make it an invalid one, a write, a merge or a
//!   push, is refused with the rule and the place.
//! - A change leaves alone what it does not change: a pool taken over from a file writes and removes
//!   the values that differ, no others.

pub mod confirm;
pub mod diary;
pub mod follow;
pub mod hook;
pub mod nudge;
mod rules;
pub mod sync;
pub mod tree;
pub mod values;

use std::path::Path as FilePath;
use std::sync::Arc;

pub use rules::PoolRules;
pub use tree::Fault;

use crate::pool::{Draft, Pool};
use crate::store::backend::Backend;
use crate::store::git::{GitBackend, GitOptions};
use crate::store::{
    Branch, CommitError, Committed, Info, Leaf, ObjectId, Options, Registry, Store, StoreError,
};

/// A store whose `main` is a pool. Cheap to clone.
#[derive(Clone)]
pub struct Desired {
    store: Store,
    rules: PoolRules,
}

/// Why a pool was not taken over into the store.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The branch is not where the caller thinks.
    #[error("main has moved: it is not {0} any more")]
    Moved(ObjectId),
    /// Refused, or the store failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Desired {
    /// The repository at `directory`.
    pub fn open(directory: &FilePath, create: bool) -> Result<Self, StoreError> {
        let options = GitOptions {
            create,
            ..GitOptions::default()
        };
        Self::over(Arc::new(GitBackend::open(directory, options)?))
    }

    /// A store over any back end.
    pub fn over(backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        let rules = PoolRules::default();
        let options = Options {
            registry: Registry::standard(),
            validator: Box::new(rules.clone()),
        };
        let store = Store::open(backend, options)?;
        Ok(Self { store, rules })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The branch of the desired state.
    pub fn main(&self) -> Branch {
        self.store.main()
    }

    /// The pool at a commit.
    pub fn pool(&self, commit: &ObjectId) -> Result<Result<Arc<Pool>, Fault>, StoreError> {
        let view = self.store.at(commit)?;
        self.rules.pool(view.source(), &view.id()?)
    }

    /// Makes the branch's pool this one, in one commit; with `expected` only if the branch stands there.
    pub fn replace(
        &self,
        branch: &Branch,
        pool: &Draft,
        info: &Info,
        expected: Option<ObjectId>,
    ) -> Result<Committed, ReplaceError> {
        let wanted = values::values(pool);
        let expected_tree = match expected {
            Some(commit) => Some(self.store.commit(&commit).map_err(CommitError::from)?.tree),
            None => None,
        };
        let mut moved = None;
        let done = branch.update(info, |tree, source| {
            let now = tree.clone().write(source)?;
            moved = expected.filter(|_| expected_tree != Some(now));
            if moved.is_some() {
                return Err(StoreError::Contended(branch.name().clone()));
            }
            let current = match self.rules.pool(source, &now)? {
                Ok(pool) => values::values(&pool),
                Err(_) => {
                    for (path, _) in tree::stored_values(source, &now)? {
                        tree.remove(source, &path)?;
                    }
                    values::Values::new()
                }
            };
            for path in current.keys().filter(|path| !wanted.contains_key(*path)) {
                tree.remove(source, path)?;
            }
            for (path, text) in wanted
                .iter()
                .filter(|(path, text)| current.get(*path) != Some(*text))
            {
                tree.set(source, path, &Leaf::plain(format!("{text}\n")))?;
            }
            Ok(())
        });
        match moved {
            Some(expected) => Err(ReplaceError::Moved(expected)),
            None => Ok(done?),
        }
    }
}

/// Whether two pools are the same, whatever the order of services and backends.
pub fn same(one: &Draft, other: &Draft) -> bool {
    one == other || values::values(one) == values::values(other)
}
