//! Objects of a repository, read and durably written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::disk::Disk;
use super::layout::{Layout, sync_dir};
use super::maintain;
use super::odb::ObjectDatabase;
use super::pack::{Pack, PackBuilder};
use super::work::Work;
use crate::store::backend::NewObject;
use crate::store::error::StoreError;

/// The part of a repository that is shared with the thread that keeps it tidy.
pub struct Repository {
    pub layout: Layout,
    pub objects: ObjectDatabase,
    pub disk: Arc<dyn Disk>,
    /// Made at the first write: reading leaves no trace.
    work: OnceLock<Work>,
    /// Held while packs are taken away.
    tidying: Mutex<()>,
}

impl Repository {
    /// A repository that exists.
    pub fn open(
        layout: Layout,
        further: &[PathBuf],
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        let objects = ObjectDatabase::open(&layout.objects(), further)?;
        Ok(Self {
            layout,
            objects,
            disk,
            work: OnceLock::new(),
            tidying: Mutex::new(()),
        })
    }

    /// This process's temporary files.
    pub fn work(&self) -> Result<&Work, StoreError> {
        if let Some(work) = self.work.get() {
            return Ok(work);
        }
        let work = Work::begin(&self.layout, self.disk.clone())?;
        Ok(self.work.get_or_init(|| work))
    }

    /// Writes objects, durably.
    pub fn write(&self, objects: &[NewObject]) -> Result<(), StoreError> {
        let mut builder = PackBuilder::new();
        objects.iter().for_each(|object| builder.add(object));
        self.write_pack(builder.finish())
    }

    /// Joins small packs while there are many; says how many it has joined.
    pub fn tidy(&self) -> Result<usize, StoreError> {
        let mut joined = 0;
        loop {
            let _tidying = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
            if maintain::git_is_busy(&self.layout.directory) {
                return Ok(joined);
            }
            let chosen = maintain::choose(&self.objects.packs(), &self.layout.packs());
            if chosen.is_empty() {
                return Ok(joined);
            }
            let pack = maintain::join(&chosen)?;
            let new = self.pack_path(&pack);
            self.write_pack(pack)?;
            let old: Vec<_> = chosen
                .iter()
                .map(|pack| pack.path.clone())
                .filter(|path| *path != new)
                .collect();
            self.objects.forget(&old);
            maintain::remove(&*self.disk, &old)?;
            joined += old.len();
        }
    }

    /// Runs `work` while nothing here takes packs away.
    pub fn undisturbed<T>(&self, work: impl FnOnce() -> T) -> T {
        let _tidying = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Puts a file in place under Git's lock for it, durably.
    pub fn replace(&self, path: &Path, data: &[u8]) -> Result<(), StoreError> {
        let work = self.work()?;
        let text = work.write("file", data)?;
        let lock = path.with_extension("lock");
        let replace = || {
            self.disk.link(&text, &lock)?;
            self.disk
                .rename(&lock, path)
                .inspect_err(|_| work.remove(&lock))?;
            self.disk.sync_dir(&self.layout.directory)
        };
        let result = replace().map_err(|error| StoreError::io("write", path, error));
        work.remove(&text);
        result
    }

    fn pack_path(&self, pack: &Pack) -> PathBuf {
        self.layout
            .packs()
            .join(format!("pack-{}.pack", pack.checksum))
    }

    /// Pack, index, directory: each is on disk before the next one.
    fn write_pack(&self, pack: Pack) -> Result<(), StoreError> {
        let (work, path) = (self.work()?, self.pack_path(&pack));
        let data = work.write("pack", &pack.data)?;
        let index = work
            .write("idx", pack.index.as_bytes())
            .inspect_err(|_| work.remove(&data))?;
        // Git takes notice of a pack when it sees the index: that comes last.
        for (from, to) in [(&data, path.clone()), (&index, path.with_extension("idx"))] {
            self.disk.rename(from, &to).map_err(|error| {
                work.remove(&data);
                work.remove(&index);
                StoreError::io("write", &to, error)
            })?;
        }
        sync_dir(&*self.disk, &self.layout.packs())?;
        self.objects.add(path, pack.index)
    }
}
