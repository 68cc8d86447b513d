//! Symbols as objects.
//!
//! A symbol of up to [`LEAF_CHARS`](super::symbol::LEAF_CHARS) characters is a blob with its text. A longer one is a tree whose
//! entries are its members in order, named `<index>,<characters>,<height>`, and `...,x<count>` if the member stands
//! there several times in a row. So a tree says how much text is where without its members being read.

use super::super::entries::{Entries, Entry, Mode};
use super::super::error::StoreError;
use super::super::object::{ObjectId, Objects};
use super::symbol::{MAX_HEIGHT, Member, Symbol, TINY_CHARS, error};

/// Digits of an index, so that Git's order of names is the order of members: enough for the longest block that somebody
/// could make with effort.
const INDEX_DIGITS: usize = 8;

/// The tree of these members.
pub fn entries(members: &[Member]) -> Entries {
    let mut entries = Entries::new();
    for (index, Member { symbol, count }) in members.iter().enumerate() {
        let mut name = format!("{index:0INDEX_DIGITS$},{},{}", symbol.chars, symbol.height);
        if *count > 1 {
            name.push_str(&format!(",x{count}"));
        }
        let mode = if symbol.is_tree() {
            Mode::Directory
        } else {
            Mode::File
        };
        entries.insert(&name, mode, symbol.id());
    }
    entries
}

/// The members of a stored tree.
pub fn load(objects: &dyn Objects, id: &ObjectId) -> Result<Vec<Member>, StoreError> {
    let stored = Entries::load(objects, id)?;
    let member = |entry: Entry<'_>| {
        let parsed = parse_entry(entry);
        let mut member =
            parsed.ok_or_else(|| error(format!("tree {id} has an entry {:?}", entry.name)))?;
        if member.symbol.chars <= TINY_CHARS {
            let Symbol { chars, height, .. } = member.symbol;
            member.symbol = Symbol::text(member.symbol.slice(objects)?, chars, height);
        }
        Ok(member)
    };
    let members = stored.iter().map(member).collect::<Result<Vec<_>, _>>()?;
    if entries(&members) != stored {
        return Err(error(format!("tree {id} is not in its canonical form")));
    }
    Ok(members)
}

/// What the entry of a tree says; its name is checked by writing it again.
fn parse_entry(entry: Entry<'_>) -> Option<Member> {
    let mut fields = entry.name.split(',').skip(1);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (chars, height) = (number()?, u32::try_from(number()?).ok()?);
    let count = match fields.next() {
        None => 1,
        Some(count) => count.strip_prefix('x')?.parse().ok()?,
    };
    let is_character = chars == 1;
    let plausible = chars > 0 && count > 0 && (height == 0) == is_character && height < MAX_HEIGHT;
    plausible.then(|| Member {
        symbol: Symbol::stored(chars, height, entry.id),
        count,
    })
}
