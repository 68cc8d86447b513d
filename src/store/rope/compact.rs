//! One place for each change among those that mean the same.
//!
//! "Deleted `b a`" and "deleted `a b`" are the same change of `a b a`, and which one a comparison finds depends on what else it
//! had to compare. So insertions and deletions slide up as far as they can, joining with what they meet, and then down:
//! the same edit on two sides becomes the same change. (Git does this to diffs of lines.)

use super::super::error::StoreError;
use super::super::object::Objects;
use super::Rope;
use super::diff::Change;

/// Characters that a change slides at most: beyond, the text repeats too much for places to mean anything.
const MAX_SLIDE: u64 = 256;

/// Slides and joins changes, which are in order; so is the result.
pub fn compact(
    objects: &dyn Objects,
    old: &Rope,
    new: &Rope,
    changes: Vec<Change>,
) -> Result<Vec<Change>, StoreError> {
    let mut up: Vec<Change> = Vec::with_capacity(changes.len());
    for mut change in changes {
        loop {
            let limit = up
                .last()
                .map_or((0, 0), |last| (last.old.end, last.new.end));
            change.slide_up(objects, old, new, limit)?;
            match up.pop_if(|last| last.old.end == change.old.start) {
                Some(before) => change = before.join(change),
                None => break,
            }
        }
        up.push(change);
    }
    let mut down: Vec<Change> = Vec::with_capacity(up.len());
    while let Some(mut change) = up.pop() {
        loop {
            let ends = (old.len(), new.len());
            let limit = down
                .last()
                .map_or(ends, |next| (next.old.start, next.new.start));
            change.slide_down(objects, old, new, limit)?;
            match down.pop_if(|next| next.old.start == change.old.end) {
                Some(behind) => change = change.join(behind),
                None => break,
            }
        }
        down.push(change);
    }
    down.reverse();
    Ok(down)
}

impl Change {
    /// This change and the next one, and what is between.
    pub fn join(self, next: Self) -> Self {
        Self {
            old: self.old.start..next.old.end,
            new: self.new.start..next.new.end,
        }
    }

    /// Leaves out what old and new text begin with, then what they end with.
    pub fn trim(
        &mut self,
        objects: &dyn Objects,
        old: &Rope,
        new: &Rope,
    ) -> Result<(), StoreError> {
        let room = |change: &Self| {
            let old = change.old.end - change.old.start;
            old.min(change.new.end - change.new.start).min(MAX_SLIDE)
        };
        let length = room(self);
        let one = old.slice(objects, self.old.start..self.old.start + length)?;
        let other = new.slice(objects, self.new.start..self.new.start + length)?;
        let steps = equal(one.chars(), other.chars());
        (self.old.start, self.new.start) = (self.old.start + steps, self.new.start + steps);
        let length = room(self);
        let one = old.slice(objects, self.old.end - length..self.old.end)?;
        let other = new.slice(objects, self.new.end - length..self.new.end)?;
        let steps = equal(one.chars().rev(), other.chars().rev());
        (self.old.end, self.new.end) = (self.old.end - steps, self.new.end - steps);
        Ok(())
    }

    fn slide_up(
        &mut self,
        objects: &dyn Objects,
        old: &Rope,
        new: &Rope,
        limit: (u64, u64),
    ) -> Result<(), StoreError> {
        let Some((text, range, limit)) = self.slides_in(old, new, limit) else {
            return Ok(());
        };
        let room = (range.start - limit).min(MAX_SLIDE);
        let before = text.slice(objects, range.start - room..range.start)?;
        let inside = text.slice(objects, range.end - room..range.end)?;
        let steps = equal(before.chars().rev(), inside.chars().rev());
        for range in [&mut self.old, &mut self.new] {
            *range = range.start - steps..range.end - steps;
        }
        Ok(())
    }

    fn slide_down(
        &mut self,
        objects: &dyn Objects,
        old: &Rope,
        new: &Rope,
        limit: (u64, u64),
    ) -> Result<(), StoreError> {
        let Some((text, range, limit)) = self.slides_in(old, new, limit) else {
            return Ok(());
        };
        let room = (limit - range.end).min(MAX_SLIDE);
        let inside = text.slice(objects, range.start..range.start + room)?;
        let behind = text.slice(objects, range.end..range.end + room)?;
        let steps = equal(inside.chars(), behind.chars());
        for range in [&mut self.old, &mut self.new] {
            *range = range.start + steps..range.end + steps;
        }
        Ok(())
    }

    /// The text in which a deletion or an insertion slides, with its place and its limit there.
    fn slides_in<'a>(
        &self,
        old: &'a Rope,
        new: &'a Rope,
        limit: (u64, u64),
    ) -> Option<(&'a Rope, std::ops::Range<u64>, u64)> {
        match (self.old.is_empty(), self.new.is_empty()) {
            (false, true) => Some((old, self.old.clone(), limit.0)),
            (true, false) => Some((new, self.new.clone(), limit.1)),
            _ => None,
        }
    }
}

/// How many characters are equal from the start.
fn equal(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> u64 {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .count() as u64
}
