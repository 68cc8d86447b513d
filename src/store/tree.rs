//! A tree of paths, to read and to edit. Editing changes this copy alone, and only in memory, until
//! [`Tree::write`] makes objects of the directories that were touched.

use std::collections::BTreeMap;

use super::directory::{Directory, Slot, Source, ValueId};
use super::error::StoreError;
use super::merge::{Content, Value};
use super::object::{EMPTY_TREE, ObjectId};
use super::path::Path;
use super::types::TypeTag;

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub tag: TypeTag,
    pub content: Content,
}

impl Leaf {
    /// A plain value of these bytes.
    pub fn plain(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            tag: TypeTag::plain(),
            content: Content::blob(bytes.as_ref()),
        }
    }

    /// The bytes, if the value is a blob.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.content.as_blob()
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    /// The type of the value, or `None` for a directory.
    pub tag: Option<TypeTag>,
}

/// A tree. Cloning is cheap unless it holds many edits that were not written.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Stored(ObjectId),
    Open(Box<Open>),
}

/// A directory being edited. Every child stands in `directory` too, with an id that is only
/// right again after a write; apart from the root, no open directory is empty.
#[derive(Clone, Debug, Default)]
struct Open {
    directory: Directory,
    children: BTreeMap<Box<str>, Open>,
    from: Option<ObjectId>,
}

