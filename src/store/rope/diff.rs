//! What changed from one text to another, found from the top of both parses down.
//!
//! Two texts are compared as sequences of symbols, round by round: equal symbols are matched by key and never looked
//! into, and only what is left between matches is expanded and compared in the round below. So the
//! cost goes with the change: an edit leaves O(1) symbols unmatched in each round.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::error::StoreError;
use super::super::object::Objects;
use super::Rope;
use super::align::{shortest_edit, unique_anchors};
use super::compact::compact;
use super::parse::runs;
use super::symbol::Member;

/// Symbols, on either side, up to which a gap between matches is looked into; a larger one is one change.
const MAX_GAP: u64 = 1 << 16;

/// Characters that make a symbol long: too many to stand in two places by chance.
const MIN_ANCHOR: u64 = 16;

/// Characters up to which a gap is left to the comparison of characters.
const MAX_EXACT: u64 = 8192;

/// A stretch of fewer equal characters between two changes is taken for chance, not for text that was kept: the
/// changes are one. Else two sides that wrote a word anew would be merged letter by letter.
const MIN_COMMON: u64 = 3;

/// A part of the old text and what it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub old: Range<u64>,
    pub new: Range<u64>,
}

/// All that changed, in order. What is between changes is equal; the answer depends on the two texts alone.
pub fn diff(objects: &dyn Objects, old: &Rope, new: &Rope) -> Result<Vec<Change>, StoreError> {
    let mut differ = Differ {
        objects,
        changes: Vec::new(),
    };
    let height = |rope: &Rope| rope.text.as_ref().map_or(0, |text| text.height);
    let gap = Gap {
        round: height(old).max(height(new)),
        old: Side::new(old.text.clone().map(Member::once), 0),
        new: Side::new(new.text.clone().map(Member::once), 0),
    };
    differ.gap(gap)?;
    let mut joined: Vec<Change> = Vec::new();
    for change in compact(objects, old, new, differ.changes)? {
        let change = match joined.pop_if(|last| change.old.start - last.old.end < MIN_COMMON) {
            Some(last) => last.join(change),
            None => change,
        };
        joined.push(change);
    }
    for change in &mut joined {
        change.trim(objects, old, new)?;
    }
    Ok(joined)
}

/// Symbols of one text, and where they are in it.
struct Side {
    members: VecDeque<Member>,
    range: Range<u64>,
}

impl Side {
    fn new(members: impl IntoIterator<Item = Member>, start: u64) -> Self {
        let members: VecDeque<Member> = members.into_iter().collect();
        let chars: u64 = members.iter().map(Member::chars).sum();
        Self {
            members,
            range: start..start + chars,
        }
    }

    /// Length in characters.
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Takes off what is behind the member at an index.
    fn split_behind(&mut self, at: usize) -> Self {
        let behind = self.members.split_off(at + 1);
        let length: u64 = behind.iter().map(Member::chars).sum();
        self.range.end -= length;
        Self::new(behind, self.range.end)
    }

    /// Number of symbols, each as often as it stands.
    fn count(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, member| sum.saturating_add(member.count))
    }

    /// The same text in symbols of the round below; `None` if these are too many to be compared.
    fn expand(&self, objects: &dyn Objects, round: u32) -> Result<Option<Self>, StoreError> {
        let mut members = Vec::new();
        for member in &self.members {
            let inner = member.symbol.expand(objects, round)?;
            for _ in 0..member.count {
                members.extend(inner.iter().cloned());
                if members.len() as u64 > MAX_GAP {
                    return Ok(None);
                }
            }
        }
        Ok(Some(Self::new(runs(members)?, self.range.start)))
    }
}

/// Two stretches of symbols between matches.
struct Gap {
    round: u32,
    old: Side,
    new: Side,
}

impl Gap {
    /// Whether something was only inserted, or only deleted, or nothing at all.
    fn is_one_change(&self) -> bool {
        self.old.members.is_empty() || self.new.members.is_empty()
    }

    /// Leaves out what both begin with and what both end with.
    fn trim(&mut self) {
        while self.trim_first() {}
        while self.trim_last() {}
    }

