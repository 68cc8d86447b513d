//! The map from strings to values of one type. Per key, by that type's rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::error::StoreError;
use super::super::merge::{Conflict, Content, Merge, MergeError, Typed, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::text::{self, EntryReader, Text};
use super::{inner_bytes, merge_by, merge_inner};

/// The type's name.
pub const NAME: &str = "map";

/// Keys named in the reason of a conflict; the rest are counted.
const MAX_KEYS_NAMED: usize = 8;

/// What a map's blob says: each key and the content of its value. Text: an entry per key in the order of their
/// bytes; see [`text`].
#[derive(Debug, Default)]
struct Raw(BTreeMap<String, Vec<u8>>);

impl Text for Raw {
    fn parse(text: &str) -> Result<Self, String> {
        EntryReader::new(text).collect::<Result<_, _>>().map(Self)
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            text::print_entry(&mut text, key, value);
        }
        text
    }
}

/// Merges maps, given the rule for their values. A key that one side removed and the other changed is a
/// conflict; so are two values that their rule does not reconcile.
pub struct MapRule {
    value: Arc<dyn Merge>,
}

impl MapRule {
    /// The rule for maps of values that merge by `value`.
    pub fn new(value: Arc<dyn Merge>) -> Self {
        Self { value }
    }
}

impl Merge for MapRule {
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        let Raw(base) = base
            .map(|content| text::read(NAME, content))
            .transpose()?
            .unwrap_or_default();
        let Raw(ours) = text::read(NAME, ours)?;
        let Raw(theirs) = text::read(NAME, theirs)?;
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let mut merged = BTreeMap::new();
        let mut conflicts = Vec::new();
        for key in keys {
            let rule = self.value.as_ref();
            match merge_optional(rule, objects, base.get(key), ours.get(key), theirs.get(key)) {
                Ok(Some(value)) => {
                    merged.insert(key.clone(), value);
                }
                Ok(None) => {}
                Err(MergeError::Conflict(conflict)) => conflicts.push((key, conflict)),
                Err(error) => return Err(error),
            }
        }
        if conflicts.is_empty() {
            return Ok(text::write(&Raw(merged)));
        }
        let mut reason = conflicts
            .iter()
            .take(MAX_KEYS_NAMED)
            .map(|(key, conflict)| format!("key {key:?}: {}", conflict.reason))
            .collect::<Vec<_>>()
            .join("; ");
        if let Some(more @ 1..) = conflicts.len().checked_sub(MAX_KEYS_NAMED) {
            reason.push_str(&format!("; and {more} more keys"));
        }
        Err(Conflict::new(reason).into())
    }
}

/// Merges values that may be absent, on either side or in the base.
pub(super) fn merge_optional(
    rule: &dyn Merge,
    objects: &dyn Objects,
    base: Option<&Vec<u8>>,
    ours: Option<&Vec<u8>>,
    theirs: Option<&Vec<u8>>,
) -> Result<Option<Vec<u8>>, MergeError> {
    match (ours, theirs) {
        _ if ours == theirs || theirs == base => Ok(ours.cloned()),
        _ if ours == base => Ok(theirs.cloned()),
        (Some(ours), Some(theirs)) => merge_inner(rule, objects, base, ours, theirs).map(Some),
        _ => Err(Conflict::new("one side removed it, the other changed it").into()),
    }
}

impl<V: Value + 'static> Value for BTreeMap<String, V> {
    fn tag() -> TypeTag {
        super::tag(NAME, vec![V::tag()])
    }

    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        let Raw(entries) = text::read(NAME, content)?;
        let read =
            |(key, bytes): (String, Vec<u8>)| Ok((key, V::read(objects, &Content::blob(bytes))?));
        entries.into_iter().map(read).collect()
    }

    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError> {
        let mut entries = BTreeMap::new();
        for (key, value) in self {
            entries.insert(key.clone(), inner_bytes(&value.write(objects)?)?);
        }
        Ok(text::write(&Raw(entries)))
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let rule = MapRule::new(Arc::new(Typed::<V>::new()));
        merge_by(&rule, objects, base, ours, theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;
    use crate::store::value::Counter;

    type Counters = BTreeMap<String, Counter>;
    type Plains = BTreeMap<String, Vec<u8>>;

    fn plains(entries: &[(&str, &str)]) -> Plains {
        let entry = |&(key, value): &(&str, &str)| (key.to_owned(), value.as_bytes().to_vec());
        entries.iter().map(entry).collect()
    }

    fn counters(entries: &[(&str, &str, i64)]) -> Counters {
        let mut map = Counters::new();
        for (key, node, by) in entries {
            map.entry((*key).to_owned())
                .or_default()
                .add(&node.parse().unwrap(), *by);
        }
        map
    }

    #[test]
    fn values_merge_by_their_own_rule() {
        let objects = MemoryObjects::new();
        let base = counters(&[("x", "a", 1), ("gone", "a", 1)]);
        let ours = counters(&[("x", "a", 2), ("gone", "a", 1), ("new", "a", 1)]);
        let theirs = counters(&[("x", "a", 1), ("x", "b", 5), ("new", "b", 1)]);
        let merged = Value::merge(&objects, Some(&base), &ours, &theirs).unwrap();
        assert_eq!(
            merged,
            counters(&[
                ("x", "a", 2),
                ("x", "b", 5),
                ("new", "a", 1),
                ("new", "b", 1)
            ])
        );
    }

    #[test]
    fn a_conflict_names_the_keys() {
        let objects = MemoryObjects::new();
        let base = plains(&[("removed", "1"), ("changed", "1"), ("same", "1")]);
        let ours = plains(&[("changed", "2"), ("same", "1"), ("both", "1")]);
        let theirs = plains(&[
            ("removed", "2"),
            ("changed", "3"),
            ("same", "2"),
            ("both", "1"),
        ]);
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            let Err(MergeError::Conflict(conflict)) =
                Value::merge(&objects, Some(&base), ours, theirs)
            else {
                panic!("different changes merged");
            };
            assert_eq!(
                conflict.reason,
                "key \"changed\": both sides changed the value; \
                 key \"removed\": one side removed it, the other changed it"
            );
        }
    }

    #[test]
    fn entries_that_people_can_read() {
        let objects = MemoryObjects::new();
        let map = counters(&[
            ("web", "rail-a", 3),
            ("web", "rail-b", 1),
            ("dns", "rail-a", -1),
        ]);
        let content = map.write(&objects).unwrap();
        let text = "dns rail-a +0 -1\nweb\n  rail-a +3 -0\n  rail-b +1 -0\n";
        assert_eq!(content.as_blob(), Some(text.as_bytes()));
        assert_eq!(Counters::read(&objects, &content).unwrap(), map);
        for bad in [
            "web rail-a +0 -0\n",
            "web\nweb\n",
            "b rail-a +1 -0\na rail-a +1 -0\n",
            " x\n",
        ] {
            assert!(
                Counters::read(&objects, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
