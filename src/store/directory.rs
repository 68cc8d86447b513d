//! A directory as the store sees it: entries, and beside them the types of those that are not plain.
//!
//! The types stand in a blob named `.types` in the same directory, one line per typed value:
//! `"<tag> <name>\n"`, in name order. A directory of plain values has no such blob. So
//! `git show main:node/.types` reads them, `git diff` shows a change of type, and a value edited with plain
//! Git keeps its type. Lines that name no entry mean nothing, and are dropped when the directory is
//! next written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::commit::Commit;
use super::entries::{Entries, Mode};
use super::error::StoreError;
use super::object::{Kind, MemoryObjects, ObjectId, Objects};
use super::path::{Path, TYPES_NAME};
use super::types::TypeTag;

/// Objects, and decoded views of them that an implementation may keep at hand.
pub trait Source: Objects {
    /// The directory a tree object holds.
    fn directory(&self, id: &ObjectId) -> Result<Arc<Directory>, StoreError>;

    /// A commit. Where history was cut, the commits on the boundary have no parents here.
    fn commit(&self, id: &ObjectId) -> Result<Arc<Commit>, StoreError>;

    /// Keeps a tree that was made by changing a few entries of `like`.
    fn put_tree(&self, data: &[u8], _like: Option<&ObjectId>) -> Result<ObjectId, StoreError> {
        self.put(Kind::Tree, data)
    }
}

/// What an entry of a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Another directory.
    Directory(ObjectId),
    /// A value of some type: a blob, or a tree-shaped value.
    Value(ValueId),
}

/// The identity of a value: equal identities are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueId {
    pub tag: TypeTag,
    pub mode: Mode,
    pub id: ObjectId,
}

/// One directory, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: Entries,
    /// Tags of entries that are not plain. Shared, since most changes leave it alone.
    types: Arc<BTreeMap<Box<str>, TypeTag>>,
    /// The object that holds `types`, if that is up to date.
    types_id: Option<ObjectId>,
}

impl Directory {
    /// Nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the tree object and its `.types`.
    pub fn load(objects: &dyn Objects, id: &ObjectId) -> Result<Self, StoreError> {
        let entries = Entries::load(objects, id)?;
        let Some(entry) = entries.get(TYPES_NAME) else {
            return Ok(Self {
                entries,
                ..Self::default()
            });
        };
        let text = objects.expect(&entry.id, Kind::Blob)?;
        let mut types = parse_types(&text).map_err(|line| StoreError::Malformed {
            id: entry.id,
            expected: Kind::Blob,
            detail: format!("line {line} of .types is not \"<type> <name>\""),
        })?;
        types.retain(|name, _| &**name != TYPES_NAME && entries.get(name).is_some());
        let mut directory = Self {
            types: Arc::new(types),
            types_id: Some(entry.id),
            ..Self::default()
        };
        if entry.mode != Mode::File || directory.types_text().as_bytes() != &*text {
            directory.types_id = None;
        }
        directory.entries = entries;
        Ok(directory)
    }

    /// Writes the tree object, and `.types` if needed. `like` is the tree this one was made from.
    pub fn store(
        &mut self,
        source: &dyn Source,
        like: Option<&ObjectId>,
    ) -> Result<ObjectId, StoreError> {
        if self.types_id.is_none() {
            let types = self.types_text();
            if types.is_empty() {
                self.entries.remove(TYPES_NAME);
            } else {
                let id = source.put(Kind::Blob, types.as_bytes())?;
                self.entries.insert(TYPES_NAME, Mode::File, id);
                self.types_id = Some(id);
            }
        }
        source.put_tree(self.entries.encode(), like)
    }

    /// What stands under this name.
    pub fn get(&self, name: &str) -> Option<Slot> {
        if name == TYPES_NAME {
            return None;
        }
        let entry = self.entries.get(name)?;
        Some(self.slot(name, entry.mode, entry.id))
    }

    /// Puts a value or a directory under this name.
    pub fn insert(&mut self, name: &str, slot: &Slot) {
        match slot {
            Slot::Directory(id) => {
                self.entries.insert(name, Mode::Directory, *id);
                self.set_tag(name, None);
            }
            Slot::Value(value) => {
                self.entries.insert(name, value.mode, value.id);
                self.set_tag(name, Some(&value.tag).filter(|tag| !tag.is_plain()));
            }
        }
    }

    /// Removes the entry of this name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.set_tag(name, None);
        name != TYPES_NAME && self.entries.remove(name)
    }

    /// Names and what stands under them, in Git's order; `.types` is not among them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Slot)> {
        self.entries
            .iter()
            .filter(|entry| entry.name != TYPES_NAME)
            .map(|entry| (entry.name, self.slot(entry.name, entry.mode, entry.id)))
    }

    /// Names whose entry or type is not the same in both directories, a superset in rare cases. Costs
    /// one pass over the encoded entries.
    pub fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let mut names = self.entries.differing(&other.entries);
        if self.types_id.is_none() || self.types_id != other.types_id {
            names.extend(differing_types(&self.types, &other.types));
            names.extend(differing_types(&other.types, &self.types));
        }
        names.remove(TYPES_NAME);
        names
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        let types = usize::from(self.entries.get(TYPES_NAME).is_some());
        self.entries.len() == types
    }

    /// Bytes this holds, roughly: what a cache has to reckon with.
    pub fn size(&self) -> usize {
        2 * self.entries.encode().len() + 64 * self.types.len()
    }

    /// The canonical content of `.types`.
    fn types_text(&self) -> String {
        self.types
            .iter()
            .map(|(name, tag)| format!("{tag} {name}\n"))
            .collect()
    }

    fn slot(&self, name: &str, mode: Mode, id: ObjectId) -> Slot {
        let tag = if self.types.is_empty() {
            None
        } else {
            self.types.get(name)
        };
        match (mode, tag) {
            (Mode::Directory, None) => Slot::Directory(id),
            (mode, tag) => Slot::Value(ValueId {
                tag: tag.cloned().unwrap_or_else(TypeTag::plain),
                mode,
                id,
            }),
        }
    }

    fn set_tag(&mut self, name: &str, tag: Option<&TypeTag>) {
        if self.types.get(name) == tag {
            return;
        }
        let types = Arc::make_mut(&mut self.types);
        match tag {
            Some(tag) => types.insert(name.into(), tag.clone()),
            None => types.remove(name),
        };
        self.types_id = None;
    }
}