    /// Leaves out the first member of both, if it is the same, as often as both have it; says whether it was.
    fn trim_first(&mut self) -> bool {
        let (Some(old), Some(new)) = (self.old.members.front_mut(), self.new.members.front_mut())
        else {
            return false;
        };
        let common = common(old, new);
        for side in [&mut self.old, &mut self.new] {
            side.range.start += common;
            side.members.pop_front_if(|member| member.count == 0);
        }
        common > 0
    }

    /// Leaves out the last member of both, if it is the same, as often as both have it; says whether it was.
    fn trim_last(&mut self) -> bool {
        let (Some(old), Some(new)) = (self.old.members.back_mut(), self.new.members.back_mut())
        else {
            return false;
        };
        let common = common(old, new);
        for side in [&mut self.old, &mut self.new] {
            side.range.end -= common;
            side.members.pop_back_if(|member| member.count == 0);
        }
        common > 0
    }

    /// Members of either side that are taken for the same.
    ///
    /// Short symbols often are equal by chance, and a long way from what they became; so as long as there is a round
    /// below, only long ones count, and only such as stand once. What is short enough then is compared
    /// character by character. What is long and repeats is compared in symbols, the best way that is affordable.
    fn matches(&self) -> Vec<(usize, usize)> {
        let keys = |side: &Side| {
            side.members
                .iter()
                .map(|member| member.symbol.key)
                .collect::<Vec<_>>()
        };
        let (old, new) = (keys(&self.old), keys(&self.new));
        if self.round > 0 {
            let is_long = |at: usize| self.old.members[at].chars() >= MIN_ANCHOR;
            let anchors = unique_anchors(&old, &new, is_long);
            if !anchors.is_empty() || self.old.len().max(self.new.len()) <= MAX_EXACT {
                return anchors;
            }
        }
        shortest_edit(&old, &new).unwrap_or_default()
    }

    /// Splits at the members that are matched. If one of two stands more often in a row than the other, what is too
    /// many belongs to the gap before.
    fn split(mut self) -> Vec<Self> {
        let mut matches = self.matches();
        let mut gaps = Vec::with_capacity(matches.len() + 1);
        // From the back, so that what is split off is not moved again.
        matches.reverse();
        for (old, new) in matches {
            gaps.push(Self {
                round: self.round,
                old: self.old.split_behind(old),
                new: self.new.split_behind(new),
            });
            self.trim_last();
        }
        gaps.push(self);
        gaps.reverse();
        gaps
    }
}

/// Takes off both what they have in common, and says how many characters that is.
fn common(old: &mut Member, new: &mut Member) -> u64 {
    if old.symbol.key != new.symbol.key {
        return 0;
    }
    let count = old.count.min(new.count);
    old.count -= count;
    new.count -= count;
    count * old.symbol.chars
}

struct Differ<'a> {
    objects: &'a dyn Objects,
    changes: Vec<Change>,
}

impl Differ<'_> {
    fn gap(&mut self, mut gap: Gap) -> Result<(), StoreError> {
        gap.trim();
        let symbols = gap.old.count().saturating_add(gap.new.count());
        if gap.is_one_change() || symbols > MAX_GAP {
            self.change(gap.old.range, gap.new.range);
            return Ok(());
        }
        for mut gap in gap.split() {
            gap.trim();
            match self.expand(&gap)? {
                Some(below) => self.gap(below)?,
                None => self.change(gap.old.range, gap.new.range),
            }
        }
        Ok(())
    }

    /// The gap in symbols of the round below, if that can tell more.
    fn expand(&self, gap: &Gap) -> Result<Option<Gap>, StoreError> {
        let Some(round) = gap.round.checked_sub(1).filter(|_| !gap.is_one_change()) else {
            return Ok(None);
        };
        let old = gap.old.expand(self.objects, round)?;
        let new = gap.new.expand(self.objects, round)?;
        Ok(old.zip(new).map(|(old, new)| Gap { round, old, new }))
    }

    fn change(&mut self, old: Range<u64>, new: Range<u64>) {
        if !old.is_empty() || !new.is_empty() {
            self.changes.push(Change { old, new });
        }
    }
}
