//! One directory: the decoded form of a Git tree object.
//!
//! The encoding is Git's: `"<octal mode> <name>\0<20-byte id>"` per entry, entries ordered by name,
//! where a directory's name is compared as if it ended in `/`. [`Entries`] keeps that order at all
//! times, so equal content encodes to equal bytes.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use super::error::StoreError;
use super::object::{EMPTY_TREE, ID_LEN, Kind, ObjectId, Objects};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub mode: Mode,
    pub id: ObjectId,
}

/// The entries of one directory, in Git's order, each name once. Held in encoded form: copying a
/// directory and changing one id in it, which is what a commit does, copies bytes and nothing else.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entries {
    data: Vec<u8>,
    /// Where each entry begins in `data`.
    starts: Vec<u32>,
}

impl Entries {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a tree object.
    pub fn load(objects: &dyn Objects, id: &ObjectId) -> Result<Self, StoreError> {
        match *id {
            EMPTY_TREE => Ok(Self::new()),
            _ => Self::decode_object(id, &objects.expect(id, Kind::Tree)?),
        }
    }

    /// The entries in the bytes of the tree object `id`.
    pub fn decode_object(id: &ObjectId, data: &[u8]) -> Result<Self, StoreError> {
        Self::decode(data).map_err(|detail| StoreError::Malformed {
            id: *id,
            expected: Kind::Tree,
            detail,
        })
    }

    /// Writes these entries as a tree object.
    pub fn store(&self, objects: &dyn Objects) -> Result<ObjectId, StoreError> {
        objects.put(Kind::Tree, self.encode())
    }

    /// The entries in an encoded tree; the error says what is wrong with it.
    pub fn decode(data: &[u8]) -> Result<Self, String> {
        if u32::try_from(data.len()).is_err() {
            return Err("it is larger than 4 GiB".to_owned());
        }
        let mut starts = Vec::with_capacity(data.len() / 32);
        let mut at = 0;
        let mut last: Option<Entry<'_>> = None;
        while at < data.len() {
            let (entry, length) = decode_entry(&data[at..])?;
            if let Some(last) = last
                && order(last.name, last.mode, entry.name, entry.mode) != Ordering::Less
            {
                return Err(format!("{:?} is out of order", entry.name));
            }
            starts.push(at as u32);
            last = Some(entry);
            at += length;
        }
        Ok(Self {
            data: data.to_vec(),
            starts,
        })
    }

    /// Git's canonical bytes.
    pub fn encode(&self) -> &[u8] {
        &self.data
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<Entry<'_>> {
        self.position(name).map(|at| self.at(at))
    }

    /// Adds the entry, or replaces the one of the same name. A name is not empty and has neither
    /// `/` nor NUL in it.
    pub fn insert(&mut self, name: &str, mode: Mode, id: ObjectId) {
        debug_assert!(!name.is_empty() && !name.contains(['/', '\0']), "{name:?}");
        if let Some(at) = self.position(name) {
            if self.at(at).mode == mode {
                let end = self.end(at);
                self.data[end - ID_LEN..end].copy_from_slice(id.as_bytes());
                return;
            }
            self.splice(at, 1, &[]);
        }
        let at = match self.search(name, mode) {
            Ok(at) | Err(at) => at,
        };
        let mut entry = Vec::with_capacity(name.len() + ID_LEN + 8);
        entry.extend_from_slice(mode.as_str().as_bytes());
        entry.push(b' ');
        entry.extend_from_slice(name.as_bytes());
        entry.push(0);
        entry.extend_from_slice(id.as_bytes());
        self.splice(at, 0, &entry);
    }

