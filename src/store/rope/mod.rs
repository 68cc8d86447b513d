//! A rope: a text whose versions persist, and merge.
//!
//! # Guarantees
//!
//! - Equal texts are equal content, whatever edits led to them.
//! - Versions persist: content that was written stays readable; a clone is independent and costs O(1).
//! - Merged, by edits against the base: edits of different places both apply; the same edit on both sides applies once; two inserts at one place stand
//!   in the order of the nodes that made them, or of their text if that is not known; overlapping changes of the same text are a conflict.
//!
//! # Cost
//!
//! With n characters, in objects read and written (see the module `parse` for the structure):
//!
//! | operation | cost |
//! |---|---|
//! | [`get`](Rope::get) | O(log n) |
//! | [`insert`](Rope::insert), [`delete`](Rope::delete), [`set`](Rope::set) | O(log n + m) for m characters of new text |
//! | [`append`](Rope::append), [`split`](Rope::split), [`sub`](Rope::sub) | O(log n) |
//! | [`slice`](Rope::slice) | O(log n + m) for m characters |
//! | merge | O(k log n + m) for k edits, and m characters in what they replaced and put there |
//!
//! These hold on average over the hashes of the text's parts, for text of any kind: repetitive content, down to a
//! single character a million times, costs less than varied content. The one bad case is text written for it, whose characters stand
//! in the order of their hashes: a stretch of k such characters is one block, and editing in it costs O(k).
//!
//! Edits change the rope in memory; [`write`](super::merge::Value::write) stores what is not in the store yet.
//!
//! # Form
//!
//! Up to 512 characters are a blob with the text and nothing else. Longer text is a tree, whose blobs in the order that
//! `git ls-tree -r` lists them are the text, save that an entry ending in `,x<count>` stands for that many of it in a row.
//! Positions and lengths are in characters (Unicode scalar values).

mod align;
mod compact;
mod diff;
mod leaf;
mod merge;
mod parse;
mod read;
mod rule;
mod splice;
mod symbol;
mod tree;

use std::ops::Range;
use std::sync::Arc;

pub use rule::RopeRule;
pub use symbol::NAME;

use super::error::StoreError;
use super::object::{ObjectId, Objects};
use splice::{Context, splice};
use symbol::{LEAF_CHARS, Slice, Symbol, error};

/// New text is parsed in pieces of this many bytes, to bound the memory that takes: a symbol for each character.
const PIECE_BYTES: usize = 16 * 1024;

/// A text. It refers to objects in the store it was read from.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    text: Option<Symbol>,
}

impl Rope {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rope of a text.
    pub fn from_text(objects: &dyn Objects, text: &str) -> Result<Self, StoreError> {
        let mut rope = Self::new();
        rope.append_text(objects, text)?;
        Ok(rope)
    }

    /// Length in characters.
    pub fn len(&self) -> u64 {
        self.text.as_ref().map_or(0, |text| text.chars)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.text.is_none()
    }

    /// Puts text before the character at a position, or at the end.
    pub fn insert(&mut self, objects: &dyn Objects, at: u64, text: &str) -> Result<(), StoreError> {
        self.replace(objects, at..at, text)
    }

    /// Removes part of the text.
    pub fn delete(&mut self, objects: &dyn Objects, range: Range<u64>) -> Result<(), StoreError> {
        self.replace(objects, range, "")
    }

    /// Replaces one character.
    pub fn set(&mut self, objects: &dyn Objects, at: u64, c: char) -> Result<(), StoreError> {
        self.replace(
            objects,
            at..at.saturating_add(1),
            c.encode_utf8(&mut [0; 4]),
        )
    }

