//! Heads that were read, as long as the files they were read from stay what they were.
//!
//! A ref's file is never written in place, only replaced, so that its inode, size and times tell whether it is still
//! the same one. Times are as coarse as the kernel's clock tick: a file as young as that when it was read may have been
//! replaced since by one that looks alike, so only what was read from older files is kept (Git calls younger ones
//! racy).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::object::ObjectId;
use crate::store::path::BranchName;

/// Several ticks of the slowest kernel clock.
const SETTLED: Duration = Duration::from_millis(100);
/// Branches remembered; beyond it all are forgotten.
const MOST: usize = 4096;

/// What tells whether the files of a ref are still those that were read.
#[derive(Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The ref's own file.
    loose: Option<FileStamp>,
    /// `packed-refs`, looked at only if there is no file of its own.
    packed: Option<FileStamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        let data = fs::symlink_metadata(path)
            .ok()
            .filter(fs::Metadata::is_file)?;
        Some(Self {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: Duration) -> bool {
        let (seconds, nanos) = self.changed;
        let changed = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
        changed.is_some_and(|(seconds, nanos)| Duration::new(seconds, nanos) + SETTLED < now)
    }
}

impl Stamp {
    /// The files as they are now.
    pub fn of(loose: &Path, packed: &Path) -> Self {
        let loose = FileStamp::of(loose);
        let packed = match loose {
            Some(_) => None,
            None => FileStamp::of(packed),
        };
        Self { loose, packed }
    }

    /// Whether a later change of the files is sure to show.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let file = self.loose.or(self.packed);
        file.zip(now.ok())
            .is_some_and(|(file, now)| file.is_settled(now))
    }
}

/// See the module.
#[derive(Default)]
pub struct Seen {
    heads: RwLock<HashMap<BranchName, (Stamp, Option<ObjectId>)>>,
}

impl Seen {
    /// The head that was read when the files had this stamp.
    pub fn get(&self, branch: &BranchName, stamp: &Stamp) -> Option<Option<ObjectId>> {
        let heads = self.heads.read().unwrap_or_else(PoisonError::into_inner);
        let (seen, head) = heads.get(branch)?;
        (seen == stamp).then_some(*head)
    }

    /// Remembers what was read after the stamp was taken.
    pub fn keep(&self, branch: &BranchName, stamp: Stamp, head: Option<ObjectId>) {
        if !stamp.is_settled() {
            return;
        }
        let mut heads = self.heads.write().unwrap_or_else(PoisonError::into_inner);
        if heads.len() >= MOST {
            heads.clear();
        }
        heads.insert(branch.clone(), (stamp, head));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_settled_is_kept_and_a_new_file_shows() {
        let dir = tempfile::tempdir().unwrap();
        let [loose, packed, new] = ["main", "packed-refs", "new"].map(|name| dir.path().join(name));
        let (seen, branch) = (Seen::default(), BranchName::main());
        let stamp = || Stamp::of(&loose, &packed);
        let head = Some(ObjectId::new([1; 20]));
        fs::write(&loose, "1").unwrap();
        seen.keep(&branch, stamp(), head);
        assert_eq!(seen.get(&branch, &stamp()), None, "too young");
        let written = SystemTime::now();
        while written.elapsed().unwrap() <= SETTLED {
            std::thread::sleep(SETTLED);
        }
        seen.keep(&branch, stamp(), head);
        assert_eq!(seen.get(&branch, &stamp()), Some(head));
        // Replaced by one of the same size.
        fs::write(&new, "2").unwrap();
        fs::rename(&new, &loose).unwrap();
        assert_eq!(seen.get(&branch, &stamp()), None);
        // Gone from its own file, there in the packed one.
        fs::remove_file(&loose).unwrap();
        assert_eq!(seen.get(&branch, &stamp()), None);
    }
}
