//! Three-way merge of texts, by edits.

use std::cmp::Ordering;
use std::ops::Range;

use super::super::error::StoreError;
use super::super::merge::{Authors, Conflict, MergeError};
use super::super::object::Objects;
use super::Rope;
use super::diff::{Change, diff};

/// Characters up to which two inserted texts are compared as text; beyond, equal beginnings are told apart by
/// length and id.
const MAX_COMPARED: u64 = 4096;

/// Characters that two texts without a common ancestor must have in a row to be taken for parts of one text.
const MIN_SHARED: u64 = 16;

/// Characters among which the end of a line is looked for; a longer line may be cut.
const MAX_LINE: u64 = 1024;

/// Conflicts named in the reason; the rest are counted.
const MAX_PLACES_NAMED: usize = 8;

/// Merges two texts that were one at `base`. See the module's guarantees.
pub fn merge(
    objects: &dyn Objects,
    authors: Authors<'_>,
    base: Option<&Rope>,
    ours: &Rope,
    theirs: &Rope,
) -> Result<Rope, MergeError> {
    let Some(base) = base else {
        return Ok(unite(objects, authors, ours, theirs)?);
    };
    let our_edits = edits(objects, base, ours)?;
    let their_edits = edits(objects, base, theirs)?;
    let merged = interleave(objects, authors, our_edits, their_edits)?;
    Ok(apply(objects, base, &merged)?)
}

/// A part of the base, and the part of a side that stands there instead.
#[derive(Clone)]
struct Edit<'a> {
    place: Range<u64>,
    side: &'a Rope,
    text: Range<u64>,
}

impl Edit<'_> {
    fn is_insert(&self) -> bool {
        self.place.is_empty()
    }

    fn len(&self) -> u64 {
        self.text.end - self.text.start
    }

    fn is_same(&self, objects: &dyn Objects, other: &Self) -> Result<bool, StoreError> {
        if self.place != other.place || self.len() != other.len() {
            return Ok(false);
        }
        Ok(self.compare(objects, other)? == Ordering::Equal)
    }

    /// Whether they change the same text, or one inserts within what the other replaces.
    fn clashes(&self, other: &Self) -> bool {
        let (one, two) = (&self.place, &other.place);
        one.start < two.end && two.start < one.end
    }

    /// An order of the texts that edits put in their places; equal for equal texts only.
    fn compare(&self, objects: &dyn Objects, other: &Self) -> Result<Ordering, StoreError> {
        let start = |edit: &Self| {
            let length = edit.len().min(MAX_COMPARED);
            edit.side
                .slice(objects, edit.text.start..edit.text.start + length)
        };
        let by_text = start(self)?.cmp(&start(other)?);
        if by_text != Ordering::Equal || self.len().max(other.len()) <= MAX_COMPARED {
            return Ok(by_text);
        }
        let id = |edit: &Self| Ok::<_, StoreError>(edit.side.sub(objects, edit.text.clone())?.id());
        Ok(self
            .len()
            .cmp(&other.len())
            .then(id(self)?.cmp(&id(other)?)))
    }
}

fn edits<'a>(
    objects: &dyn Objects,
    base: &Rope,
    side: &'a Rope,
) -> Result<Vec<Edit<'a>>, StoreError> {
    let edit = |Change { old, new }| Edit {
        place: old,
        side,
        text: new,
    };
    Ok(diff(objects, base, side)?.into_iter().map(edit).collect())
}

/// Both sides' edits in the order of their places, each once; or the places where they clash.
fn interleave<'a>(
    objects: &dyn Objects,
    authors: Authors<'_>,
    ours: Vec<Edit<'a>>,
    theirs: Vec<Edit<'a>>,
) -> Result<Vec<Edit<'a>>, MergeError> {
    let mut merged = Vec::with_capacity(ours.len() + theirs.len());
    let mut clashes: Vec<Range<u64>> = Vec::new();
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
        let place = |edit: &Edit| (edit.place.start, edit.place.end);
        let ours_first = if our.is_same(objects, their)? {
            theirs.next();
            true
        } else if our.clashes(their) {
            let (start, end) = (
                our.place.start.min(their.place.start),
                our.place.end.max(their.place.end),
            );
            match clashes.last_mut() {
                Some(last) if start < last.end => last.end = last.end.max(end),
                _ => clashes.push(start..end),
            }
            our.place.end < their.place.end
        } else if our.is_insert() && our.place == their.place {
            order(objects, authors, our, their)? == Ordering::Less
        } else {
            place(our) < place(their)
        };
        merged.extend(if ours_first {
            ours.next()
        } else {
            theirs.next()
        });
    }
    merged.extend(ours);
    merged.extend(theirs);
    if clashes.is_empty() {
        return Ok(merged);
    }
    let named = |place: &Range<u64>| format!("characters {} to {}", place.start, place.end);
    let mut places: Vec<String> = clashes.iter().take(MAX_PLACES_NAMED).map(named).collect();
    if let Some(more @ 1..) = clashes.len().checked_sub(MAX_PLACES_NAMED) {
        places.push(format!("{more} more places"));
    }
    Err(Conflict::new(format!(
        "both sides changed {} of the text they had in common",
        places.join(", ")
    ))
    .into())
}

