//! Plain values: bytes that the store does not look into. Both sides changed = conflict.

use super::super::error::StoreError;
use super::super::merge::{Content, Merge, MergeError, Plain, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::{inner_bytes, merge_by};

impl Value for Vec<u8> {
    fn tag() -> TypeTag {
        TypeTag::plain()
    }

    fn read(_: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        inner_bytes(content)
    }

    fn write(&self, _: &dyn Objects) -> Result<Content, StoreError> {
        Ok(Content::blob(self.as_slice()))
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let rule: &dyn Merge = &Plain;
        merge_by(rule, objects, base, ours, theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::{Kind, MemoryObjects, ObjectId};

    #[test]
    fn any_bytes_stand_as_they_are() {
        let objects = MemoryObjects::new();
        for bytes in [b"".as_slice(), b"100\n", b"\xff\0"] {
            let content = bytes.to_vec().write(&objects).unwrap();
            assert_eq!(content.as_blob(), Some(bytes));
            assert_eq!(Vec::read(&objects, &content).unwrap(), bytes);
        }
        let tree = Content::Tree(ObjectId::of(Kind::Tree, b""));
        assert!(<Vec<u8>>::read(&objects, &tree).is_err());
    }

    #[test]
    fn two_changes_conflict() {
        let objects = MemoryObjects::new();
        let merge = |base, ours: &[u8], theirs: &[u8]| {
            Vec::merge(&objects, base, &ours.to_vec(), &theirs.to_vec())
        };
        for base in [None, Some(&b"o".to_vec())] {
            let Err(MergeError::Conflict(one)) = merge(base, b"a", b"b") else {
                panic!("two changes merged");
            };
            let Err(MergeError::Conflict(other)) = merge(base, b"b", b"a") else {
                panic!("two changes merged");
            };
            assert_eq!(one, other);
        }
    }
}
