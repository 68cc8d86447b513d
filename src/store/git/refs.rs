//! Refs as files, moved by compare-and-swap under lock files, exactly as Git does it, so that Git and the
//! store can work on one repository at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::layout::{Layout, make_dir, sync_dir};
use super::seen::{Seen, Stamp};
use super::work::Work;
use crate::store::error::StoreError;
use crate::store::object::ObjectId;
use crate::store::path::BranchName;

/// How long to wait for somebody else's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// A lock held this long may belong to a process that died.
const SUSPICIOUS: Duration = Duration::from_millis(200);
/// Pause between attempts to take a lock.
const RETRY: Duration = Duration::from_millis(1);
const HEADS: &str = "refs/heads/";
const REMOTES: &str = "refs/remotes/";

/// The refs of a repository.
pub struct Refs {
    layout: Layout,
    disk: Arc<dyn Disk>,
    seen: Seen,
}

impl Refs {
    /// The refs in a repository.
    pub fn new(layout: Layout, disk: Arc<dyn Disk>) -> Self {
        Self {
            layout,
            disk,
            seen: Seen::default(),
        }
    }

    /// Where a branch stands.
    pub fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        let directory = &self.layout.directory;
        let loose = directory.join(format!("{HEADS}{branch}"));
        let stamp = Stamp::of(&loose, &directory.join("packed-refs"));
        if let Some(head) = self.seen.get(branch, &stamp) {
            return Ok(head);
        }
        let head = self.read_head(branch)?;
        self.seen.keep(branch, stamp, head);
        Ok(head)
    }

    fn read_head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        let name = format!("{HEADS}{branch}");
        if let Some(id) = self.loose(&name)? {
            return Ok(Some(id));
        }
        if let Some(id) = self.packed()?.get(&name) {
            return Ok(Some(*id));
        }
        // Between the two looks it may have been unpacked.
        self.loose(&name)
    }

    /// All branches, by name. Those whose names the store does not accept are not its business.
    pub fn heads(&self) -> Result<Vec<(BranchName, ObjectId)>, StoreError> {
        let all = self.all(HEADS)?;
        let branches = all
            .iter()
            .filter_map(|(name, id)| Some((name.parse().ok()?, *id)));
        Ok(branches.collect())
    }

    /// The branches of remotes as they were last heard of: remote, branch, commit.
    pub fn remote_heads(&self) -> Result<Vec<(String, BranchName, ObjectId)>, StoreError> {
        let all = self.all(REMOTES)?;
        let heads = all.iter().filter_map(|(name, id)| {
            let (remote, branch) = name.split_once('/')?;
            Some((remote.to_owned(), branch.parse().ok()?, *id))
        });
        Ok(heads.collect())
    }

    /// Moves a branch to `new` if it stands at `expected`, durably; says whether it did.
    pub fn swap(
        &self,
        work: &Work,
        branch: &BranchName,
        expected: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<bool, StoreError> {
        let path = self.layout.directory.join(format!("{HEADS}{branch}"));
        let text = work.write("ref", format!("{new}\n").as_bytes())?;
        let result = self.swap_file(work, branch, expected, new, &path, &text);
        work.remove(&text);
        result
    }

    fn swap_file(
        &self,
        work: &Work,
        branch: &BranchName,
        expected: Option<ObjectId>,
        new: ObjectId,
        path: &Path,
        text: &Path,
    ) -> Result<bool, StoreError> {
        let directory = path.parent().unwrap_or(&self.layout.directory);
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        self.take_lock(work, branch, text, directory, &lock)?;
        let release = |error| {
            work.remove(&lock);
            Err(error)
        };
        match self.read_head(branch) {
            Ok(head) if head == expected => (),
            Ok(_) => {
                work.remove(&lock);
                return Ok(false);
            }
            Err(error) => return release(error),
        }
        if let Err(error) = self.disk.rename(&lock, path) {
            return release(StoreError::io("write", path, error));
        }
        // From here on the branch has moved, for everyone who looks.
        self.disk
            .sync_dir(directory)
            .map(|()| true)
            .map_err(|error| StoreError::Unsure {
                branch: branch.clone(),
                id: new,
                source: Arc::new(error),
            })
    }

    fn take_lock(
        &self,
        work: &Work,
        branch: &BranchName,
        text: &Path,
        directory: &Path,
        lock: &Path,
    ) -> Result<(), StoreError> {
        let begin = Instant::now();
        let mut cleaned = false;
        loop {
            match self.disk.link(text, lock) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make_dirs(directory)?
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::io("lock", lock, error));
                }
                Err(_) if !cleaned && begin.elapsed() > SUSPICIOUS => {
                    work.clean_up(&self.layout)?;
                    cleaned = true;
                }
                Err(error) if begin.elapsed() > LOCK_TIMEOUT => {
                    return Err(StoreError::Locked {
                        branch: branch.clone(),
                        path: lock.to_path_buf(),
                        source: Arc::new(error),
                    });
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// Makes the directories of a branch such as `node/rail-a`, durably.
    fn make_dirs(&self, directory: &Path) -> Result<(), StoreError> {
        let mut above = directory.to_path_buf();
        let heads = self.layout.directory.join("refs/heads");
        let mut missing = Vec::new();
        while above != heads && above.starts_with(&heads) {
            missing.push(above.clone());
            above.pop();
        }
        for path in missing.iter().rev() {
            make_dir(&*self.disk, path)?;
            sync_dir(&*self.disk, path.parent().unwrap_or(&heads))?;
        }
        Ok(())
    }

    fn loose(&self, name: &str) -> Result<Option<ObjectId>, StoreError> {
        let path = self.layout.directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => parse_loose(&path, &text).map(Some),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    fn packed(&self) -> Result<BTreeMap<String, ObjectId>, StoreError> {
        let path = self.layout.directory.join("packed-refs");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if absent(&error) => return Ok(BTreeMap::new()),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        // Comments, and the targets of annotated tags, are passed over.
        let lines = text.lines().filter(|line| !line.starts_with(['#', '^']));
        let refs = lines.map(|line| {
            let (id, name) = line.split_once(' ')?;
            Some((name.to_owned(), id.parse().ok()?))
        });
        refs.collect::<Option<_>>()
            .ok_or_else(|| malformed(&path, "a line is not \"<id> <ref>\""))
    }

    /// Refs under a prefix, without it.
    fn all(&self, prefix: &str) -> Result<BTreeMap<String, ObjectId>, StoreError> {
        let mut found: BTreeMap<String, ObjectId> = BTreeMap::new();
        for (name, id) in self.packed()? {
            found.extend(name.strip_prefix(prefix).map(|name| (name.to_owned(), id)));
        }
        let root = self.layout.directory.join(prefix);
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if absent(&error) => continue,
                Err(error) => return Err(StoreError::io("read", &directory, error)),
            };
            for entry in entries {
                let path = entry
                    .map_err(|error| StoreError::io("read", &directory, error))?
                    .path();
                let name = path
                    .strip_prefix(&root)
                    .ok()
                    .and_then(Path::to_str)
                    .map(str::to_owned);
                if path.is_dir() {
                    waiting.push(path);
                } else if let Some(name) =
                    name.filter(|name| !name.ends_with(".lock") && !name.ends_with("/HEAD"))
                    && let Some(id) = self.loose(&format!("{prefix}{name}"))?
                {
                    found.insert(name, id);
                }
            }
        }
        Ok(found)
    }
}

fn absent(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

fn parse_loose(path: &Path, text: &str) -> Result<ObjectId, StoreError> {
    text.trim_end()
        .parse()
        .map_err(|_| malformed(path, "not a commit id"))
}

fn malformed(path: &Path, detail: &str) -> StoreError {
    StoreError::Repository {
        path: path.to_path_buf(),
        detail: detail.to_owned(),
    }
}
