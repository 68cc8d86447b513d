//! Two values that stand together. Each half merges by its own rule.

use std::sync::Arc;

use super::super::error::StoreError;
use super::super::merge::{Conflict, Content, Merge, MergeError, Typed, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::text::{self, EntryReader, Text};
use super::{inner_bytes, merge_by, merge_inner};

/// The type's name.
pub const NAME: &str = "pair";

const FIRST: &str = "first";
const SECOND: &str = "second";

/// What a pair's blob says. Text: an entry with the key `first`, then one with the key `second`; see [`text`].
#[derive(Debug)]
struct Raw(Vec<u8>, Vec<u8>);

impl Text for Raw {
    fn parse(text: &str) -> Result<Self, String> {
        let mut entries = EntryReader::new(text);
        let mut half = |wanted: &str| match entries.next().transpose()? {
            Some((key, value)) if key == wanted => Ok(value),
            _ => Err(format!("it has no entry {wanted:?} in its place")),
        };
        let pair = Self(half(FIRST)?, half(SECOND)?);
        match entries.next() {
            None => Ok(pair),
            Some(_) => Err("it has more than two entries".to_owned()),
        }
    }

    fn print(&self) -> String {
        let mut text = String::new();
        text::print_entry(&mut text, FIRST, &self.0);
        text::print_entry(&mut text, SECOND, &self.1);
        text
    }
}

/// Merges pairs, given the rules for both halves. A conflict in either half is one of the pair.
pub struct PairRule {
    first: Arc<dyn Merge>,
    second: Arc<dyn Merge>,
}

impl PairRule {
    /// The rule for pairs of values that merge by these rules.
    pub fn new(first: Arc<dyn Merge>, second: Arc<dyn Merge>) -> Self {
        Self { first, second }
    }
}

impl Merge for PairRule {
    fn merge(
        &self,
        objects: &dyn Objects,
        base: Option<&Content>,
        ours: &Content,
        theirs: &Content,
    ) -> Result<Content, MergeError> {
        let base: Option<Raw> = base.map(|content| text::read(NAME, content)).transpose()?;
        let (ours, theirs): (Raw, Raw) = (text::read(NAME, ours)?, text::read(NAME, theirs)?);
        let (base_first, base_second) = base
            .as_ref()
            .map(|Raw(first, second)| (first, second))
            .unzip();
        let first = merge_inner(self.first.as_ref(), objects, base_first, &ours.0, &theirs.0);
        let second = merge_inner(
            self.second.as_ref(),
            objects,
            base_second,
            &ours.1,
            &theirs.1,
        );
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(text::write(&Raw(first, second))),
            (Err(MergeError::Store(error)), _) | (_, Err(MergeError::Store(error))) => {
                Err(error.into())
            }
            (first, second) => {
                let named = |name, half| match half {
                    Err(MergeError::Conflict(Conflict { reason })) => {
                        Some(format!("{name}: {reason}"))
                    }
                    _ => None,
                };
                let halves = [named(FIRST, first), named(SECOND, second)];
                let reasons: Vec<_> = halves.into_iter().flatten().collect();
                Err(Conflict::new(reasons.join("; ")).into())
            }
        }
    }
}

impl<A: Value + 'static, B: Value + 'static> Value for (A, B) {
    fn tag() -> TypeTag {
        super::tag(NAME, vec![A::tag(), B::tag()])
    }

    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        let Raw(first, second) = text::read(NAME, content)?;
        let first = A::read(objects, &Content::blob(first))?;
        Ok((first, B::read(objects, &Content::blob(second))?))
    }

    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError> {
        let first = inner_bytes(&self.0.write(objects)?)?;
        let second = inner_bytes(&self.1.write(objects)?)?;
        Ok(text::write(&Raw(first, second)))
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let rule = PairRule::new(Arc::new(Typed::<A>::new()), Arc::new(Typed::<B>::new()));
        merge_by(&rule, objects, base, ours, theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;
    use crate::store::value::set::Set;

    type Named = (Vec<u8>, Set);

    fn named(name: &str, elements: &[&str]) -> Named {
        let elements = elements.iter().map(|&element| element.to_owned());
        (name.as_bytes().to_vec(), elements.collect())
    }

    #[test]
    fn halves_merge_on_their_own() {
        let objects = MemoryObjects::new();
        let base = named("n", &["x"]);
        let merge =
            |ours: &Named, theirs: &Named| Value::merge(&objects, Some(&base), ours, theirs);
        let merged = merge(&named("m", &["x", "y"]), &named("n", &["x", "z"])).unwrap();
        assert_eq!(merged, named("m", &["x", "y", "z"]));
        let Err(MergeError::Conflict(conflict)) = merge(&named("a", &["x"]), &named("b", &[]))
        else {
            panic!("two names merged");
        };
        assert_eq!(conflict.reason, "first: both sides changed the value");
    }

    #[test]
    fn text_has_both_halves_in_order() {
        let objects = MemoryObjects::new();
        let content = named("n\n", &["x", "y"]).write(&objects).unwrap();
        assert_eq!(
            content.as_blob(),
            Some(b"first n\nsecond\n  x\n  y\n".as_slice())
        );
        assert_eq!(
            Named::read(&objects, &content).unwrap(),
            named("n\n", &["x", "y"])
        );
        for bad in [
            "",
            "first n\n",
            "second x\nfirst n\n",
            "first n\nsecond x\nthird\n",
        ] {
            assert!(
                Named::read(&objects, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
