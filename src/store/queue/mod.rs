//! A queue whose versions persist, and merge.
//!
//! # Guarantees
//!
//! - A [`Queue`] is ordered by the stamps of its elements, which are unique. Pushing stamps above all elements, so each
//!   pusher's order is kept; after a merge, elements of both sides interleave by stamp.
//! - Merged: what was popped on either side does not return, what was pushed on either side is there once. Both need a common
//!   ancestor; without one every element of both sides is there.
//! - Equal elements are equal content, whatever was pushed, popped or merged before.
//! - Versions persist: content that was written stays readable, and a clone is independent and costs O(log n).
//!
//! # Cost
//!
//! With n elements, in objects read and written; groups are of 32 elements, or 16 groups, on average (see the module
//! `spine` for the structure):
//!
//! | operation | reads | writes |
//! |---|---|---|
//! | push | 0 | a group every 32 pushes, by the next write: O(1) amortised |
//! | pop | a group every 32 pops: O(1) amortised | 0 |
//! | [`read`](Value::read), [`write`](Value::write) | the root and two ends, of O(log n) bytes | the same |
//! | merge with r interleaved runs | O(r log n) | O(r log n) |
//!
//! Pushes and pops change the queue in memory; [`write`](Value::write) stores what is not in the store yet.
//!
//! These hold on average over the stamps' hashes, not for every set of stamps; a node that
//! chooses its stamps for it can make groups longer.
//!
//! # Form
//!
//! A queue of few elements is a blob with a line for each. A longer one is a tree: `front0` and `rear0` are
//! its two ends as such blobs, and the groups between are entries `front<level>,<last stamp>,<elements>` and `rear...`.

mod element;
mod merge;
mod node;
mod root;
mod spine;

use std::sync::Arc;

pub use element::Element;
pub use node::NAME;

use super::error::StoreError;
use super::merge::{Content, MergeError, Value};
use super::object::Objects;
use super::types::TypeTag;
use super::value::{Clock, Millis, Stamp};
use merge::Cursor;
use node::{Item, error};
use spine::Spine;

/// The longest payload, in bytes: elements at the ends are written with every version. Larger things
/// belong at a path of their own, whose name is the payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// A queue of byte strings. It refers to objects in the store it was read from.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    spine: Spine,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of elements.
    pub const fn len(&self) -> u64 {
        self.spine.count()
    }

    /// Whether there is no element.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stamp of the last element.
    pub fn last(&self) -> Option<&Stamp> {
        self.spine.last()
    }

    /// Puts an element behind all others, stamped by `clock` at wall-clock time `now`; returns the stamp.
    pub fn push(
        &mut self,
        clock: &mut Clock,
        now: Millis,
        payload: &[u8],
    ) -> Result<Stamp, StoreError> {
        if let Some(last) = self.last() {
            clock.observe(last);
        }
        let stamp = clock.stamp(now).map_err(|end| error(end.to_string()))?;
        self.push_stamped(stamp.clone(), payload)?;
        Ok(stamp)
    }

    /// Puts an element behind all others. Its stamp must be above theirs, and never have been used in this
    /// queue: if it was popped already on another branch, it is gone once the branches merge.
    pub fn push_stamped(&mut self, stamp: Stamp, payload: &[u8]) -> Result<(), StoreError> {
        if let Some(last) = self.last().filter(|&last| last >= &stamp) {
            return Err(error(format!(
                "stamp {stamp} is not above the last one, {last}"
            )));
        }
        if payload.len() > MAX_PAYLOAD {
            return Err(error(format!(
                "{} bytes are more than {MAX_PAYLOAD}",
                payload.len()
            )));
        }
        let payload = Arc::from(payload);
        self.spine.push(Item::Element(Element { stamp, payload }));
        Ok(())
    }

    /// Takes the first element.
    pub fn pop(&mut self, objects: &dyn Objects) -> Result<Option<Element>, StoreError> {
        match self.spine.take_first(objects)? {
            Some(Item::Element(element)) => Ok(Some(element)),
            Some(Item::Group(_)) => Err(error("a group stands where elements do".to_owned())),
            None => Ok(None),
        }
    }

    /// The first element.
    pub fn peek(&self, objects: &dyn Objects) -> Result<Option<Element>, StoreError> {
        match self.spine.first() {
            Some(Item::Element(element)) => Ok(Some(element.clone())),
            _ => self.clone().pop(objects),
        }
    }

    /// All elements in order, read as they are asked for.
    pub fn iter<'a>(
        &self,
        objects: &'a dyn Objects,
    ) -> impl Iterator<Item = Result<Element, StoreError>> + use<'a> {
        let mut cursor = Cursor::new(&self.spine);
        std::iter::from_fn(move || cursor.step(objects).transpose())
    }

    /// Reads all of it, and checks that every object is what the structure demands: what a queue from elsewhere needs
    /// before it is trusted.
    pub fn check(&self, objects: &dyn Objects) -> Result<(), StoreError> {
        let mut last: Option<Stamp> = None;
        let mut count = 0;
        for element in self.iter(objects) {
            let stamp = element?.stamp;
            if last.as_ref().is_some_and(|last| last >= &stamp) {
                return Err(error(format!("{stamp} is out of order")));
            }
            last = Some(stamp);
            count += 1;
        }
        if count != self.len() {
            return Err(error(format!(
                "it has {count} elements, not {}",
                self.len()
            )));
        }
        Ok(())
    }
}

impl Value for Queue {
    fn tag() -> TypeTag {
        super::value::tag(NAME, Vec::new())
    }

    fn read(objects: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        Ok(Self {
            spine: root::read(objects, content)?,
        })
    }

    fn write(&self, objects: &dyn Objects) -> Result<Content, StoreError> {
        let mut spine = self.spine.clone();
        spine.settle(objects)?;
        root::write(objects, &spine)
    }

    fn merge(
        objects: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let nothing = Spine::default();
        let base = base.map_or(&nothing, |base| &base.spine);
        let spine = merge::merge(objects, base, &ours.spine, &theirs.spine)?;
        Ok(Self { spine })
    }
}