/// What stands at a path of a stored tree; the root is the directory itself.
pub fn slot_at(
    source: &dyn Source,
    tree: &ObjectId,
    path: &Path,
) -> Result<Option<Slot>, StoreError> {
    let mut slot = Slot::Directory(*tree);
    for name in path.segments() {
        let Slot::Directory(id) = slot else {
            return Ok(None);
        };
        match source.directory(&id)?.get(name) {
            Some(found) => slot = found,
            None => return Ok(None),
        }
    }
    Ok(Some(slot))
}

impl Source for MemoryObjects {
    fn directory(&self, id: &ObjectId) -> Result<Arc<Directory>, StoreError> {
        Directory::load(self, id).map(Arc::new)
    }

    fn commit(&self, id: &ObjectId) -> Result<Arc<Commit>, StoreError> {
        Commit::load(self, id).map(Arc::new)
    }
}

/// Names that have another type, or none, among `others`.
fn differing_types<'a>(
    types: &'a BTreeMap<Box<str>, TypeTag>,
    others: &BTreeMap<Box<str>, TypeTag>,
) -> impl Iterator<Item = &'a str> {
    types
        .iter()
        .filter(|(name, tag)| others.get(*name) != Some(tag))
        .map(|(name, _)| &**name)
}

/// The error is the number of the line that is malformed.
fn parse_types(text: &[u8]) -> Result<BTreeMap<Box<str>, TypeTag>, usize> {
    let text = std::str::from_utf8(text).map_err(|_| 1_usize)?;
    let mut types = BTreeMap::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let (tag, name) = line.split_once(' ').ok_or(number)?;
        let tag: TypeTag = tag.parse().map_err(|_| number)?;
        if !tag.is_plain() {
            types.insert(name.into(), tag);
        }
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(objects: &MemoryObjects, tag: &str, text: &str) -> Slot {
        let id = objects.put(Kind::Blob, text.as_bytes()).unwrap();
        Slot::Value(ValueId {
            tag: tag.parse().unwrap(),
            mode: Mode::File,
            id,
        })
    }

    #[test]
    fn types_stand_beside_the_values() {
        let objects = MemoryObjects::new();
        let mut directory = Directory::new();
        let hits = value(&objects, "counter", "3");
        directory.insert("hits", &hits);
        directory.insert("name", &value(&objects, "plain", "web"));
        let id = directory.store(&objects, None).unwrap();

        let entries = Entries::load(&objects, &id).unwrap();
        let types = entries.get(TYPES_NAME).map(|entry| entry.id).unwrap();
        assert_eq!(
            &*objects.expect(&types, Kind::Blob).unwrap(),
            b"counter hits\n"
        );

        let read = Directory::load(&objects, &id).unwrap();
        assert_eq!(read.get("hits"), Some(hits));
        assert_eq!(
            read.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["hits", "name"]
        );
        assert_eq!(read, directory);
    }

    #[test]
    fn a_directory_of_plain_values_has_no_types() {
        let objects = MemoryObjects::new();
        let mut directory = Directory::new();
        directory.insert("a", &value(&objects, "plain", "x"));
        let plain = directory.store(&objects, None).unwrap();
        directory.insert("a", &value(&objects, "counter", "x"));
        assert_ne!(directory.store(&objects, None).unwrap(), plain);
        directory.insert("a", &value(&objects, "plain", "x"));
        assert_eq!(directory.store(&objects, None).unwrap(), plain);
    }

    /// Someone removed a typed value with plain Git and left its line behind.
    #[test]
    fn a_stale_line_is_dropped_at_the_next_write() {
        let objects = MemoryObjects::new();
        let mut directory = Directory::new();
        directory.insert("hits", &value(&objects, "counter", "3"));
        let clean = directory.store(&objects, None).unwrap();
        let mut entries = Entries::load(&objects, &clean).unwrap();
        let types = objects
            .put(Kind::Blob, b"counter gone\ncounter hits\n")
            .unwrap();
        entries.insert(TYPES_NAME, Mode::File, types);
        let stale = entries.store(&objects).unwrap();
        assert_ne!(stale, clean);
        let mut read = Directory::load(&objects, &stale).unwrap();
        assert!(read.differing(&directory).is_empty());
        assert_eq!(read.store(&objects, None).unwrap(), clean);
    }

    #[test]
    fn malformed_types_name_their_line() {
        assert_eq!(parse_types(b"counter a\nwhat?\n"), Err(2));
        assert_eq!(parse_types(b"counter\n"), Err(1));
        assert_eq!(parse_types(b"plain a\n"), Ok(BTreeMap::new()));
    }
}
