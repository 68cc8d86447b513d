//! A value that may be absent.

use std::sync::Arc;

use super::super::error::StoreError;
use super::super::merge::{Content, Merge, MergeError, Typed, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::map::merge_optional;
use super::text::{self, EntryReader, Text};
use super::{inner_bytes, merge_by};

/// The type's name.
pub const NAME: &str = "option";

const NONE: &str = "none\n";
const SOME: &str = "some";

/// What an option's blob says. Text: `none`, or an entry with the key `some`; see [`text`].
#[derive(Debug)]
struct Raw(Option<Vec<u8>>);

impl Text for Raw {
    fn parse(text: &str) -> Result<Self, String> {
        if text == NONE {
            return Ok(Self(None));
        }
        let mut entries = EntryReader::new(text);
        match (entries.next().transpose()?, entries.next()) {
            (Some((key, value)), None) if key == SOME => Ok(Self(Some(value))),
            _ => Err("it is neither \"none\" nor \"some\" and a value".to_owned()),
        }
    }

    fn print(&self) -> String {
        let Some(value) = &self.0 else {
            return NONE.to_owned();
        };
        let mut text = String::new();
        text::print_entry(&mut text, SOME, value);
        text
    }
}

/// Merges options, given the rule for the value. Removed on one side and changed on the other is a conflict.
pub struct OptionRule {
    value: Arc<dyn Merge>,
}

impl OptionRule {
    /// The rule for options of values that merge by `value`.
    pub fn new(value: Arc<dyn Merge>) -> Self {
        Self { value }
    }
}

impl Merge for OptionRule {
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        let read = |content| text::read(NAME, content).map(|Raw(value)| value);
        let base = base.map(read).transpose()?.flatten();
        let (ours, theirs) = (read(ours)?, read(theirs)?);
        let rule = self.value.as_ref();
        let merged = merge_optional(rule, objects, base.as_ref(), ours.as_ref(), theirs.as_ref())?;
        Ok(text::write(&Raw(merged)))
    }
}

impl<V: Value + 'static> Value for Option<V> {
    fn tag() -> TypeTag {
        super::tag(NAME, vec![V::tag()])
    }

    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        let Raw(value) = text::read(NAME, content)?;
        value
            .map(|bytes| V::read(objects, &Content::blob(bytes)))
            .transpose()
    }

    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError> {
        let inner = self
            .as_ref()
            .map(|value| inner_bytes(&value.write(objects)?));
        Ok(text::write(&Raw(inner.transpose()?)))
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let rule = OptionRule::new(Arc::new(Typed::<V>::new()));
        merge_by(&rule, objects, base, ours, theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;
    use crate::store::value::Counter;

    fn some(node: &str, by: i64) -> Option<Counter> {
        let mut counter = Counter::new();
        counter.add(&node.parse().unwrap(), by);
        Some(counter)
    }

    #[test]
    fn presence_is_a_change_like_any_other() {
        let objects = MemoryObjects::new();
        let merge = |base: &Option<Counter>, ours: &Option<Counter>, theirs: &Option<Counter>| {
            Value::merge(&objects, Some(base), ours, theirs)
        };
        let both = merge(&None, &some("a", 1), &some("b", 1)).unwrap();
        assert_eq!(both.map(|counter| counter.value()), Some(2));
        assert_eq!(merge(&some("a", 1), &None, &some("a", 1)).unwrap(), None);
        for (ours, theirs) in [(None, some("a", 2)), (some("a", 2), None)] {
            let merged = merge(&some("a", 1), &ours, &theirs);
            assert!(matches!(merged, Err(MergeError::Conflict(_))));
        }
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let objects = MemoryObjects::new();
        let check = |value: Option<Vec<u8>>, text: &str| {
            let content = value.write(&objects).unwrap();
            assert_eq!(content.as_blob(), Some(text.as_bytes()));
            assert_eq!(Option::read(&objects, &content).unwrap(), value);
        };
        check(None, "none\n");
        check(Some(Vec::new()), "some \\\\e\n");
        check(Some(b"none\n".to_vec()), "some none\n");
        for bad in [
            "",
            "none",
            "some",
            "other x\n",
            "some x\nsome y\n",
            "none\n\n",
        ] {
            assert!(
                <Option<Vec<u8>>>::read(&objects, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
