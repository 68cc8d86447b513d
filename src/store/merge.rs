//! Typed three-way merge of values: the interface every type implements, and its dispatch.
//!
//! # Guarantees
//!
//! [`merge_content`] is the only way the store merges two values, and states the rule for all types:
//!
//! 1. Sides that are equal yield that side; a side that equals the base yields the other side. So a type's own
//!    rule is asked only where both sides differ from the base and from each other.
//! 2. A type's rule must be *symmetric*: `merge(base, a, b)` and `merge(base, b, a)` yield equal
//!    content, and conflict alike with the same reason; the [authors](Authors) change places with the sides.
//! 3. A rule must be *deterministic*: its answer depends on its arguments alone, never on a clock, a node or a map's order. Two
//!    nodes that merge the same two commits must write the same objects.
//!
//! # The type of a value
//!
//! A value is a [`Content`]: a blob, or a tree for values too large to be rewritten as a whole. Its type is a
//! [`TypeTag`] such as `counter` or `map(option(counter))`, recorded beside the value in its directory, so
//! any reader merges alike. An untagged value is [`plain`](Plain). A [`Registry`](super::types::Registry) turns a tag into
//! the rule that merges it.
//!
//! To add a type, implement [`Value`] and register [`Typed`] under its name; a type that takes
//! others as arguments registers a constructor that is given their rules.

use std::marker::PhantomData;
use std::sync::Arc;

use super::entries::Mode;
use super::error::StoreError;
use super::object::{Kind, ObjectId, Objects};
use super::types::TypeTag;

/// What stands at a path: a blob's bytes, or the root of a value that is a tree of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Blob(Arc<[u8]>),
    Tree(ObjectId),
}

impl Content {
    /// A blob of these bytes.
    pub fn blob(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Blob(bytes.into())
    }

    /// Reads what a directory entry of this mode names.
    pub fn load(objects: &dyn Objects, mode: Mode, id: &ObjectId) -> Result<Self, StoreError> {
        match mode {
            Mode::Directory => Ok(Self::Tree(*id)),
            _ => Ok(Self::Blob(objects.expect(id, Kind::Blob)?)),
        }
    }

    /// Writes it, and returns the id a directory entry needs.
    pub fn store(&self, objects: &dyn Objects) -> Result<ObjectId, StoreError> {
        match self {
            Self::Blob(bytes) => objects.put(Kind::Blob, bytes),
            Self::Tree(id) => Ok(*id),
        }
    }

    /// The mode of a directory entry for it.
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Blob(_) => Mode::File,
            Self::Tree(_) => Mode::Directory,
        }
    }

    /// The bytes, if it is a blob.
    pub fn as_blob(&self) -> Option<&[u8]> {
        match self {
            Self::Blob(bytes) => Some(bytes),
            Self::Tree(_) => None,
        }
    }
}

/// Two changes that no rule reconciles. The tree merge adds the path and both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What clashed, in words that name neither side as first: the same for both orders.
    pub reason: String,
}

impl Conflict {
    /// A conflict for this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// How a merge can fail: by the values, or by the store under them.
#[derive(Clone, Debug)]
pub enum MergeError {
    Conflict(Conflict),
    Store(StoreError),
}

impl From<Conflict> for MergeError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<StoreError> for MergeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The names of the nodes that made the sides, where they are known. For a rule that has to put something of one side before
/// something of the other: by name, never by which side is called ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authors<'a> {
    pub ours: Option<&'a str>,
    pub theirs: Option<&'a str>,
}

impl Authors<'_> {
    /// The same for sides that have changed places.
    pub const fn turned(self) -> Self {
        Self {
            ours: self.theirs,
            theirs: self.ours,
        }
    }
}

/// A type's merge rule over stored values. Object-safe: this is what a tag is resolved to.
pub trait Merge: Send + Sync {
    /// Merges two contents that both differ from the base and from each other. `base` is `None` if the value was
    /// not there, was of another type, or if the histories have no usable common ancestor.
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError>;

    /// The same, knowing who made the sides; most rules have no use for that.
    fn merge_by(
        &self,
        objects: &dyn Objects,
        _authors: Authors<'_>,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        self.merge(objects, base, ours, theirs)
    }
}

/// The merge of two values of one type, for all types: see the module's first guarantee.
pub fn merge_content(
    rule: &dyn Merge,
    objects: &dyn Objects,
    base: Option<&Content>,
    ours: &Content,
    theirs: &Content,
) -> Result<Content, MergeError> {
    merge_content_by(rule, objects, Authors::default(), base, ours, theirs)
}

/// The same, knowing who made the sides.
pub fn merge_content_by(
    rule: &dyn Merge,
    objects: &dyn Objects,
    authors: Authors<'_>,
    base: Option<&Content>,
    ours: &Content,
    theirs: &Content,
) -> Result<Content, MergeError> {
    if ours == theirs || base == Some(theirs) {
        return Ok(ours.clone());
    }
    if base == Some(ours) {
        return Ok(theirs.clone());
    }
    rule.merge_by(objects, authors, base, ours, theirs)
}

/// A Rust type that can stand at a path and merges by its own rule.
pub trait Value: Sized {
    /// The tag recorded beside the value.
    fn tag() -> TypeTag;

    /// Decodes what [`write`](Self::write) made.
    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError>;

    /// Encodes canonically: equal values give equal content, whatever their history.
    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError>;

    /// Merges two values that both differ from the base and from each other; obeys the module's
    /// second and third guarantee.
    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError>;
}

/// The rule of a [`Value`]: decode, merge, encode.
pub struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Typed<T> {
    /// The rule.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Typed<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Value> Merge for Typed<T> {
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        let base = base.map(|content| T::read(objects, content)).transpose()?;
        let (ours, theirs) = (T::read(objects, ours)?, T::read(objects, theirs)?);
        Ok(T::merge(objects, base.as_ref(), &ours, &theirs)?.write(objects)?)
    }
}

/// The rule of untagged values: two different changes are a conflict.
pub struct Plain;

impl Plain {
    /// The name of the tag, which is never written down.
    pub const NAME: &'static str = "plain";
}

impl Merge for Plain {
    fn merge(
        &self,
        _: &dyn Objects,
        base: Option<&Content>,
        _: &Content,
        _: &Content,
    ) -> Result<Content, MergeError> {
        Err(Conflict::new(match base {
            Some(_) => "both sides changed the value",
            None => "both sides added a value",
        })
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;

    #[test]
    fn a_side_equal_to_the_base_yields_the_other() {
        let objects = MemoryObjects::new();
        let value = |text: &str| Content::blob(text.as_bytes());
        let merge = |base: Option<&str>, ours, theirs| {
            let base = base.map(value);
            merge_content(
                &Plain,
                &objects,
                base.as_ref(),
                &value(ours),
                &value(theirs),
            )
        };
        assert_eq!(merge(Some("o"), "o", "x").unwrap(), value("x"));
        assert_eq!(merge(Some("o"), "x", "o").unwrap(), value("x"));
        assert_eq!(merge(Some("o"), "x", "x").unwrap(), value("x"));
        assert_eq!(merge(None, "x", "x").unwrap(), value("x"));
        assert!(matches!(
            merge(Some("o"), "a", "b"),
            Err(MergeError::Conflict(_))
        ));
        assert!(matches!(
            merge(None, "a", "b"),
            Err(MergeError::Conflict(_))
        ));
    }
}
