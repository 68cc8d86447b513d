//! Content-addressed objects: ids, kinds, and the place they are kept in.
//!
//! An object is a kind and bytes; its id is the SHA-1 of Git's canonical form `"<kind> <len>\0<bytes>"`,
//! so equal content has equal id whatever its history, and any Git tool computes the same ids.
//! Objects never change. [`Objects`] is the only interface the value types need: they `get` what
//! they refer to and `put` what they made.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use sha1::{Digest, Sha1};

use super::error::StoreError;

/// Length of an object id in bytes.
pub const ID_LEN: usize = 20;

/// SHA-1 of an object's canonical form. Shown and parsed as 40 hex digits, ordered as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; ID_LEN]);

impl ObjectId {
    /// The id with these bytes.
    pub const fn new(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The id of an object, as `git hash-object -t <kind>` computes it.
    pub fn of(kind: Kind, data: &[u8]) -> Self {
        let mut sha = Sha1::new();
        sha.update(format!("{kind} {}\0", data.len()));
        sha.update(data);
        Self(sha.finalize().into())
    }

    /// The id from exactly 20 bytes, as they stand in a tree or an index.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 20 bytes.
    pub fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }
}

/// The tree with nothing in it. As in Git, it is always there.
pub const EMPTY_TREE: ObjectId = ObjectId([
    0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88,
    0xfb, 0xee, 0x49, 0x04,
]);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * ID_LEN];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.pad(std::str::from_utf8(&hex).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 40 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an object id: 40 hex digits expected")]
pub struct ParseIdError(String);

impl FromStr for ObjectId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError(text.to_owned());
        let hex = text.as_bytes();
        if hex.len() != 2 * ID_LEN {
            return Err(error());
        }
        let mut id = [0; ID_LEN];
        for (byte, pair) in id.iter_mut().zip(hex.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or_else(error)?;
            let low = char::from(pair[1]).to_digit(16).ok_or_else(error)?;
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(id))
    }
}

/// What an object is. Git's fourth kind, the annotated tag, is not used by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value's bytes, nothing else.
    Blob,
    /// A directory: names with modes and ids. See [`entries`](super::entries).
    Tree,
    /// A tree with its history.
    Commit,
}

impl Kind {
    /// The word in the canonical form.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
            Self::Commit => "commit",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One object. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub data: Arc<[u8]>,
}

impl Object {
    /// An object of these bytes.
    pub fn new(kind: Kind, data: impl Into<Arc<[u8]>>) -> Self {
        Self {
            kind,
            data: data.into(),
        }
    }

    /// Its id. Hashes the bytes: keep the answer.
    pub fn id(&self) -> ObjectId {
        ObjectId::of(self.kind, &self.data)
    }
}

/// A place where objects are kept.
pub trait Objects {
    /// The object with this id, or `None` if it is not here.
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError>;

    /// Keeps an object and returns its id. Putting what is already there changes nothing.
    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError>;

    /// The bytes of an object that must be there and of this kind.
    fn expect(&self, id: &ObjectId, kind: Kind) -> Result<Arc<[u8]>, StoreError> {
        let object = self.get(id)?.ok_or(StoreError::Missing(*id))?;
        if object.kind != kind {
            let detail = format!("it is a {}", object.kind);
            return Err(StoreError::Malformed {
                id: *id,
                expected: kind,
                detail,
            });
        }
        Ok(object.data)
    }
}

impl<T: Objects + ?Sized> Objects for &T {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        (**self).get(id)
    }

    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError> {
        (**self).put(kind, data)
    }
}

impl<T: Objects + ?Sized> Objects for Arc<T> {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        (**self).get(id)
    }

    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError> {
        (**self).put(kind, data)
    }
}

/// A map keyed by object id.
pub type IdMap<V> = HashMap<ObjectId, V, BuildHasherDefault<IdHasher>>;

/// Hashes an object id by taking eight of its bytes: they are a hash already.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length prefix of a byte array says nothing.
    fn write_usize(&mut self, _: usize) {}
}

/// Objects in memory. Cloning is not offered: share it behind an [`Arc`].
#[derive(Default)]
pub struct MemoryObjects {
    objects: RwLock<IdMap<Object>>,
}

impl MemoryObjects {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many objects are here.
    pub fn len(&self) -> usize {
        self.objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Keeps an object whose id is known.
    pub fn insert(&self, id: ObjectId, object: Object) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.entry(id).or_insert(object);
    }

    /// The only object of this kind whose id begins like this, if that is at least four digits.
    pub fn abbreviated(&self, start: &str, kind: Kind) -> Option<ObjectId> {
        if start.len() < 4 {
            return None;
        }
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = objects.iter().filter_map(|(id, object)| {
            (object.kind == kind && id.to_string().starts_with(start)).then_some(*id)
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// Drops the objects for which `keep` is false.
    pub fn retain(&self, keep: impl Fn(&ObjectId) -> bool) {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.retain(|id, _| keep(id));
    }

    /// Whether nothing was put yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Objects for MemoryObjects {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        Ok(self
            .objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned())
    }

    fn put(&self, kind: Kind, data: &[u8]) -> Result<ObjectId, StoreError> {
        let id = ObjectId::of(kind, data);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.entry(id).or_insert_with(|| Object::new(kind, data));
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids printed by `git hash-object` for the same content.
    #[test]
    fn ids_are_those_of_git() {
        let check = |kind, data: &[u8], id: &str| {
            assert_eq!(ObjectId::of(kind, data).to_string(), id);
        };
        check(Kind::Blob, b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        check(
            Kind::Blob,
            b"hello\n",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        );
        check(Kind::Tree, b"", "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(ObjectId::of(Kind::Tree, b""), EMPTY_TREE);
    }

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = ObjectId::of(Kind::Blob, b"x");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ce01", &"g".repeat(40), &"0".repeat(41)] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_keeps_one_copy() {
        let objects = MemoryObjects::new();
        let id = objects.put(Kind::Blob, b"x").unwrap();
        assert_eq!(objects.put(Kind::Blob, b"x").unwrap(), id);
        assert_eq!(objects.len(), 1);
        assert_eq!(
            objects.get(&id).unwrap(),
            Some(Object::new(Kind::Blob, b"x".as_slice()))
        );
        assert!(matches!(
            objects.expect(&id, Kind::Tree),
            Err(StoreError::Malformed { .. })
        ));
        let absent = ObjectId::of(Kind::Blob, b"y");
        assert!(matches!(
            objects.expect(&absent, Kind::Blob),
            Err(StoreError::Missing(_))
        ));
    }
}