    /// Removes the entry of this name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let position = self.position(name);
        if let Some(at) = position {
            self.splice(at, 1, &[]);
        }
        position.is_some()
    }

    /// All entries in Git's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.len()).map(|at| self.at(at))
    }

    /// Names of entries that only one of the two has, or whose mode or id differs. Equal stretches
    /// are passed over as bytes.
    pub fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        let (mut left, mut right) = (0, 0);
        while left < self.len() && right < other.len() {
            if self.encoded(left) == other.encoded(right) {
                (left, right) = (left + 1, right + 1);
                continue;
            }
            let (ours, theirs) = (self.at(left), other.at(right));
            let order = order(ours.name, ours.mode, theirs.name, theirs.mode);
            if order != Ordering::Greater {
                names.insert(ours.name);
                left += 1;
            }
            if order != Ordering::Less {
                names.insert(theirs.name);
                right += 1;
            }
        }
        names.extend((left..self.len()).map(|at| self.at(at).name));
        names.extend((right..other.len()).map(|at| other.at(at).name));
        names
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn at(&self, index: usize) -> Entry<'_> {
        let (name, mode) = self.raw(index);
        let end = self.end(index);
        let id = ObjectId::from_slice(&self.data[end - ID_LEN..end]);
        Entry {
            name: std::str::from_utf8(name).unwrap_or_default(),
            mode,
            id: id.unwrap_or(ObjectId::new([0; ID_LEN])),
        }
    }

    /// Name and mode of an entry, without the checks `decode` has made.
    fn raw(&self, index: usize) -> (&[u8], Mode) {
        let entry = self.encoded(index);
        let digits = if entry[0] == b'4' { 5 } else { 6 };
        let mode = Mode::parse(&entry[..digits]).unwrap_or(Mode::File);
        (&entry[digits + 1..entry.len() - ID_LEN - 1], mode)
    }

    fn encoded(&self, index: usize) -> &[u8] {
        &self.data[self.starts[index] as usize..self.end(index)]
    }

    fn end(&self, index: usize) -> usize {
        self.starts
            .get(index + 1)
            .map_or(self.data.len(), |&start| start as usize)
    }

    /// Replaces `count` (0 or 1) entries at `index` by an encoded one, or by none.
    fn splice(&mut self, index: usize, count: usize, entry: &[u8]) {
        let start = self
            .starts
            .get(index)
            .map_or(self.data.len(), |&start| start as usize);
        let end = if count == 0 { start } else { self.end(index) };
        self.data.splice(start..end, entry.iter().copied());
        self.starts.drain(index..index + count);
        for later in &mut self.starts[index..] {
            *later = (*later as usize - (end - start) + entry.len()) as u32;
        }
        if !entry.is_empty() {
            self.starts.insert(index, start as u32);
        }
    }

    /// A name stands in one of two places: as a file or as a directory.
    fn position(&self, name: &str) -> Option<usize> {
        self.search(name, Mode::File)
            .or_else(|_| self.search(name, Mode::Directory))
            .ok()
    }

    fn search(&self, name: &str, mode: Mode) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let (other, other_mode) = self.raw(middle);
            match order_bytes(other, other_mode, name.as_bytes(), mode) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Git's order of tree entries: bytes of the names, a directory's name followed by `/`.
pub fn order(left: &str, left_mode: Mode, right: &str, right_mode: Mode) -> Ordering {
    order_bytes(left.as_bytes(), left_mode, right.as_bytes(), right_mode)
}

fn order_bytes(left: &[u8], left_mode: Mode, right: &[u8], right_mode: Mode) -> Ordering {
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

/// The entry at the start of `data`, and how long its encoding is.
fn decode_entry(data: &[u8]) -> Result<(Entry<'_>, usize), String> {
    let space = data
        .iter()
        .position(|&byte| byte == b' ')
        .ok_or("an entry has no mode")?;
    let mode = Mode::parse(&data[..space])
        .ok_or_else(|| format!("unknown mode {:?}", String::from_utf8_lossy(&data[..space])))?;
    let text = &data[space + 1..];
    let end = text
        .iter()
        .position(|&byte| byte == 0)
        .ok_or("an entry's name has no end")?;
    let name = std::str::from_utf8(&text[..end]).map_err(|_| {
        format!(
            "name {:?} is not UTF-8",
            String::from_utf8_lossy(&text[..end])
        )
    })?;
    if name.is_empty() || name.contains('/') {
        return Err(format!("{name:?} is no name"));
    }
    let id = text[end + 1..].get(..ID_LEN).and_then(ObjectId::from_slice);
    let id = id.ok_or("an entry's id is cut off")?;
    Ok((Entry { name, mode, id }, space + 1 + end + 1 + ID_LEN))
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
        let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a.b", "a", "a0"]);
        assert_eq!(Entries::decode(entries.encode()), Ok(entries));
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