/// Which of two texts at one place stands first: by the nodes that made the sides; if these are not known, or one, by
/// the texts. Neither depends on which side is called ours.
fn order(
    objects: &dyn Objects,
    authors: Authors<'_>,
    our: &Edit<'_>,
    their: &Edit<'_>,
) -> Result<Ordering, StoreError> {
    match (authors.ours, authors.theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Ok(ours.cmp(theirs)),
        _ => our.compare(objects, their),
    }
}

/// The base with edits, which are in order and do not overlap.
fn apply(objects: &dyn Objects, base: &Rope, edits: &[Edit<'_>]) -> Result<Rope, StoreError> {
    let mut merged = base.clone();
    // From the back, so that the places of the others stay where they are.
    for Edit { place, side, text } in edits.iter().rev() {
        merged.replace_by(objects, place.clone(), side, text.clone())?;
    }
    Ok(merged)
}

/// Without a base, lines that both texts have are taken for one: they stand once, and what differs stands side by side.
fn unite(
    objects: &dyn Objects,
    authors: Authors<'_>,
    ours: &Rope,
    theirs: &Rope,
) -> Result<Rope, StoreError> {
    // A diff is not the same from either end, so the sides are brought into an order first.
    let (one, other, authors) = if ours.id() <= theirs.id() {
        (ours, theirs, authors)
    } else {
        (theirs, ours, authors.turned())
    };
    let mut united = Rope::new();
    let mut done = Shared {
        old: 0,
        new: 0,
        length: 0,
    };
    let ends = Shared {
        old: one.len(),
        new: other.len(),
        length: 0,
    };
    for shared in shared_lines(objects, one, other)?.into_iter().chain([ends]) {
        let part = |side, text: Range<u64>| Edit {
            place: 0..0,
            side,
            text,
        };
        let first = part(one, done.old + done.length..shared.old);
        let second = part(other, done.new + done.length..shared.new);
        let both = part(one, shared.old..shared.old + shared.length);
        let in_order = order(objects, authors, &first, &second)? != Ordering::Greater;
        let differing = if in_order {
            [first, second]
        } else {
            [second, first]
        };
        for Edit { side, text, .. } in differing.into_iter().chain([both]) {
            let end = united.len();
            united.replace_by(objects, end..end, side, text)?;
        }
        done = shared;
    }
    Ok(united)
}

/// A stretch that two texts have in common, and where it begins in either.
struct Shared {
    old: u64,
    new: u64,
    length: u64,
}

/// What two texts have in common, in whole lines, where that is too much to be chance.
fn shared_lines(objects: &dyn Objects, old: &Rope, new: &Rope) -> Result<Vec<Shared>, StoreError> {
    let mut shared = Vec::new();
    let mut at = (0, 0);
    let end = Change {
        old: old.len()..old.len(),
        new: new.len()..new.len(),
    };
    for change in diff(objects, old, new)?.into_iter().chain([end]) {
        let (mut start, mut end) = (at.0, change.old.start);
        // The first and the last line are whole where they are those of both texts.
        if at != (0, 0) {
            let first = old.slice(objects, start..end.min(start + MAX_LINE))?;
            start += first
                .chars()
                .position(|c| c == '\n')
                .map_or(0, |at| at as u64 + 1);
        }
        if (change.old.start, change.new.start) != (old.len(), new.len()) {
            let last = old.slice(objects, start.max(end.saturating_sub(MAX_LINE))..end)?;
            end -= last.chars().rev().position(|c| c == '\n').unwrap_or(0) as u64;
        }
        if end - start >= MIN_SHARED {
            shared.push(Shared {
                old: start,
                new: start - at.0 + at.1,
                length: end - start,
            });
        }
        at = (change.old.end, change.new.end);
    }
    Ok(shared)
}
