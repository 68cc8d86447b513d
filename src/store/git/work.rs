//! Files on their way to their places, and cleaning up after processes that died.
//!
//! Every process that writes has a *claim*: a file `<name>.claim` that it keeps locked as long as it lives, and the prefix `<name>-`
//! for its temporary files. So whoever finds a claim that is not locked may remove everything that goes with it.
//!
//! A ref's lock file is made as a second name of such a temporary file. Git creates lock files
//! too, and one left behind would block the branch for ever; by the shared inode ours are told from others.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::disk::Disk;
use super::layout::{Layout, make_dir};
use crate::store::error::StoreError;

const CLAIM: &str = "claim";

/// This process's claim on a repository.
pub struct Work {
    directory: PathBuf,
    name: String,
    /// Open, and locked, until this is dropped.
    _claim: File,
    next: AtomicU64,
    disk: Arc<dyn Disk>,
}

impl Work {
    /// Makes a claim, and cleans up after dead ones.
    pub fn begin(layout: &Layout, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let directory = layout.work();
        make_dir(&*disk, &directory)?;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{}-{:x}", std::process::id(), since.as_nanos());
        let path = directory.join(&name).with_extension(CLAIM);
        let claim = make_claim(&path).map_err(|error| StoreError::io("make", &path, error))?;
        let work = Self {
            directory,
            name,
            _claim: claim,
            next: AtomicU64::new(0),
            disk,
        };
        work.clean_up(layout)?;
        Ok(work)
    }

    /// A path for a new temporary file.
    pub fn path(&self, extension: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.directory
            .join(format!("{}-{number}.{extension}", self.name))
    }

    /// Writes a temporary file and flushes it.
    pub fn write(&self, extension: &str, data: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.path(extension);
        let write = || {
            let mut file = self.disk.create(&path)?;
            file.write(data)?;
            file.sync()
        };
        match write() {
            Ok(()) => Ok(path),
            Err(error) => {
                self.remove(&path);
                Err(StoreError::io("write", &path, error))
            }
        }
    }

    /// Removes a temporary file that may not be there. What cannot be removed now is removed when this
    /// process is gone.
    pub fn remove(&self, path: &Path) {
        let _ = self.disk.remove(path);
    }

    /// Removes what dead processes left behind: their temporary files, and the locks they held on refs.
    pub fn clean_up(&self, layout: &Layout) -> Result<(), StoreError> {
        let files = list(&self.directory)?;
        let mut dead: Vec<&PathBuf> = Vec::new();
        let mut claims = Vec::new();
        for claim in files
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == CLAIM))
        {
            let prefix = claim.with_extension("");
            if prefix != self.directory.join(&self.name) && is_dead(claim) {
                let prefix = format!("{}-", prefix.display());
                dead.extend(
                    files
                        .iter()
                        .filter(|path| path.display().to_string().starts_with(&prefix)),
                );
                claims.push(claim);
            }
        }
        let boot = boot_time();
        // A power cut can keep a temporary file and lose the claim it goes with.
        dead.extend(
            files
                .iter()
                .filter(|path| older_than(path, boot) && !dead.contains(path))
                .collect::<Vec<_>>(),
        );
        let inodes: Vec<u64> = dead.iter().filter_map(|path| inode(path)).collect();
        for lock in locks(&layout.directory.join("refs"))? {
            if inode(&lock).is_some_and(|inode| inodes.contains(&inode)) || older_than(&lock, boot)
            {
                self.remove(&lock);
            }
        }
        dead.iter()
            .chain(&claims)
            .for_each(|path| self.remove(path));
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.remove(&self.directory.join(&self.name).with_extension(CLAIM));
    }
}

/// Makes and locks a claim. Between the two it looks dead, and somebody may have removed it. It is not
/// kept open for writing, so that an administrator can make the file system read-only under it.
fn make_claim(path: &Path) -> io::Result<File> {
    loop {
        File::create_new(path)?;
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        file.lock()?;
        if inode(path) == Some(file.metadata()?.ino()) {
            return Ok(file);
        }
    }
}

/// Whether nobody holds the lock on a claim.
fn is_dead(claim: &Path) -> bool {
    match File::open(claim) {
        Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Lock files at or below a directory of refs.
fn locks(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for path in list(directory)? {
        if path.is_dir() {
            found.extend(locks(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "lock")
        {
            found.push(path);
        }
    }
    Ok(found)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| StoreError::io("read", directory, error)),
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| metadata.ino())
}

/// Whether a file was last written before the machine started: whoever did is gone.
fn older_than(path: &Path, boot: Option<SystemTime>) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    matches!((modified, boot), (Ok(modified), Some(boot)) if modified < boot)
}

fn boot_time() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds.trim().parse().ok()?))
}
