//! Three-way merge of queues, group by group.
//!
//! An element is in the result if it is on both sides, or on one side and not in the base: popped is popped, pushed is
//! pushed. Three cursors walk base and sides in step:
//!
//! - a group that two of them share is not read: shared by the sides, it is in the result; shared by the base and one
//!   side, the other side decides;
//! - a group that ends before the other two cursors go on is on one side only: it is taken, or left, as it is;
//! - of what overlaps otherwise, the group of the highest level is opened.
//!
//! So groups are opened only where a run of one side's elements meets a run of the other's, or where popped elements end: O(log n)
//! of them for each such place.

use super::super::error::StoreError;
use super::super::merge::{Conflict, MergeError};
use super::super::object::Objects;
use super::super::value::Stamp;
use super::element::Element;
use super::node::Item;
use super::spine::Spine;

/// Merges two queues against their common ancestor; without one, nothing was popped.
pub fn merge(
    objects: &dyn Objects,
    base: &Spine,
    ours: &Spine,
    theirs: &Spine,
) -> Result<Spine, MergeError> {
    let mut base = Cursor::new(base);
    let mut ours = Cursor::new(ours);
    let mut theirs = Cursor::new(theirs);
    let mut merged = Spine::default();
    loop {
        let step = next_step(&base, &ours, &theirs);
        match step {
            Step::Done => return Ok(merged),
            Step::SameOnSides => {
                if let Some(item) = ours.next() {
                    base.skip_through(item.last());
                    merged.append(objects, item)?;
                }
                theirs.next();
            }
            Step::UnchangedOnOneSide(side) => {
                let (unchanged, changed) = match side {
                    Side::Ours => (&mut ours, &mut theirs),
                    Side::Theirs => (&mut theirs, &mut ours),
                };
                unchanged.next();
                if let Some(item) = base.next() {
                    changed.move_through(objects, item.last(), &mut merged)?;
                }
            }
            Step::OnlyOn(Side::Ours) => move_one(objects, &mut ours, &mut merged)?,
            Step::OnlyOn(Side::Theirs) => move_one(objects, &mut theirs, &mut merged)?,
            Step::OnlyInBase => {
                base.next();
            }
            Step::Elements => {
                merge_first(objects, [&mut base, &mut ours, &mut theirs], &mut merged)?
            }
            Step::Open(level) => {
                for cursor in [&mut base, &mut ours, &mut theirs] {
                    cursor.open(objects, level)?;
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

/// What to do about what the three cursors are at.
enum Step {
    Done,
    /// The sides are at the same group.
    SameOnSides,
    /// This side is at the same group as the base.
    UnchangedOnOneSide(Side),
    /// What this side is at ends before the others go on.
    OnlyOn(Side),
    OnlyInBase,
    /// All that are not at their end are at elements.
    Elements,
    /// Groups of this level overlap something.
    Open(usize),
}

fn next_step(base: &Cursor, ours: &Cursor, theirs: &Cursor) -> Step {
    let same_group = |one: &Cursor, other: &Cursor| {
        one.peek().is_some_and(|item| item.level() > 0) && one.peek() == other.peek()
    };
    if ours.peek().is_none() && theirs.peek().is_none() {
        Step::Done
    } else if same_group(ours, theirs) {
        Step::SameOnSides
    } else if same_group(base, ours) {
        Step::UnchangedOnOneSide(Side::Ours)
    } else if same_group(base, theirs) {
        Step::UnchangedOnOneSide(Side::Theirs)
    } else if ours.ends_before([base, theirs]) {
        Step::OnlyOn(Side::Ours)
    } else if theirs.ends_before([base, ours]) {
        Step::OnlyOn(Side::Theirs)
    } else if base.ends_before([ours, theirs]) {
        Step::OnlyInBase
    } else {
        let items = [base, ours, theirs].map(Cursor::peek).into_iter().flatten();
        match items.map(Item::level).max() {
            Some(level @ 1..) => Step::Open(level),
            _ => Step::Elements,
        }
    }
}

fn move_one(objects: &dyn Objects, from: &mut Cursor, to: &mut Spine) -> Result<(), StoreError> {
    match from.next() {
        Some(item) => to.append(objects, item),
        None => Ok(()),
    }
}

/// Decides about the first of up to three elements, where at least two cursors are at that one.
fn merge_first(
    objects: &dyn Objects,
    mut cursors: [&mut Cursor; 3],
    merged: &mut Spine,
) -> Result<(), MergeError> {
    let Some(first) = cursors
        .iter()
        .filter_map(|cursor| cursor.peek())
        .map(Item::last)
        .min()
        .cloned()
    else {
        return Ok(());
    };
    let [base, ours, theirs] = cursors.each_mut().map(|cursor| cursor.next_element(&first));
    let element = match (base, ours, theirs) {
        (_, Some(ours), Some(theirs)) if ours == theirs => Some(ours),
        (Some(base), Some(ours), Some(theirs)) if base == ours => Some(theirs),
        (Some(base), Some(ours), Some(theirs)) if base == theirs => Some(ours),
        (_, Some(_), Some(_)) => {
            return Err(Conflict::new(format!("two elements have the stamp {first}")).into());
        }
        (None, Some(one), None) | (None, None, Some(one)) => Some(one),
        _ => None,
    };
    if let Some(element) = element {
        merged.append(objects, Item::Element(element))?;
    }
    Ok(())
}

/// A walk over a queue in its order, in steps as large as the structure has them.
pub struct Cursor {
    /// What is ahead, the next item last.
    ahead: Vec<Item>,
    /// The end of what was passed: all that is ahead begins behind it. Without this, cursors that stand at the same
    /// place could not know it before they have opened all groups that begin there.
    passed: Option<Stamp>,
}

impl Cursor {
    /// At the first item.
    pub fn new(spine: &Spine) -> Self {
        let mut ahead: Vec<Item> = spine.items().cloned().collect();
        ahead.reverse();
        Self {
            ahead,
            passed: None,
        }
    }

    /// The next element, reading the groups it is in.
    pub fn step(&mut self, objects: &dyn Objects) -> Result<Option<Element>, StoreError> {
        loop {
            match self.ahead.pop() {
                None => return Ok(None),
                Some(Item::Element(element)) => return Ok(Some(element)),
                Some(Item::Group(link)) => self.ahead.extend(link.load(objects)?.into_iter().rev()),
            }
        }
    }

    fn peek(&self) -> Option<&Item> {
        self.ahead.last()
    }

    fn next(&mut self) -> Option<Item> {
        let item = self.ahead.pop()?;
        self.passed = Some(item.last().clone());
        Some(item)
    }

    /// The element with this stamp, if the cursor is at it.
    fn next_element(&mut self, stamp: &Stamp) -> Option<Element> {
        match self.peek() {
            Some(Item::Element(element)) if &element.stamp == stamp => match self.next() {
                Some(Item::Element(element)) => Some(element),
                _ => None,
            },
            _ => None,
        }
    }

    /// Replaces the group the cursor is at by its members, if it is of this level.
    fn open(&mut self, objects: &dyn Objects, level: usize) -> Result<(), StoreError> {
        if let Some(Item::Group(link)) = self.peek()
            && link.level == level
        {
            let members = link.load(objects)?;
            self.ahead.pop();
            self.ahead.extend(members.into_iter().rev());
        }
        Ok(())
    }

    /// Whether all that is ahead is known to be behind a stamp.
    fn begins_behind(&self, end: &Stamp) -> bool {
        match self.peek() {
            None => true,
            Some(Item::Element(element)) => &element.stamp > end,
            Some(Item::Group(_)) => self.passed.as_ref().is_some_and(|passed| passed >= end),
        }
    }

    /// Whether the next item is known to be before all that is ahead of the others.
    fn ends_before(&self, others: [&Self; 2]) -> bool {
        let behind = |item: &Item| others.iter().all(|other| other.begins_behind(item.last()));
        self.peek().is_some_and(behind)
    }

    /// Passes what ends at or before a stamp.
    fn skip_through(&mut self, end: &Stamp) {
        while self.peek().is_some_and(|item| item.last() <= end) {
            self.next();
        }
    }

    /// Moves all elements up to and including a stamp.
    fn move_through(
        &mut self,
        objects: &dyn Objects,
        end: &Stamp,
        to: &mut Spine,
    ) -> Result<(), StoreError> {
        while !self.begins_behind(end) {
            match self.peek() {
                Some(Item::Group(link)) if &link.last > end => {
                    let level = link.level;
                    self.open(objects, level)?;
                }
                _ => move_one(objects, self, to)?,
            }
        }
        Ok(())
    }
}
