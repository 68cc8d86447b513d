//! The parse of a text that is one blob, without an object for each symbol on the way: most of the work of an edit is to parse the
//! blobs around it.

use super::super::error::StoreError;
use super::parse::block_ends;
use super::symbol::{Member, Slice, Symbol, error, repeat_rank, text_key};

/// A symbol, or several equal ones in a row, as a part of the text.
#[derive(Clone, Copy)]
struct Piece {
    /// In bytes.
    start: usize,
    end: usize,
    /// Of all of it.
    chars: u64,
    count: u64,
    height: u32,
    /// Of one of them.
    key: u128,
}

impl Piece {
    fn rank(&self) -> u128 {
        repeat_rank(self.key, self.count)
    }

    fn member(&self, text: &Slice) -> Member {
        let one = text.part(self.start..self.start + (self.end - self.start) / self.count as usize);
        Member {
            symbol: Symbol::parsed(one, self.chars / self.count, self.height, self.key),
            count: self.count,
        }
    }
}

/// The members that the round after `round` made a text of; `None` if that round does not make one symbol of it.
pub fn members(text: &Slice, round: u32) -> Option<Vec<Member>> {
    let mut pieces = characters(text.as_str());
    for height in 1..=round {
        pieces = blocks(text.as_str(), &runs(pieces), height);
    }
    let several = pieces.len() > 1;
    let members = runs(pieces);
    let is_block = several && block_ends(&ranks(&members)).count() == 1;
    is_block.then(|| members.iter().map(|piece| piece.member(text)).collect())
}

/// The symbol that is all of a text; `None` if that is empty.
pub fn whole(text: &Slice) -> Result<Option<Symbol>, StoreError> {
    let mut pieces = characters(text.as_str());
    let mut height = 0;
    while pieces.len() > 1 {
        height += 1;
        pieces = blocks(text.as_str(), &runs(pieces), height);
    }
    let member = pieces.first().map(|piece| piece.member(text));
    match member {
        Some(Member { symbol, count: 1 }) => Ok(Some(symbol)),
        None => Ok(None),
        Some(_) => Err(error("a text did not become one symbol".to_owned())),
    }
}

fn characters(text: &str) -> Vec<Piece> {
    let piece = |(start, c): (usize, char)| {
        let end = start + c.len_utf8();
        Piece {
            start,
            end,
            chars: 1,
            count: 1,
            height: 0,
            key: text_key(&text[start..end], 1),
        }
    };
    text.char_indices().map(piece).collect()
}

/// Equal neighbours as one, in place.
fn runs(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.dedup_by(|next, last| {
        let equal = next.key == last.key;
        if equal {
            last.end = next.end;
            last.chars += next.chars;
            last.count += next.count;
        }
        equal
    });
    pieces
}

fn ranks(pieces: &[Piece]) -> Vec<u128> {
    pieces.iter().map(Piece::rank).collect()
}

fn blocks(text: &str, pieces: &[Piece], height: u32) -> Vec<Piece> {
    let mut start = 0;
    let block = |end: usize| {
        let block = &pieces[start..end];
        start = end;
        match block {
            [only] if only.count == 1 => *only,
            _ => {
                let (start, end) = (block[0].start, block[block.len() - 1].end);
                let chars = block.iter().map(|piece| piece.chars).sum();
                Piece {
                    start,
                    end,
                    chars,
                    count: 1,
                    height,
                    key: text_key(&text[start..end], chars),
                }
            }
        }
    };
    block_ends(&ranks(pieces)).map(block).collect()
}
