//! The object database of a repository: packs and loose objects, as Git and the store write them.
//!
//! Packs are read through open files, so a pack that Git or the maintenance removes stays readable until it
//! is forgotten here. What is not found is looked for once more after a look at the directory, so packs
//! written by other processes are seen.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::entry::{EntryKind, Header, Inflated, MAX_HEADER, MAX_OBJECT, apply_delta, inflate};
use super::index::Index;
use crate::store::error::StoreError;
use crate::store::object::{Kind, Object, ObjectId};

/// Deltas on deltas, at most, when reading: far more than anyone writes.
const MAX_CHAIN: usize = 5000;
/// What is read at once at the start of an entry, in bytes: most values and their compressed data.
const FIRST_READ: usize = 512;
/// Time stamps of directories are this coarse, with room to spare: a directory changed within this time before it
/// was read may have changed again since without showing it.
const STAMP: Duration = Duration::from_millis(100);
/// Object directories that refer to further ones: deeper than this is a loop.
const MAX_ALTERNATES: usize = 5;

/// A pack that is open for reading.
pub struct OpenPack {
    pub path: PathBuf,
    pub index: Index,
    file: File,
    length: u64,
}

/// See the module.
pub struct ObjectDatabase {
    directories: Vec<PathBuf>,
    packs: RwLock<Arc<Vec<Arc<OpenPack>>>>,
    /// When the pack directories were read last, and their time stamps then.
    read: Mutex<Vec<Option<(SystemTime, SystemTime)>>>,
}

impl ObjectDatabase {
    /// The database in `objects`, and in further directories that are only read.
    pub fn open(objects: &Path, further: &[PathBuf]) -> Result<Self, StoreError> {
        let mut directories = vec![objects.to_path_buf()];
        directories.extend_from_slice(further);
        add_alternates(&mut directories, objects, MAX_ALTERNATES);
        let read = Mutex::new(vec![None; directories.len()]);
        let database = Self {
            directories,
            packs: RwLock::default(),
            read,
        };
        database.refresh()?;
        Ok(database)
    }

