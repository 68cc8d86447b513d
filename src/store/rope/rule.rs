//! The rope as a type of the store.

use super::super::error::StoreError;
use super::super::merge::{Authors, Content, Merge, MergeError, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::super::value;
use super::symbol::{LEAF_CHARS, NAME, Slice, Symbol, error};
use super::{Rope, leaf, merge};

impl Value for Rope {
    fn tag() -> TypeTag {
        value::tag(NAME, Vec::new())
    }

    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        let text = match content {
            Content::Blob(bytes) => {
                let text =
                    std::str::from_utf8(bytes).map_err(|_| error("it is not UTF-8".to_owned()))?;
                if text.chars().count() as u64 > LEAF_CHARS {
                    return Err(error(format!(
                        "a text of more than {LEAF_CHARS} characters is in a file"
                    )));
                }
                leaf::whole(&Slice::new(text.into()))?
            }
            Content::Tree(id) => Some(Symbol::whole_tree(objects, *id)?),
        };
        Ok(Self { text })
    }

    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError> {
        match &self.text {
            None => Ok(Content::blob(Vec::new())),
            Some(text) if text.is_tree() => Ok(Content::Tree(text.store(objects)?)),
            Some(text) => Ok(Content::blob(text.slice(objects)?.as_str().as_bytes())),
        }
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        merge::merge(objects, Authors::default(), base, ours, theirs)
    }
}

/// The merge rule of ropes. It uses the names of the sides' authors, to put inserts at one place in order.
pub struct RopeRule;

impl Merge for RopeRule {
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        self.merge_by(objects, Authors::default(), base, ours, theirs)
    }

    fn merge_by(
        &self,
        objects: &dyn Objects,
        authors: Authors<'_>,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        let base = base
            .map(|content| Rope::read(objects, content))
            .transpose()?;
        let (ours, theirs) = (Rope::read(objects, ours)?, Rope::read(objects, theirs)?);
        let merged = merge::merge(objects, authors, base.as_ref(), &ours, &theirs)?;
        Ok(merged.write(objects)?)
    }
}
