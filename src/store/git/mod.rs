//! A Git repository as the back end: durable, and open to every tool that knows Git.
//!
//! # Guarantees
//!
//! - [`commit`](Backend::commit) returns after the pack, its index, the pack directory, the ref and the ref's directory are on
//!   disk, in that order. A killed process or a cut power line loses nothing it has acknowledged, and at
//!   no moment is there a state that `git fsck --full --strict` finds fault with.
//! - Refs move by compare-and-swap under Git's own lock files: real Git can push, pull, pack and
//!   collect garbage meanwhile.
//! - An error (no space, a read-only file system) leaves every branch where it was, and nothing half-written
//!   that anybody would read.
//! - Packs written here are joined in the background, so that their number grows with the logarithm of the
//!   number of commits.

mod bundle;
pub mod disk;
mod entry;
mod index;
mod layout;
mod maintain;
mod odb;
mod pack;
mod process;
mod refs;
mod repository;
mod seen;
mod work;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use bundle::Imported;
use disk::{Disk, RealDisk};
use layout::Layout;
pub use process::Git;
use refs::Refs;
use repository::Repository;

use super::backend::{Backend, Batch, IdSet, Update, UpdateResult};
use super::error::StoreError;
use super::object::{Object, ObjectId};
use super::path::BranchName;

/// How a repository is opened.
pub struct GitOptions {
    /// Make a bare repository if there is none.
    pub create: bool,
    /// Further object directories, only to be read, such as the quarantine of a push that is being checked.
    pub objects: Vec<PathBuf>,
    /// Join small packs in the background.
    pub tidy: bool,
    /// What writes.
    pub disk: Arc<dyn Disk>,
}

impl Default for GitOptions {
    fn default() -> Self {
        Self {
            create: false,
            objects: Vec::new(),
            tidy: true,
            disk: Arc::new(RealDisk),
        }
    }
}

/// A repository that is open.
pub struct GitBackend {
    repository: Arc<Repository>,
    refs: Refs,
    git: Git,
    tidier: Option<Tidier>,
}

/// The thread that joins packs: told after each commit that there may be something to do.
struct Tidier {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GitBackend {
    /// Opens the repository at `path`: a bare one, or the one of a working copy.
    pub fn open(path: &Path, options: GitOptions) -> Result<Self, StoreError> {
        let GitOptions {
            create,
            objects,
            tidy,
            disk,
        } = options;
        let layout = match Layout::find(path)? {
            Some(layout) => layout,
            None if create => Layout::init(path, &*disk)?,
            None => {
                let detail = "there is no Git repository".to_owned();
                return Err(StoreError::Repository {
                    path: path.to_path_buf(),
                    detail,
                });
            }
        };
        let refs = Refs::new(layout.clone(), disk.clone());
        let git = Git::new(&layout.directory);
        let repository = Arc::new(Repository::open(layout, &objects, disk)?);
        let tidier = tidy
            .then(|| Tidier::start(repository.clone()))
            .transpose()?;
        Ok(Self {
            repository,
            refs,
            git,
            tidier,
        })
    }

    /// The directory that holds `objects` and `refs`.
    pub fn directory(&self) -> &Path {
        &self.repository.layout.directory
    }

    /// The real Git on this repository.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// Number of packs: for watching over the maintenance.
    pub fn packs(&self) -> usize {
        self.repository.objects.packs().len()
    }

    /// Joins small packs now; says how many.
    pub fn tidy(&self) -> Result<usize, StoreError> {
        self.repository.tidy()
    }

    fn update(&self, update: &Update) -> UpdateResult {
        let Update {
            branch,
            expected,
            new,
        } = update;
        match (expected, new) {
            (_, Some(new)) => self
                .refs
                .swap(self.repository.work()?, branch, *expected, *new),
            (None, None) => Ok(self.refs.head(branch)?.is_none()),
            (Some(expected), None) => match self.git.delete(branch, expected) {
                Err(_) if self.refs.head(branch)? != Some(*expected) => Ok(false),
                other => other.map(|()| true),
            },
        }
    }
}

impl Backend for GitBackend {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        self.repository.objects.get(id)
    }

    fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        self.refs.head(branch)
    }

    fn heads(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError> {
        self.refs.heads()
    }

    fn commit(&self, batch: &Batch) -> Result<Vec<UpdateResult>, StoreError> {
        if !batch.objects.is_empty() {
            self.repository.write(&batch.objects)?;
        }
        let results = batch
            .updates
            .iter()
            .map(|update| self.update(update))
            .collect();
        if let Some(tidier) = &self.tidier {
            tidier.wake();
        }
        Ok(results)
    }

    fn remote_heads(&self) -> Result<Vec<(String, BranchName, ObjectId)>, StoreError> {
        self.refs.remote_heads()
    }

    fn lookup(&self, text: &str) -> Result<Option<ObjectId>, StoreError> {
        Ok(self.git.lookup(text))
    }

    fn boundary(&self) -> Result<Arc<IdSet>, StoreError> {
        let path = self.repository.layout.shallow();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let ids: Option<IdSet> = text
            .lines()
            .map(|line| Some((line.parse().ok()?, ())))
            .collect();
        let detail = || "a line is not a commit id".to_owned();
        ids.map(Arc::new).ok_or_else(|| StoreError::Repository {
            path,
            detail: detail(),
        })
    }

    fn set_boundary(&self, boundary: &[ObjectId]) -> Result<(), StoreError> {
        let lines: String = boundary.iter().map(|id| format!("{id}\n")).collect();
        self.repository
            .replace(&self.repository.layout.shallow(), lines.as_bytes())
    }

    fn collect_garbage(&self, grace: Duration) -> Result<(), StoreError> {
        self.repository.undisturbed(|| {
            self.git.collect_garbage(grace.as_secs())?;
            self.repository.objects.rescan()
        })
    }
}

impl Tidier {
    fn start(repository: Arc<Repository>) -> Result<Self, StoreError> {
        let (wake, woken) = sync_channel(1);
        let run = move || {
            while woken.recv().is_ok() {
                // What fails now is tried again after the next commit; no commit depends on it.
                if let Err(error) = repository.tidy() {
                    tracing::warn!(%error, "cannot join packs");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("store-tidy".to_owned())
            .spawn(run);
        let thread =
            thread.map_err(|error| StoreError::io("start", Path::new("store-tidy"), error))?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    fn wake(&self) {
        if let Some(Err(TrySendError::Disconnected(()))) =
            self.wake.as_ref().map(|wake| wake.try_send(()))
        {
            tracing::warn!("packs are not joined any more");
        }
    }
}

impl Drop for Tidier {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