    /// The object with this id.
    pub fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        let packs = self.packs();
        if let Some(object) = self.lookup(&packs, id)? {
            return Ok(Some(object));
        }
        self.refresh()?;
        let now = self.packs();
        // Somebody else may have looked, or added a pack, since the first attempt.
        if Arc::ptr_eq(&packs, &now) {
            self.lookup_loose(id)
        } else {
            self.lookup(&now, id)
        }
    }

    /// The open packs, newest first.
    pub fn packs(&self) -> Arc<Vec<Arc<OpenPack>>> {
        self.packs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in a pack that was just written.
    pub fn add(&self, path: PathBuf, index: Index) -> Result<(), StoreError> {
        let pack = match OpenPack::file(&path) {
            Ok((file, length)) => OpenPack {
                path,
                index,
                file,
                length,
            },
            // A reader found it first, and it was joined with others: they have its objects now.
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && self.has_all(&index)? =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        if packs.iter().all(|other| other.path != pack.path) {
            Arc::make_mut(&mut packs).insert(0, Arc::new(pack));
        }
        Ok(())
    }

    /// Whether all the objects of an index are found, in whatever packs there are now.
    fn has_all(&self, index: &Index) -> Result<bool, StoreError> {
        self.rescan()?;
        let packs = self.packs();
        let found = |id: &ObjectId| packs.iter().any(|pack| pack.index.find(id).is_some());
        Ok(index
            .iter()
            .all(|object| object.is_some_and(|object| found(&object.id))))
    }

    /// Forgets packs whose objects are elsewhere by now.
    pub fn forget(&self, gone: &[PathBuf]) {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut packs).retain(|pack| !gone.contains(&pack.path));
    }

    /// Looks for packs that came or went, if the directories may have changed.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for (directory, last) in self.directories.iter().zip(read.iter_mut()) {
            let directory = directory.join("pack");
            let changed = match fs::metadata(&directory).and_then(|metadata| metadata.modified()) {
                Ok(changed) => changed,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("read", &directory, error)),
            };
            if last.is_some_and(|(at, stamp)| stamp == changed && stamp + STAMP < at) {
                continue;
            }
            *last = Some((SystemTime::now(), changed));
            self.scan(&directory)?;
        }
        Ok(())
    }

    /// Looks for packs that came or went.
    pub fn rescan(&self) -> Result<(), StoreError> {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(None);
        self.refresh()
    }

    fn scan(&self, directory: &Path) -> Result<(), StoreError> {
        let known = self.packs();
        let mut found = Vec::new();
        let entries =
            fs::read_dir(directory).map_err(|error| StoreError::io("read", directory, error))?;
        for entry in entries {
            let path = entry
                .map_err(|error| StoreError::io("read", directory, error))?
                .path();
            if path.extension().is_some_and(|extension| extension == "idx") {
                found.push(path.with_extension("pack"));
            }
        }
        let mut new = Vec::new();
        for path in &found {
            if known.iter().all(|pack| pack.path != *path) {
                new.extend(OpenPack::open(path)?);
            }
        }
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        let here = |pack: &OpenPack| pack.path.parent() == Some(directory);
        // One that came in while the directory was being read is not to be forgotten.
        let gone =
            |pack: &OpenPack| here(pack) && !found.contains(&pack.path) && !pack.path.exists();
        new.retain(|pack| packs.iter().all(|other| other.path != pack.path));
        if !new.is_empty() || packs.iter().any(|pack| gone(pack)) {
            let packs = Arc::make_mut(&mut packs);
            packs.retain(|pack| !gone(pack));
            packs.extend(new.into_iter().map(Arc::new));
        }
        Ok(())
    }

    fn lookup(&self, packs: &[Arc<OpenPack>], id: &ObjectId) -> Result<Option<Object>, StoreError> {
        for pack in packs {
            if let Some(offset) = pack.index.find(id) {
                return pack
                    .read(id, offset, |base| self.lookup(packs, base))
                    .map(Some);
            }
        }
        self.lookup_loose(id)
    }

    fn lookup_loose(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        for directory in &self.directories {
            if let Some(object) = read_loose(directory, id)? {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }
}

impl OpenPack {
    /// Opens a pack with its index; `None` if either is gone.
    fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let index_path = path.with_extension("idx");
        let index = match fs::read(&index_path) {
            Ok(data) => Index::decode(data),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &index_path, error)),
        };
        let index = index.map_err(|detail| malformed(&index_path, detail))?;
        match Self::file(path) {
            Ok((file, length)) => Ok(Some(Self {
                path: path.to_path_buf(),
                index,
                file,
                length,
            })),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The file, and its size in bytes.
    fn file(path: &Path) -> Result<(File, u64), StoreError> {
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        open().map_err(|error| StoreError::io("open", path, error))
    }

    /// Size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `start` to `end`.
    pub fn bytes(&self, start: u64, end: u64) -> Result<Vec<u8>, StoreError> {
        let size = end
            .checked_sub(start)
            .and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or_else(|| malformed(&self.path, "its index points outside"))?;
        let mut data = vec![0; size];
        let read = self.file.read_exact_at(&mut data, start);
        read.map_err(|error| StoreError::io("read", &self.path, error))?;
        Ok(data)
    }

    /// The object at an offset. `other` finds the base of a delta that is not in this pack.
    fn read(
        &self,
        id: &ObjectId,
        mut offset: u64,
        other: impl Fn(&ObjectId) -> Result<Option<Object>, StoreError>,
    ) -> Result<Object, StoreError> {
        let wrong = |detail| malformed(&self.path, &format!("object {id}: {detail}"));
        let mut deltas = Vec::new();
        let (kind, mut data) = loop {
            let (header, data) = self.entry(offset).map_err(|error| match error {
                EntryError::Io(error) => StoreError::io("read", &self.path, error),
                EntryError::Malformed(detail) => wrong(detail),
            })?;
            if deltas.len() > MAX_CHAIN {
                return Err(wrong("too many deltas on deltas"));
            }
            match header.kind {
                EntryKind::Whole(kind) => break (kind, data),
                EntryKind::OffsetDelta(distance) => {
                    deltas.push(data);
                    offset = offset
                        .checked_sub(distance)
                        .filter(|_| distance > 0)
                        .ok_or_else(|| wrong("a delta's base is outside the pack"))?;
                }
                EntryKind::IdDelta(base) => {
                    deltas.push(data);
                    match self.index.find(&base) {
                        Some(base) => offset = base,
                        None => {
                            let base = other(&base)?.ok_or(StoreError::Missing(base))?;
                            break (base.kind, base.data.to_vec());
                        }
                    }
                }
            }
        };
        for delta in deltas.iter().rev() {
            data = apply_delta(&data, delta).map_err(wrong)?;
        }
        Ok(Object::new(kind, data))
    }

    /// The header and the decompressed data of the entry at an offset.
    fn entry(&self, offset: u64) -> Result<(Header, Vec<u8>), EntryError> {
        let mut buffer = vec![0; FIRST_READ];
        let mut length = self.read_at(&mut buffer, offset)?;
        let (header, start) = Header::decode(&buffer[..length.min(MAX_HEADER)])?;
        loop {
            match inflate(header.size, &buffer[start..length]) {
                Inflated::Done(data, _) => return Ok((header, data)),
                Inflated::Malformed => return Err("its data is malformed".into()),
                Inflated::CutOff if length < buffer.len() => {
                    return Err("the pack is cut off".into());
                }
                Inflated::CutOff => {
                    let needed = (header.size + FIRST_READ).max(2 * buffer.len());
                    buffer.resize(needed, 0);
                    length = self.read_at(&mut buffer, offset)?;
                }
            }
        }
    }

    /// Fills the buffer, or as much of it as there is.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut length = 0;
        while length < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[length..], offset + length as u64)
            {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }
}