    /// Replaces part of the text.
    pub fn replace(
        &mut self,
        objects: &dyn Objects,
        range: Range<u64>,
        text: &str,
    ) -> Result<(), StoreError> {
        self.check_range(&range)?;
        let (left, _) = Context::around(objects, self.text.as_ref(), range.start)?;
        let (_, right) = Context::around(objects, self.text.as_ref(), range.end)?;
        self.text = if text.len() <= PIECE_BYTES {
            splice(objects, left, symbols(text), right)?
        } else {
            let mut rope = Self {
                text: splice(objects, left, Vec::new(), Context::empty())?,
            };
            rope.append_text(objects, text)?;
            rope.join(objects, right)?;
            rope.text
        };
        Ok(())
    }

    /// Puts another text behind this one.
    pub fn append(&mut self, objects: &dyn Objects, other: &Self) -> Result<(), StoreError> {
        if self.len().checked_add(other.len()).is_none() {
            return Err(error("a text is longer than 64 bits can say".to_owned()));
        }
        let (_, right) = Context::around(objects, other.text.as_ref(), 0)?;
        self.join(objects, right)
    }

    /// The text before a position, and the text from there on.
    pub fn split(&self, objects: &dyn Objects, at: u64) -> Result<(Self, Self), StoreError> {
        Ok((self.head(objects, at)?, self.tail(objects, at)?))
    }

    /// Part of the text, as a rope.
    pub fn sub(&self, objects: &dyn Objects, range: Range<u64>) -> Result<Self, StoreError> {
        self.check_range(&range)?;
        self.head(objects, range.end)?.tail(objects, range.start)
    }

    /// Replaces part of the text by part of another.
    pub fn replace_by(
        &mut self,
        objects: &dyn Objects,
        range: Range<u64>,
        other: &Self,
        part: Range<u64>,
    ) -> Result<(), StoreError> {
        self.check_range(&range)?;
        other.check_range(&part)?;
        if part.end - part.start <= LEAF_CHARS {
            return self.replace(objects, range, &other.slice(objects, part)?);
        }
        let tail = self.tail(objects, range.end)?;
        *self = self.head(objects, range.start)?;
        self.append(objects, &other.sub(objects, part)?)?;
        self.append(objects, &tail)
    }

    fn head(&self, objects: &dyn Objects, at: u64) -> Result<Self, StoreError> {
        self.check_range(&(at..at))?;
        let (left, _) = Context::around(objects, self.text.as_ref(), at)?;
        let text = splice(objects, left, Vec::new(), Context::empty())?;
        Ok(Self { text })
    }

    fn tail(&self, objects: &dyn Objects, at: u64) -> Result<Self, StoreError> {
        self.check_range(&(at..at))?;
        let (_, right) = Context::around(objects, self.text.as_ref(), at)?;
        let text = splice(objects, Context::empty(), Vec::new(), right)?;
        Ok(Self { text })
    }

    /// What tells texts apart: `None` for the empty one.
    fn id(&self) -> Option<ObjectId> {
        self.text.as_ref().map(Symbol::id)
    }

    fn append_text(&mut self, objects: &dyn Objects, mut text: &str) -> Result<(), StoreError> {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE_BYTES));
            let (left, _) = Context::around(objects, self.text.as_ref(), self.len())?;
            self.text = splice(objects, left, symbols(piece), Context::empty())?;
            text = rest;
        }
        Ok(())
    }

    fn join(&mut self, objects: &dyn Objects, right: Context) -> Result<(), StoreError> {
        let (left, _) = Context::around(objects, self.text.as_ref(), self.len())?;
        self.text = splice(objects, left, Vec::new(), right)?;
        Ok(())
    }

    fn check_range(&self, range: &Range<u64>) -> Result<(), StoreError> {
        if range.start > range.end {
            return Err(error(format!(
                "{} to {} is no range",
                range.start, range.end
            )));
        }
        if range.end > self.len() {
            return Err(self.beyond(range.end));
        }
        Ok(())
    }

    fn beyond(&self, at: u64) -> StoreError {
        error(format!("position {at} is beyond the end, {}", self.len()))
    }
}

/// The characters of a text as symbols.
fn symbols(text: &str) -> Vec<Symbol> {
    Slice::new(Arc::from(text)).symbols().collect()
}
