//! The set. Per element: what one side added or removed is added or removed. Elements never conflict, because
//! two sides that both change whether an element is there agree.

use std::collections::BTreeSet;

use super::super::error::StoreError;
use super::super::merge::{Content, MergeError, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::text::{self, Text};

/// The type's name.
pub const NAME: &str = "set";

/// A set of strings. Text: a line for each element, escaped, in the order of their bytes.
pub type Set = BTreeSet<String>;

impl Text for Set {
    fn parse(text: &str) -> Result<Self, String> {
        text.lines().map(text::unescape_string).collect()
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for element in self {
            text.push_str(&text::escape(element.as_bytes()));
            text.push('\n');
        }
        text
    }
}

impl Value for Set {
    fn tag() -> TypeTag {
        super::tag(NAME, Vec::new())
    }

    fn read(_: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        text::read(NAME, content)
    }

    fn write(&self, _: &dyn Objects) -> Result<Content, StoreError> {
        Ok(text::write(self))
    }

    fn merge(
        _: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let in_base = |element: &String| base.is_some_and(|base| base.contains(element));
        let stays = |element: &&String| {
            ours.contains(*element) && theirs.contains(*element) || !in_base(element)
        };
        Ok(ours.union(theirs).filter(stays).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;

    fn set(elements: &[&str]) -> Set {
        elements.iter().map(|&element| element.to_owned()).collect()
    }

    #[test]
    fn each_side_adds_and_removes() {
        let base = set(&["kept", "ours removes", "theirs removes", "both remove"]);
        let ours = set(&["kept", "theirs removes", "ours adds", "both add"]);
        let theirs = set(&["kept", "ours removes", "theirs adds", "both add"]);
        let merge = |base| Set::merge(&MemoryObjects::new(), base, &ours, &theirs).unwrap();
        assert_eq!(
            merge(Some(&base)),
            set(&["kept", "ours adds", "theirs adds", "both add"])
        );
        assert_eq!(merge(None), &ours | &theirs);
    }

    #[test]
    fn lines_in_the_order_of_their_bytes() {
        assert_eq!(
            set(&["b", "", " a", "line\nbreak"]).print(),
            "\\e\n\\x20a\nb\nline\\nbreak\n"
        );
        for bad in ["b\na\n", "a\na\n", "a", "\n", "a\r\n", "\\xff\n", "a \n"] {
            assert!(
                text::read::<Set>(NAME, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
