//! How a text is cut: the same way wherever it stands and however it came to be.
//!
//! The parse goes in rounds; the first works on the characters. A round
//!
//! 1. takes each stretch of equal symbols as one member of its sequence, so that no two neighbours are equal;
//! 2. starts a block at each member whose rank, a hash, is lower than those of both neighbours;
//! 3. makes a symbol of each block, for the next round;
//!
//! until one symbol is left: the text. Every block but the first has two members or more, so there are at most log2 n rounds, and about
//! log3 n for most texts.
//!
//! Whether a block starts somewhere depends on the members beside that place alone. Three things follow:
//!
//! - An edit changes the blocks it touches and their neighbours, in each round: O(log n) symbols.
//! - A million equal characters are one member, and so is any longer pattern that repeats, in the
//!   round that finds it. Content without variety makes the parse smaller, not worse.
//! - A symbol's text alone parses as it did in its place: a block that follows starts with a member lower than
//!   the last one of the block before, and its first member is lower than its second. So short texts are kept as text.
//!
//! This is the locally consistent parsing of Mehlhorn, Sundar and Uhrig ("Maintaining dynamic sequences under equality tests in
//! polylogarithmic time", 1997), with a hash in place of deterministic coin tossing. The price: a block is short on average, not always. A text whose characters
//! stand in the order of their hashes is one block; who writes such a text makes edits of it slow, not wrong.

use super::super::error::StoreError;
use super::super::object::Objects;
use super::symbol::{Member, Symbol, error};

/// Equal neighbours as one member.
pub fn runs(members: impl IntoIterator<Item = Member>) -> Result<Vec<Member>, StoreError> {
    let mut runs: Vec<Member> = Vec::new();
    for member in members {
        match runs.last_mut() {
            Some(last) if last.symbol.key == member.symbol.key => {
                let sum = last.count.checked_add(member.count);
                last.count = sum.ok_or_else(|| error("a text repeats too often".to_owned()))?;
            }
            _ => runs.push(member),
        }
    }
    Ok(runs)
}

/// The symbols, of `height`, that a round makes of its members: the first and the last have no neighbour beyond.
pub fn blocks(
    objects: &dyn Objects,
    members: &[Member],
    height: u32,
) -> Result<Vec<Symbol>, StoreError> {
    let mut symbols = Vec::new();
    let mut start = 0;
    let ranks: Vec<u128> = members.iter().map(Member::rank).collect();
    for end in block_ends(&ranks) {
        symbols.push(Symbol::block(objects, &members[start..end], height)?);
        start = end;
    }
    Ok(symbols)
}

/// Where blocks of members with these ranks end, as indices behind their last members.
pub fn block_ends(ranks: &[u128]) -> impl Iterator<Item = usize> {
    let count = ranks.len();
    let starts = (1..count.saturating_sub(1))
        .filter(move |&at| ranks[at] < ranks[at - 1] && ranks[at] < ranks[at + 1]);
    starts.chain((count > 0).then_some(count))
}
