//! The part of a queue that is at hand: its two ends.
//!
//! Take the sequence of all elements, level 0. Some elements end a group of level 1 (see [`level`]). The elements up to
//! the first such end are the *front* of level 0, those behind the last such end are its *rear*, and the groups
//! between are the sequence of level 1; in that, groups of level 2 end at some members, and so on until no member is left
//! between. If nothing ends, all of a sequence is rear.
//!
//! The [`Spine`] is the fronts and rears of all levels: O(log n) members, which is all that a push or a pop
//! touches. All groups between are [stored](Link), and read when a front has run out.
//! As ends depend on stamps alone, equal elements always give an equal spine.
//!
//! The same structure is the builder of merged queues: appending at the rear takes whole stored groups
//! wherever the ends allow, without reading them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::error::StoreError;
use super::super::object::Objects;
use super::super::value::Stamp;
use super::element::level;
use super::node::{Item, Link, check_members};

/// What is at hand of one level. Behind an [`Arc`], so that copies of a queue share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub front: Arc<VecDeque<Item>>,
    pub rear: Arc<VecDeque<Item>>,
}

impl Ends {
    fn is_empty(&self) -> bool {
        self.front.is_empty() && self.rear.is_empty()
    }
}

/// The ends of a queue. The highest level is never empty.
///
/// A front may have run out while there are groups above: then the spine is not *settled*, and
/// [`settle`](Self::settle) reads the next group. Only settled spines are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spine {
    levels: Vec<Ends>,
    count: u64,
}

impl Spine {
    /// A settled spine of these ends; `None` if they are not how a queue is cut.
    pub fn from_levels(levels: Vec<Ends>) -> Option<Self> {
        let top = levels.len().checked_sub(1);
        let mut count = 0_u64;
        for (at, Ends { front, rear }) in levels.iter().enumerate() {
            let (front, rear): (Vec<_>, Vec<_>) = (
                front.iter().cloned().collect(),
                rear.iter().cloned().collect(),
            );
            let cut_right = check_members(&front, at, true)
                && check_members(&rear, at, false)
                && (Some(at) == top || !front.is_empty());
            if !cut_right {
                return None;
            }
            for item in front.iter().chain(&rear) {
                count = count.checked_add(item.count())?;
            }
        }
        let spine = Self { levels, count };
        let ascending = spine
            .items()
            .zip(spine.items().skip(1))
            .all(|(item, next)| item.last() < next.last());
        (ascending && spine.levels.last().is_none_or(|ends| !ends.is_empty())).then_some(spine)
    }

    /// Fronts and rears, from level 0.
    pub fn levels(&self) -> &[Ends] {
        &self.levels
    }

    /// Number of elements.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Everything at hand, in the queue's order.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        let fronts = self.levels.iter().flat_map(|ends| ends.front.iter());
        fronts.chain(self.levels.iter().rev().flat_map(|ends| ends.rear.iter()))
    }

    /// The stamp of the last element.
    pub fn last(&self) -> Option<&Stamp> {
        let rear = self.levels.iter().find_map(|ends| ends.rear.back());
        let front = || self.levels.iter().rev().find_map(|ends| ends.front.back());
        rear.or_else(front).map(Item::last)
    }

    /// The first item at hand. It is an element if the spine is settled.
    pub fn first(&self) -> Option<&Item> {
        self.items().next()
    }

    /// Puts an item behind all others, reading groups only as far as their ends do not fall in with those that
    /// are here: O(1) amortised for elements, O(log n) for the first group after them.
    pub fn append(&mut self, objects: &dyn Objects, item: Item) -> Result<(), StoreError> {
        match item {
            Item::Group(link) if !self.accepts(link.level) => {
                for member in link.load(objects)? {
                    self.append(objects, member)?;
                }
                Ok(())
            }
            item => {
                self.push(item);
                Ok(())
            }
        }
    }

    /// Takes the first element: reads a group whenever a front has run out, O(1) amortised.
    pub fn take_first(&mut self, objects: &dyn Objects) -> Result<Option<Item>, StoreError> {
        self.refill(objects, 0)?;
        let Some(ends) = self.levels.first_mut() else {
            return Ok(None);
        };
        let side = if ends.front.is_empty() {
            &mut ends.rear
        } else {
            &mut ends.front
        };
        let first = Arc::make_mut(side).pop_front();
        self.count -= u64::from(first.is_some());
        self.trim();
        Ok(first)
    }

    /// Refills every front that has run out while there is something above it.
    pub fn settle(&mut self, objects: &dyn Objects) -> Result<(), StoreError> {
        for at in 0..self.levels.len() {
            self.refill(objects, at)?;
        }
        Ok(())
    }

    /// Refills one front, if it has run out and there is something above it; this may use up the front above.
    fn refill(&mut self, objects: &dyn Objects, at: usize) -> Result<(), StoreError> {
        let above = at + 1;
        if above >= self.levels.len() || !self.levels[at].front.is_empty() {
            return Ok(());
        }
        self.refill(objects, above)?;
        // Nothing has changed yet if reading fails. The rear is all there is of a level whose front is empty now.
        let ends = &mut self.levels[above];
        let side = if ends.front.is_empty() {
            &mut ends.rear
        } else {
            &mut ends.front
        };
        if let Some(Item::Group(link)) = side.front() {
            let members = link.load(objects)?;
            Arc::make_mut(side).pop_front();
            self.levels[at].front = Arc::new(members.into());
            self.trim();
        }
        Ok(())
    }

    /// Whether a group of this level can stand behind what is here as it is: everything before it has ended, and the
    /// fronts below it are there.
    fn accepts(&self, level: usize) -> bool {
        level < self.levels.len() + 1
            && self.levels[..level]
                .iter()
                .all(|ends| ends.rear.is_empty() && !ends.front.is_empty())
    }

    /// Puts an item that is accepted behind all others, as any element is, and ends the groups that end with it.
    pub fn push(&mut self, mut item: Item) {
        self.count += item.count();
        let end = level(item.last());
        for at in item.level().. {
            if self.levels.len() == at {
                self.levels.push(Ends::default());
            }
            let nothing_above = self.levels.len() == at + 1;
            let Ends { front, rear } = &mut self.levels[at];
            let is_first = front.is_empty() && nothing_above;
            if end == at || is_first {
                Arc::make_mut(rear).push_back(item);
                if end > at {
                    *front = std::mem::take(rear);
                }
                break;
            }
            let members = std::mem::take(Arc::make_mut(rear));
            item = Item::Group(Link::new(members.into(), item, at + 1));
        }
    }

    fn trim(&mut self) {
        while self.levels.last().is_some_and(Ends::is_empty) {
            self.levels.pop();
        }
    }
}
