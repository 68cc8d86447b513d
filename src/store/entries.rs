//! One directory: the decoded form of a Git tree object.
//!
//! The encoding is Git's: `"<octal mode> <name>\0<20-byte id>"` per entry, entries ordered by name,
//! where a directory's name is compared as if it ended in `/`. [`Entries`] keeps that order at all
//! times, so equal content encodes to equal bytes.

use std::cmp::Ordering;
use std::fmt;

use super::error::StoreError;
use super::object::{ID_LEN, Kind, ObjectId, Objects};

/// What kind of thing an entry names. The executable bit and links are kept as they came, for
/// the sake of people who commit with plain Git; the store itself writes files and directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    File,
    Executable,
    Link,
    Directory,
    /// A commit of another repository: nothing the store can read.
    Submodule,
}

impl Mode {
    const ALL: [(Self, &str); 5] = [
        (Self::File, "100644"),
        (Self::Executable, "100755"),
        (Self::Link, "120000"),
        (Self::Directory, "40000"),
        (Self::Submodule, "160000"),
    ];

    /// The octal digits of the encoding.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The kind of object the entry's id names.
    pub const fn kind(self) -> Kind {
        match self {
            Self::File | Self::Executable | Self::Link => Kind::Blob,
            Self::Directory => Kind::Tree,
            Self::Submodule => Kind::Commit,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, digits)| digits.as_bytes() == text)
            .map(|&(mode, _)| mode)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Box<str>,
    pub mode: Mode,
    pub id: ObjectId,
}

/// The entries of one directory, in Git's order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    list: Vec<Entry>,
}

impl Entries {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a tree object.
    pub fn load(objects: &dyn Objects, id: &ObjectId) -> Result<Self, StoreError> {
        Self::decode(&objects.expect(id, Kind::Tree)?).map_err(|detail| StoreError::Malformed {
            id: *id,
            expected: Kind::Tree,
            detail,
        })
    }

    /// Writes these entries as a tree object.
    pub fn store(&self, objects: &dyn Objects) -> Result<ObjectId, StoreError> {
        objects.put(Kind::Tree, &self.encode())
    }

    /// The entries in an encoded tree; the error says what is wrong with it.
    pub fn decode(mut data: &[u8]) -> Result<Self, String> {
        let mut list: Vec<Entry> = Vec::with_capacity(data.len() / 32);
        while !data.is_empty() {
            let (entry, rest) = decode_entry(data)?;
            if let Some(last) = list.last()
                && order(&last.name, last.mode, &entry.name, entry.mode) != Ordering::Less
            {
                return Err(format!("{:?} is out of order", entry.name));
            }
            list.push(entry);
            data = rest;
        }
        Ok(Self { list })
    }

    /// Git's canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let size = self
            .list
            .iter()
            .map(|entry| entry.name.len() + ID_LEN + 8)
            .sum();
        let mut data = Vec::with_capacity(size);
        for entry in &self.list {
            data.extend_from_slice(entry.mode.as_str().as_bytes());
            data.push(b' ');
            data.extend_from_slice(entry.name.as_bytes());
            data.push(0);
            data.extend_from_slice(entry.id.as_bytes());
        }
        data
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.position(name).map(|at| &self.list[at])
    }

    /// Adds the entry, or replaces the one of the same name.
    pub fn insert(&mut self, name: &str, mode: Mode, id: ObjectId) {
        if let Some(at) = self.position(name) {
            let same_place = (self.list[at].mode == Mode::Directory) == (mode == Mode::Directory);
            if same_place {
                self.list[at].mode = mode;
                self.list[at].id = id;
                return;
            }
            self.list.remove(at);
        }
        let entry = Entry {
            name: name.into(),
            mode,
            id,
        };
        match self.search(name, mode) {
            Ok(at) => self.list[at] = entry,
            Err(at) => self.list.insert(at, entry),
        }
    }

    /// Removes the entry of this name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        match self.position(name) {
            Some(at) => {
                self.list.remove(at);
                true
            }
            None => false,
        }
    }

    /// All entries in Git's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.list.iter()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A name stands in one of two places: as a file or as a directory.
    fn position(&self, name: &str) -> Option<usize> {
        self.search(name, Mode::File)
            .or_else(|_| self.search(name, Mode::Directory))
            .ok()
    }

    fn search(&self, name: &str, mode: Mode) -> Result<usize, usize> {
        self.list
            .binary_search_by(|entry| order(&entry.name, entry.mode, name, mode))
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Git's order of tree entries: bytes of the names, a directory's name followed by `/`.
pub fn order(left: &str, left_mode: Mode, right: &str, right_mode: Mode) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let common = left.len().min(right.len());
    left[..common].cmp(&right[..common]).then_with(|| {
        let next = |name: &[u8], mode| match name.get(common) {
            Some(&byte) => byte,
            None if mode == Mode::Directory => b'/',
            None => 0,
        };
        next(left, left_mode).cmp(&next(right, right_mode))
    })
}

