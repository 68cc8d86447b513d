//! The files of a repository: finding one, and making one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use crate::store::error::StoreError;

/// What a new repository is told. Writes of the real Git are as durable as ours; nothing but the store
/// decides when to collect garbage; a push can neither rewrite nor delete a branch, and what it brings is checked.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = false
\tfsync = committed
\tfsyncMethod = fsync
[gc]
\tauto = 0
[receive]
\tautogc = false
\tdenyNonFastForwards = true
\tdenyDeletes = true
[transfer]
\tfsckObjects = true
";

/// Where the parts of a repository are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What Git calls the common directory.
    pub directory: PathBuf,
}

impl Layout {
    /// The repository at `path`: a bare one, or the one of a working copy.
    pub fn find(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut directory = path.to_path_buf();
        let dot_git = path.join(".git");
        if dot_git.is_dir() {
            directory = dot_git;
        } else if let Ok(text) = fs::read_to_string(&dot_git) {
            let target = text.trim_end().strip_prefix("gitdir: ");
            directory = path.join(target.ok_or_else(|| malformed(&dot_git, "no gitdir in it"))?);
        }
        if let Ok(common) = fs::read_to_string(directory.join("commondir")) {
            directory = directory.join(common.trim_end());
        }
        let is_repository = directory.join("HEAD").is_file() && directory.join("objects").is_dir();
        let layout = Self { directory };
        if is_repository {
            layout.check_format()?;
        }
        Ok(is_repository.then_some(layout))
    }

    /// Makes a bare repository, durably, in a directory that does not exist or is empty.
    pub fn init(path: &Path, disk: &dyn Disk) -> Result<Self, StoreError> {
        let layout = Self {
            directory: path.to_path_buf(),
        };
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        make_dir(disk, path)?;
        for below in [
            "objects",
            "objects/info",
            "objects/pack",
            "refs",
            "refs/heads",
            "refs/tags",
        ] {
            make_dir(disk, &path.join(below))?;
        }
        make_dir(disk, &layout.work())?;
        let write = |from: &Path, text: &str, to: &Path| {
            if from.exists() {
                disk.remove(from)?;
            }
            let mut file = disk.create(from)?;
            file.write(text.as_bytes())?;
            file.sync()?;
            disk.rename(from, to)
        };
        // The file that makes it a repository comes last, and whole.
        for (name, text) in [("config", CONFIG), ("HEAD", "ref: refs/heads/main\n")] {
            let file = path.join(name);
            write(&layout.work().join(name), text, &file)
                .map_err(|error| StoreError::io("write", &file, error))?;
            for below in ["objects", "refs", ""] {
                sync_dir(disk, &path.join(below))?;
            }
        }
        sync_dir(disk, parent)?;
        Ok(layout)
    }

    /// Objects.
    pub fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    /// Packs and their indexes.
    pub fn packs(&self) -> PathBuf {
        self.directory.join("objects/pack")
    }

    /// Files on their way to their places.
    pub fn work(&self) -> PathBuf {
        self.directory.join("rail")
    }

    /// Ids of the commits whose parents were cut off.
    pub fn shallow(&self) -> PathBuf {
        self.directory.join("shallow")
    }

    /// Extensions change what files mean; the store knows none but the one that says that nothing has changed.
    fn check_format(&self) -> Result<(), StoreError> {
        let path = self.directory.join("config");
        let text =
            fs::read_to_string(&path).map_err(|error| StoreError::io("read", &path, error))?;
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').trim().to_ascii_lowercase();
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let (key, value) = (
                key.trim().to_ascii_lowercase(),
                value.trim().to_ascii_lowercase(),
            );
            let usual = match key.as_str() {
                "objectformat" => value == "sha1",
                "refstorage" => value == "files",
                "partialclone" => false,
                _ => true,
            };
            if section == "extensions" && !usual {
                return Err(malformed(
                    &path,
                    &format!("{key} = {value} is not supported"),
                ));
            }
        }
        Ok(())
    }
}

/// Makes a directory unless it is there, and its entry durable.
pub fn make_dir(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|error| StoreError::io("make directory", path, error)),
    }
}

/// Makes the entries of a directory durable.
pub fn sync_dir(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    disk.sync_dir(path)
        .map_err(|error| StoreError::io("flush", path, error))
}

fn malformed(path: &Path, detail: &str) -> StoreError {
    StoreError::Repository {
        path: path.to_path_buf(),
        detail: detail.to_owned(),
    }
}