/// What stands at a path.
enum Found<'a> {
    Nothing,
    Value(ValueId),
    Stored(ObjectId),
    Open(&'a Open),
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// Nothing in it.
    pub fn new() -> Self {
        Self {
            root: Node::Open(Box::default()),
        }
    }

    /// The tree a tree object holds.
    pub fn at(id: ObjectId) -> Self {
        Self {
            root: Node::Stored(id),
        }
    }

    /// The value at a path, or `None` if there is none.
    pub fn get(&self, source: &dyn Source, path: &Path) -> Result<Option<Leaf>, StoreError> {
        let Some(value) = self.value_id(source, path)? else {
            return Ok(None);
        };
        let content = Content::load(source, value.mode, &value.id)?;
        Ok(Some(Leaf {
            tag: value.tag,
            content,
        }))
    }

    /// The value at a path as a Rust type; an error if it is of another type.
    pub fn read<T: Value>(
        &self,
        source: &dyn Source,
        path: &Path,
    ) -> Result<Option<T>, StoreError> {
        let Some(leaf) = self.get(source, path)? else {
            return Ok(None);
        };
        if leaf.tag != T::tag() {
            let (expected, found) = (T::tag(), leaf.tag);
            return Err(StoreError::OtherType {
                path: path.clone(),
                expected,
                found,
            });
        }
        T::read(source, &leaf.content).map(Some)
    }

    /// The identity of the value at a path: enough to tell whether it changed.
    pub fn value_id(
        &self,
        source: &dyn Source,
        path: &Path,
    ) -> Result<Option<ValueId>, StoreError> {
        Ok(match self.find(source, path)? {
            Found::Value(value) => Some(value),
            _ => None,
        })
    }

    /// What is in a directory, by name; `None` if the path is not a directory. The root always is one.
    pub fn list(&self, source: &dyn Source, path: &Path) -> Result<Option<Vec<Item>>, StoreError> {
        let items = |directory: &Directory| {
            let mut items: Vec<Item> = directory
                .iter()
                .map(|(name, slot)| Item {
                    name: name.to_owned(),
                    tag: match slot {
                        Slot::Directory(_) => None,
                        Slot::Value(value) => Some(value.tag),
                    },
                })
                .collect();
            items.sort_by(|left, right| left.name.cmp(&right.name));
            items
        };
        Ok(match self.find(source, path)? {
            Found::Open(open) => Some(items(&open.directory)),
            Found::Stored(id) => Some(items(&*source.directory(&id)?)),
            Found::Nothing | Found::Value(_) => None,
        })
    }

    /// The directory at a path as a tree of its own.
    pub fn find_tree(&self, source: &dyn Source, path: &Path) -> Result<Option<Self>, StoreError> {
        Ok(match self.find(source, path)? {
            Found::Stored(id) => Some(Self::at(id)),
            Found::Open(open) => Some(Self {
                root: Node::Open(Box::new(open.clone())),
            }),
            Found::Nothing | Found::Value(_) => None,
        })
    }

    /// Writes a value, making the directories above it.
    pub fn set(&mut self, source: &dyn Source, path: &Path, leaf: &Leaf) -> Result<(), StoreError> {
        let (mode, id) = (leaf.content.mode(), leaf.content.store(source)?);
        self.set_id(
            source,
            path,
            ValueId {
                tag: leaf.tag.clone(),
                mode,
                id,
            },
        )
    }

    /// Writes a value whose objects are in `source` already.
    pub fn set_id(
        &mut self,
        source: &dyn Source,
        path: &Path,
        value: ValueId,
    ) -> Result<(), StoreError> {
        let Some((parent, name)) = path.split_last() else {
            return Err(StoreError::IsADirectory(path.clone()));
        };
        if matches!(self.find(source, path)?, Found::Stored(_) | Found::Open(_)) {
            return Err(StoreError::IsADirectory(path.clone()));
        }
        self.check_directories(source, path)?;
        self.open(source, &parent)?
            .directory
            .insert(name, &Slot::Value(value));
        Ok(())
    }

    /// Writes a value of a Rust type.
    pub fn write_value<T: Value>(
        &mut self,
        source: &dyn Source,
        path: &Path,
        value: &T,
    ) -> Result<(), StoreError> {
        let leaf = Leaf {
            tag: T::tag(),
            content: value.write(source)?,
        };
        self.set(source, path, &leaf)
    }

    /// Puts a whole tree at a path, in place of whatever stands there; an empty one removes it.
    pub fn set_tree(
        &mut self,
        source: &dyn Source,
        path: &Path,
        tree: &Self,
    ) -> Result<(), StoreError> {
        let id = tree.clone().write(source)?;
        self.set_tree_id(source, path, id)
    }

    /// Puts a tree whose objects are in `source` already at a path.
    pub fn set_tree_id(
        &mut self,
        source: &dyn Source,
        path: &Path,
        id: ObjectId,
    ) -> Result<(), StoreError> {
        let Some((parent, name)) = path.split_last() else {
            self.root = Node::Stored(id);
            return Ok(());
        };
        if source.directory(&id)?.is_empty() {
            self.remove(source, path)?;
            return Ok(());
        }
        self.check_directories(source, path)?;
        let parent = self.open(source, &parent)?;
        parent.children.remove(name);
        parent.directory.insert(name, &Slot::Directory(id));
        Ok(())
    }

    /// Removes the value or the directory at a path; says whether there was one. Directories that
    /// become empty go too.
    pub fn remove(&mut self, source: &dyn Source, path: &Path) -> Result<bool, StoreError> {
        if path.is_root() {
            let was_empty = self
                .list(source, path)?
                .is_none_or(|items| items.is_empty());
            *self = Self::new();
            return Ok(!was_empty);
        }
        if matches!(self.find(source, path)?, Found::Nothing) {
            return Ok(false);
        }
        let mut path = path.clone();
        while let Some((parent, name)) = path.split_last() {
            let open = self.open(source, &parent)?;
            open.children.remove(name);
            open.directory.remove(name);
            if !open.directory.is_empty() {
                break;
            }
            path = parent;
        }
        Ok(true)
    }

    /// Makes objects of everything that was edited; the id of the root.
    pub fn write(&mut self, source: &dyn Source) -> Result<ObjectId, StoreError> {
        let id = match &mut self.root {
            Node::Stored(id) => *id,
            Node::Open(open) => open.write(source)?,
        };
        self.root = Node::Stored(id);
        Ok(id)
    }

    fn find(&self, source: &dyn Source, path: &Path) -> Result<Found<'_>, StoreError> {
        let mut found = match &self.root {
            Node::Stored(id) => Found::Stored(*id),
            Node::Open(open) => Found::Open(open),
        };
        for name in path.segments() {
            let slot = match found {
                Found::Open(open) => match open.children.get(name) {
                    Some(child) => {
                        found = Found::Open(child);
                        continue;
                    }
                    None => open.directory.get(name),
                },
                Found::Stored(id) => source.directory(&id)?.get(name),
                Found::Nothing | Found::Value(_) => None,
            };
            found = match slot {
                None => return Ok(Found::Nothing),
                Some(Slot::Value(value)) => Found::Value(value),
                Some(Slot::Directory(id)) => Found::Stored(id),
            };
        }
        Ok(found)
    }

    /// No value stands above this path.
    fn check_directories(&self, source: &dyn Source, path: &Path) -> Result<(), StoreError> {
        let mut above = path.parent();
        while let Some(parent) = above {
            match self.find(source, &parent)? {
                Found::Nothing => above = parent.parent(),
                Found::Value(_) => return Err(StoreError::NotADirectory(parent)),
                Found::Stored(_) | Found::Open(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The directory at a path, open for editing; the caller has checked that no value is in the
    /// way, and will put something into it if it is new.
    fn open(&mut self, source: &dyn Source, path: &Path) -> Result<&mut Open, StoreError> {
        if let Node::Stored(id) = self.root {
            self.root = Node::Open(Box::new(Open::of(source, id)?));
        }
        let Node::Open(root) = &mut self.root else {
            return Err(StoreError::NotADirectory(path.clone()));
        };
        let mut open: &mut Open = root;
        for name in path.segments() {
            if !open.children.contains_key(name) {
                let child = match open.directory.get(name) {
                    Some(Slot::Directory(id)) => Open::of(source, id)?,
                    _ => Open::default(),
                };
                let placeholder = child.from.unwrap_or(EMPTY_TREE);
                open.directory.insert(name, &Slot::Directory(placeholder));
                open.children.insert(name.into(), child);
            }
            let child = open.children.get_mut(name);
            open = child.ok_or_else(|| StoreError::NotADirectory(path.clone()))?;
        }
        Ok(open)
    }
}

impl Open {
    fn of(source: &dyn Source, id: ObjectId) -> Result<Self, StoreError> {
        let directory = (*source.directory(&id)?).clone();
        Ok(Self {
            directory,
            children: BTreeMap::new(),
            from: Some(id),
        })
    }

    fn write(&mut self, source: &dyn Source) -> Result<ObjectId, StoreError> {
        for (name, mut child) in std::mem::take(&mut self.children) {
            let id = child.write(source)?;
            self.directory.insert(&name, &Slot::Directory(id));
        }
        self.directory.store(source, self.from.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn names(tree: &Tree, objects: &MemoryObjects, at: &str) -> Option<Vec<String>> {
        let items = tree.list(objects, &path(at)).unwrap();
        items.map(|items| items.into_iter().map(|item| item.name).collect())
    }

    #[test]
    fn what_is_set_is_read_before_and_after_writing() {
        let objects = MemoryObjects::new();
        let mut tree = Tree::new();
        for (at, text) in [("a/b/c", "1"), ("a/d", "2"), ("e", "3")] {
            tree.set(&objects, &path(at), &Leaf::plain(text)).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(
                tree.get(&objects, &path("a/b/c")).unwrap(),
                Some(Leaf::plain("1"))
            );
            assert_eq!(tree.get(&objects, &path("a/b")).unwrap(), None);
            assert_eq!(tree.get(&objects, &path("e/f")).unwrap(), None);
            assert_eq!(
                names(&tree, &objects, "a"),
                Some(vec!["b".to_owned(), "d".to_owned()])
            );
            assert_eq!(names(&tree, &objects, "e"), None);
            let id = tree.write(&objects).unwrap();
            tree = Tree::at(id);
        }
    }

    #[test]
    fn the_root_id_depends_on_the_content_alone() {
        let objects = MemoryObjects::new();
        let mut left = Tree::new();
        left.set(&objects, &path("a/b"), &Leaf::plain("1")).unwrap();
        left.set(&objects, &path("c/d/e"), &Leaf::plain("2"))
            .unwrap();
        left.write(&objects).unwrap();
        assert!(left.remove(&objects, &path("c/d/e")).unwrap());
        assert!(!left.remove(&objects, &path("c/d/e")).unwrap());
        let mut right = Tree::new();
        right
            .set(&objects, &path("a/b"), &Leaf::plain("0"))
            .unwrap();
        right
            .set(&objects, &path("a/b"), &Leaf::plain("1"))
            .unwrap();
        assert_eq!(
            left.write(&objects).unwrap(),
            right.write(&objects).unwrap()
        );
        assert!(left.remove(&objects, &Path::root()).unwrap());
        assert_eq!(left.write(&objects).unwrap(), EMPTY_TREE);
    }

    #[test]
    fn values_and_directories_do_not_replace_each_other_unasked() {
        let objects = MemoryObjects::new();
        let mut tree = Tree::new();
        tree.set(&objects, &path("a/b"), &Leaf::plain("1")).unwrap();
        let below = tree.set(&objects, &path("a/b/c"), &Leaf::plain("2"));
        assert!(matches!(below, Err(StoreError::NotADirectory(at)) if at == path("a/b")));
        let above = tree.set(&objects, &path("a"), &Leaf::plain("2"));
        assert!(matches!(above, Err(StoreError::IsADirectory(at)) if at == path("a")));
        assert_eq!(names(&tree, &objects, "a"), Some(vec!["b".to_owned()]));
    }

    #[test]
    fn a_subtree_moves_as_one() {
        let objects = MemoryObjects::new();
        let mut tree = Tree::new();
        tree.set(&objects, &path("a/b/c"), &Leaf::plain("1"))
            .unwrap();
        let subtree = tree.find_tree(&objects, &path("a/b")).unwrap().unwrap();
        tree.set_tree(&objects, &path("x/y"), &subtree).unwrap();
        assert_eq!(
            tree.get(&objects, &path("x/y/c")).unwrap(),
            Some(Leaf::plain("1"))
        );
        tree.set_tree(&objects, &path("a"), &Tree::new()).unwrap();
        assert_eq!(names(&tree, &objects, "/"), Some(vec!["x".to_owned()]));
    }
}
