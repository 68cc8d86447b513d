//! Reading ropes: parts of them, and all of one that is not trusted yet.

use std::ops::Range;

use super::super::error::StoreError;
use super::super::object::{IdMap, Objects};
use super::Rope;
use super::symbol::{Symbol, error};

impl Rope {
    /// The character at a position.
    pub fn get(&self, objects: &dyn Objects, at: u64) -> Result<char, StoreError> {
        let found = self.slice(objects, at..at.saturating_add(1))?;
        found.chars().next().ok_or_else(|| self.beyond(at))
    }

    /// Part of the text.
    pub fn slice(&self, objects: &dyn Objects, range: Range<u64>) -> Result<String, StoreError> {
        self.check_range(&range)?;
        let mut out = String::new();
        if let Some(text) = &self.text {
            read(objects, text, range, &mut out)?;
        }
        Ok(out)
    }

    /// Reads all of it, and checks that it is in the one form that its text has: what a rope from elsewhere needs
    /// before it is trusted. Repeated text is read once.
    pub fn check(&self, objects: &dyn Objects) -> Result<(), StoreError> {
        let rebuilt = match &self.text {
            Some(text) => rebuild(objects, text, &mut IdMap::default())?.text,
            None => None,
        };
        match (&self.text, &rebuilt) {
            (Some(text), Some(rebuilt)) if text.id() != rebuilt.id() => Err(error(format!(
                "{} is cut otherwise than its text would be",
                text.id()
            ))),
            _ => Ok(()),
        }
    }
}

/// Appends a part of a symbol's text, which is not beyond its end.
fn read(
    objects: &dyn Objects,
    symbol: &Symbol,
    range: Range<u64>,
    out: &mut String,
) -> Result<(), StoreError> {
    if !symbol.is_tree() {
        let slice = symbol.slice(objects)?;
        let part = slice.as_str().chars().skip(range.start as usize);
        out.extend(part.take((range.end - range.start) as usize));
        return Ok(());
    }
    let mut start = 0;
    for member in symbol.members(objects)?.iter() {
        let chars = member.symbol.chars;
        // The copies that the range touches, of this member at `start`.
        let from = range.start.max(start);
        let to = range.end.min(start + member.chars());
        let mut at = from;
        while at < to {
            let within = (at - start) % chars;
            let length = (chars - within).min(to - at);
            read(objects, &member.symbol, within..within + length, out)?;
            at += length;
        }
        start += member.chars();
    }
    Ok(())
}

/// The same text, parsed again; each object once, however often it stands in the text.
fn rebuild(
    objects: &dyn Objects,
    symbol: &Symbol,
    known: &mut IdMap<Rope>,
) -> Result<Rope, StoreError> {
    if !symbol.is_tree() {
        return Rope::from_text(objects, symbol.slice(objects)?.as_str());
    }
    let id = symbol.id();
    if let Some(rope) = known.get(&id) {
        return Ok(rope.clone());
    }
    let mut rope = Rope::new();
    for member in symbol.members(objects)?.iter() {
        let mut power = rebuild(objects, &member.symbol, known)?;
        let mut count = member.count;
        // A text that repeats often costs the logarithm of how often: take the powers of two that add up to it.
        while count > 0 {
            if count & 1 == 1 {
                rope.append(objects, &power)?;
            }
            count >>= 1;
            if count > 0 {
                let half = power.clone();
                power.append(objects, &half)?;
            }
        }
    }
    known.insert(id, rope.clone());
    Ok(rope)
}