enum EntryError {
    Io(io::Error),
    Malformed(&'static str),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<&'static str> for EntryError {
    fn from(detail: &'static str) -> Self {
        Self::Malformed(detail)
    }
}

/// An object in a file of its own, as Git writes it.
fn read_loose(directory: &Path, id: &ObjectId) -> Result<Option<Object>, StoreError> {
    let hex = id.to_string();
    let path = directory.join(&hex[..2]).join(&hex[2..]);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", &path, error)),
    };
    let mut data = Vec::new();
    let limit = (MAX_OBJECT + FIRST_READ) as u64;
    let read = io::Read::read_to_end(
        &mut io::Read::take(flate2::read::ZlibDecoder::new(file), limit),
        &mut data,
    );
    read.map_err(|error| StoreError::io("read", &path, error))?;
    let parse = || {
        let end = data.iter().take(32).position(|&byte| byte == 0)?;
        let (kind, size) = std::str::from_utf8(&data[..end]).ok()?.split_once(' ')?;
        let kind = [Kind::Blob, Kind::Tree, Kind::Commit]
            .into_iter()
            .find(|known| known.name() == kind)?;
        let content = &data[end + 1..];
        let size: usize = size.parse().ok()?;
        (content.len() == size).then(|| Object::new(kind, content))
    };
    parse()
        .map(Some)
        .ok_or_else(|| malformed(&path, "not an object of Git"))
}

fn add_alternates(directories: &mut Vec<PathBuf>, objects: &Path, depth: usize) {
    let text = fs::read_to_string(objects.join("info/alternates")).unwrap_or_default();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let directory = objects.join(line);
        if depth > 0 && !directories.contains(&directory) {
            directories.push(directory.clone());
            add_alternates(directories, &directory, depth - 1);
        }
    }
}

fn malformed(path: &Path, detail: &str) -> StoreError {
    StoreError::Repository {
        path: path.to_path_buf(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack::{Pack, PackBuilder};
    use super::*;
    use crate::store::backend::NewObject;

    fn blob(text: &str) -> NewObject {
        let object = Object {
            kind: Kind::Blob,
            data: text.as_bytes().into(),
        };
        NewObject {
            id: ObjectId::of(object.kind, &object.data),
            object,
            like: None,
        }
    }

    fn pack(texts: &[&str]) -> Pack {
        let mut builder = PackBuilder::new();
        texts.iter().for_each(|text| builder.add(&blob(text)));
        builder.finish()
    }

    #[test]
    fn a_pack_that_was_joined_before_it_was_added_is_no_loss() {
        let directory = tempfile::tempdir().unwrap();
        let packs = directory.path().join("pack");
        fs::create_dir(&packs).unwrap();
        let database = ObjectDatabase::open(directory.path(), &[]).unwrap();
        // Its objects are nowhere: an error, not a commit that was never written.
        let gone = packs.join("pack-gone.pack");
        let error = database.add(gone.clone(), pack(&["one"]).index);
        assert!(matches!(error, Err(StoreError::Io { .. })), "{error:?}");
        let joined = pack(&["one", "two"]);
        fs::write(packs.join("pack-joined.pack"), &joined.data).unwrap();
        fs::write(packs.join("pack-joined.idx"), joined.index.as_bytes()).unwrap();
        database.add(gone, pack(&["one"]).index).unwrap();
        for text in ["one", "two"] {
            let NewObject { id, object, .. } = blob(text);
            assert_eq!(database.get(&id).unwrap(), Some(object));
        }
    }
}