fn decode_entry(data: &[u8]) -> Result<(Entry, &[u8]), String> {
    let space = data
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or("an entry has no mode")?;
    let mode = Mode::parse(&data[..space])
        .ok_or_else(|| format!("unknown mode {:?}", String::from_utf8_lossy(&data[..space])))?;
    let data = &data[space + 1..];
    let end = data
        .iter()
        .position(|&byte| byte == 0)
        .ok_or("an entry's name has no end")?;
    let name = std::str::from_utf8(&data[..end]).map_err(|_| {
        format!(
            "name {:?} is not UTF-8",
            String::from_utf8_lossy(&data[..end])
        )
    })?;
    if name.is_empty() || name.contains('/') {
        return Err(format!("{name:?} is no name"));
    }
    let (id, rest) = data[end + 1..]
        .split_at_checked(ID_LEN)
        .ok_or("an entry's id is cut off")?;
    let id = ObjectId::from_slice(id).ok_or("an entry's id is cut off")?;
    Ok((
        Entry {
            name: name.into(),
            mode,
            id,
        },
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ObjectId {
        ObjectId::of(Kind::Blob, text.as_bytes())
    }

    /// Git puts directory `a` after file `a.b`, because it compares `a/`.
    #[test]
    fn directories_sort_as_if_they_ended_in_a_slash() {
        let mut entries = Entries::new();
        entries.insert("a", Mode::Directory, id("1"));
        entries.insert("a0", Mode::File, id("2"));
        entries.insert("a.b", Mode::File, id("3"));
        let names: Vec<_> = entries.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["a.b", "a", "a0"]);
        assert_eq!(Entries::decode(&entries.encode()), Ok(entries));
    }

    #[test]
    fn a_name_stands_once_whatever_it_becomes() {
        let mut entries = Entries::new();
        for mode in [Mode::File, Mode::Directory, Mode::Executable] {
            entries.insert("a", mode, id("1"));
            entries.insert("a-b", Mode::File, id("2"));
            assert_eq!(entries.len(), 2);
            assert_eq!(entries.get("a").map(|entry| entry.mode), Some(mode));
        }
        assert!(entries.remove("a"));
        assert!(!entries.remove("a"));
    }

    #[test]
    fn malformed_trees_are_refused() {
        let mut twice = Vec::new();
        for _ in 0..2 {
            twice.extend_from_slice(b"100644 a\0");
            twice.extend_from_slice(id("1").as_bytes());
        }
        let check = |data: &[u8]| assert!(Entries::decode(data).is_err(), "{data:?}");
        check(&twice);
        check(b"100644");
        check(b"100600 a\0");
        check(b"100644 a");
        check(b"100644 a\0short");
        check(b"100644 \0aaaaaaaaaaaaaaaaaaaa");
        check(b"100644 a/b\0aaaaaaaaaaaaaaaaaaaa");
    }
}
