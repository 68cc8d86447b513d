//! The one way in which ropes change: what is left of a place in one text, new symbols, and what is right of a place
//! in another, become one text.
//!
//! All rounds of the [parse](super::parse) are redone around the seam, and nowhere else. A round takes from either side what is left of
//! the block that was cut, and [`CONTEXT_BLOCKS`] whole blocks: then the outer ends of what it works on are
//! ends of blocks in the new text as they were in the old one.

use super::super::error::StoreError;
use super::super::object::Objects;
use super::parse::{blocks, runs};
use super::symbol::{Member, Symbol, error};

/// Whole blocks a round takes from either side. That a block starts where the left one of them does depends on its first two members;
/// the second could only change by becoming a longer stretch of equal symbols, which the next block prevents.
/// That the block behind the right one of them starts there depends on that one's last member, likewise.
const CONTEXT_BLOCKS: usize = 2;

/// What is on one side of a place in a text.
#[derive(Default)]
pub struct Context {
    /// For each round, members of its sequence that belong to the block the place is in; the one next to the
    /// place last. They are followed, going away from the place, by the members of the next round's block.
    rounds: Vec<Vec<Member>>,
    /// Whether the text is right of the place.
    is_right: bool,
}

impl Context {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// What is left and right of the place before character number `at`, which is not beyond the end.
    pub fn around(
        objects: &dyn Objects,
        text: Option<&Symbol>,
        at: u64,
    ) -> Result<(Self, Self), StoreError> {
        let Some(text) = text else {
            return Ok((Self::empty(), Self::empty()));
        };
        let mut round = text.height as usize;
        let mut left = Self {
            rounds: vec![Vec::new(); round + 1],
            is_right: false,
        };
        let mut right = Self {
            rounds: vec![Vec::new(); round + 1],
            is_right: true,
        };
        let mut symbol = text.clone();
        let mut offset = at;
        loop {
            if offset == 0 {
                right.rounds[round].push(Member::once(symbol));
                return Ok((left, right));
            }
            if offset == symbol.chars {
                left.rounds[round].push(Member::once(symbol));
                return Ok((left, right));
            }
            round = round
                .checked_sub(1)
                .ok_or_else(|| error("a character is longer than one".to_owned()))?;
            let mut members = symbol.expand(objects, round as u32)?.into_iter();
            let mut cut = members.next();
            while let Some(member) = cut.take_if(|member| member.chars() <= offset) {
                offset -= member.chars();
                left.rounds[round].push(member);
                cut = members.next();
            }
            right.rounds[round].extend(members.rev());
            let Some(Member {
                symbol: inner,
                count,
            }) = cut
            else {
                return Ok((left, right));
            };
            let before = offset / inner.chars;
            offset %= inner.chars;
            let repeat = |count| {
                (count > 0).then(|| Member {
                    symbol: inner.clone(),
                    count,
                })
            };
            left.rounds[round].extend(repeat(before));
            right.rounds[round].extend(repeat(count - before - 1));
            symbol = inner;
        }
    }

    /// Whether nothing is left for this round and all later ones.
    fn is_exhausted(&self, round: usize) -> bool {
        self.rounds.iter().skip(round).all(Vec::is_empty)
    }

    /// What this round redoes on this side, in the order of the text.
    fn take(&mut self, objects: &dyn Objects, round: usize) -> Result<Vec<Member>, StoreError> {
        let mut taken = self
            .rounds
            .get_mut(round)
            .map(std::mem::take)
            .unwrap_or_default();
        taken.reverse();
        for _ in 0..CONTEXT_BLOCKS {
            let Some(symbol) = self.take_symbol(objects, round + 1)? else {
                break;
            };
            taken.extend(self.outward(symbol.expand(objects, round as u32)?));
        }
        if !self.is_right {
            taken.reverse();
        }
        Ok(taken)
    }

    /// The symbol next to the place in the sequence that this round works on.
    fn take_symbol(
        &mut self,
        objects: &dyn Objects,
        round: usize,
    ) -> Result<Option<Symbol>, StoreError> {
        if round >= self.rounds.len() {
            return Ok(None);
        }
        if self.rounds[round].is_empty() {
            let Some(block) = self.take_symbol(objects, round + 1)? else {
                return Ok(None);
            };
            let mut members = self.outward(block.expand(objects, round as u32)?);
            members.reverse();
            self.rounds[round] = members;
        }
        let members = &mut self.rounds[round];
        let Some(next) = members.last_mut() else {
            return Ok(None);
        };
        let symbol = next.symbol.clone();
        next.count -= 1;
        if next.count == 0 {
            members.pop();
        }
        Ok(Some(symbol))
    }

    /// Members in the order going away from the place.
    fn outward(&self, mut members: Vec<Member>) -> Vec<Member> {
        if !self.is_right {
            members.reverse();
        }
        members
    }
}

/// The text of the left side, the symbols of round 0 that are new, and the right side.
pub fn splice(
    objects: &dyn Objects,
    mut left: Context,
    new: Vec<Symbol>,
    mut right: Context,
) -> Result<Option<Symbol>, StoreError> {
    let mut symbols = new;
    let mut round = 0;
    while symbols.len() > 1 || !left.is_exhausted(round) || !right.is_exhausted(round) {
        let before = left.take(objects, round)?;
        let after = right.take(objects, round)?;
        let members = before
            .into_iter()
            .chain(symbols.into_iter().map(Member::once))
            .chain(after);
        symbols = blocks(objects, &runs(members)?, round as u32 + 1)?;
        round += 1;
    }
    Ok(symbols.pop())
}
