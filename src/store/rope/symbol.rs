//! Symbols: pieces of text that the [parse](super::parse) treats as one, at hand or in the store.

use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::super::error::StoreError;
use super::super::object::{Kind, ObjectId, Objects};
use super::{leaf, tree};

/// The name of the type, and of what errors speak about.
pub const NAME: &str = "rope";

/// The longest text that is one blob, in characters. Longer blobs would make fewer objects, shorter ones faster
/// edits, because an edit parses the blobs around it.
pub const LEAF_CHARS: u64 = 512;

/// Up to this many characters a symbol's key is a hash of its text; beyond, it is the beginning of its object id, so that a stored
/// symbol need not be read to compare it. Most of an edit's symbols are short, and this hash is ten times faster.
pub const TINY_CHARS: u64 = 48;

/// No text that a length in 64 bits describes has a higher parse: every second round halves it at least.
pub const MAX_HEIGHT: u32 = 130;

/// Part of a text that is shared by the symbols found in it.
#[derive(Clone, Debug)]
pub struct Slice {
    source: Arc<str>,
    start: usize,
    end: usize,
}

impl Slice {
    /// All of a text.
    pub fn new(source: Arc<str>) -> Self {
        let end = source.len();
        Self {
            source,
            start: 0,
            end,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.source[self.start..self.end]
    }

    /// A part of the text, in bytes.
    pub fn part(&self, range: Range<usize>) -> Self {
        Self {
            source: self.source.clone(),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    /// Each character as a symbol.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> + '_ {
        let symbol = |(at, c): (usize, char)| Symbol::text(self.part(at..at + c.len_utf8()), 1, 0);
        self.as_str().char_indices().map(symbol)
    }

    /// These texts one after the other; shared, not copied, if they are parts of one text that follow each other.
    fn concat(slices: &[Self]) -> Self {
        let adjacent = |pair: &[Self]| {
            Arc::ptr_eq(&pair[0].source, &pair[1].source) && pair[0].end == pair[1].start
        };
        match slices {
            [first, .., last] if slices.windows(2).all(adjacent) => Self {
                source: first.source.clone(),
                start: first.start,
                end: last.end,
            },
            [only] => only.clone(),
            _ => Self::new(slices.iter().map(Self::as_str).collect::<String>().into()),
        }
    }
}

/// A piece of text as the parse found it.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// Length in characters, at least 1.
    pub chars: u64,
    /// The round of the parse that made it; 0 for a character, and for nothing else.
    pub height: u32,
    /// Equal for equal symbols, and only for those.
    pub key: u128,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    /// At most [`LEAF_CHARS`], at hand.
    Text(Slice),
    /// At most [`LEAF_CHARS`], in the store.
    Blob(ObjectId),
    /// More. The members are at hand if it was made here; else they are in the store.
    Tree(ObjectId, Option<Arc<[Member]>>),
}

/// A symbol that stands one or more times in a row.
#[derive(Clone, Debug)]
pub struct Member {
    pub symbol: Symbol,
    /// At least 1.
    pub count: u64,
}

impl Member {
    /// A symbol that stands once.
    pub fn once(symbol: Symbol) -> Self {
        Self { symbol, count: 1 }
    }

    /// Length in characters; the sum over a symbol's members was checked to be a number.
    pub fn chars(&self) -> u64 {
        self.symbol.chars.saturating_mul(self.count)
    }

    /// What decides where blocks end. Different for different neighbours, save for collisions of a 128-bit hash.
    pub fn rank(&self) -> u128 {
        repeat_rank(self.symbol.key, self.count)
    }
}

impl Symbol {
    /// A symbol of a text of at most [`LEAF_CHARS`].
    pub fn text(slice: Slice, chars: u64, height: u32) -> Self {
        let key = text_key(slice.as_str(), chars);
        Self::parsed(slice, chars, height, key)
    }

    /// The same, with the key known.
    pub fn parsed(slice: Slice, chars: u64, height: u32, key: u128) -> Self {
        Self {
            chars,
            height,
            key,
            body: Body::Text(slice),
        }
    }

    /// The symbol that a round makes of a block. A block of one symbol is that symbol.
    pub fn block(
        objects: &dyn Objects,
        members: &[Member],
        height: u32,
    ) -> Result<Self, StoreError> {
        if let [Member { symbol, count: 1 }] = members {
            return Ok(symbol.clone());
        }
        let chars = checked_chars(members)?;
        if chars <= LEAF_CHARS {
            let mut slices = Vec::with_capacity(members.len());
            for member in members {
                let slice = member.symbol.slice(objects)?;
                slices.extend(std::iter::repeat_n(slice, member.count as usize));
            }
            return Ok(Self::text(Slice::concat(&slices), chars, height));
        }
        let id = ObjectId::of(Kind::Tree, tree::entries(members).encode());
        Ok(Self {
            chars,
            height,
            key: id_key(&id),
            body: Body::Tree(id, Some(members.into())),
        })
    }

    /// The symbol that is all of a stored tree.
    pub fn whole_tree(objects: &dyn Objects, id: ObjectId) -> Result<Self, StoreError> {
        let members = tree::load(objects, &id)?;
        let symbol = Self {
            chars: checked_chars(&members)?,
            height: height_above(&members),
            key: id_key(&id),
            body: Body::Tree(id, Some(members.into())),
        };
        if symbol.chars <= LEAF_CHARS || symbol.height > MAX_HEIGHT {
            return Err(error(format!(
                "tree {id} is not how text of its length is kept"
            )));
        }
        Ok(symbol)
    }

    /// A symbol that is in the store, as the tree above it describes it.
    pub fn stored(chars: u64, height: u32, id: ObjectId) -> Self {
        let is_text = chars <= LEAF_CHARS;
        Self {
            chars,
            height,
            key: id_key(&id),
            body: if is_text {
                Body::Blob(id)
            } else {
                Body::Tree(id, None)
            },
        }
    }

    /// Whether it is a tree, not a blob.
    pub fn is_tree(&self) -> bool {
        matches!(self.body, Body::Tree(..))
    }

    /// The id of its object.
    pub fn id(&self) -> ObjectId {
        match &self.body {
            Body::Text(slice) => ObjectId::of(Kind::Blob, slice.as_str().as_bytes()),
            Body::Blob(id) | Body::Tree(id, _) => *id,
        }
    }

    /// Writes what is not in the store yet.
    pub fn store(&self, objects: &dyn Objects) -> Result<ObjectId, StoreError> {
        match &self.body {
            Body::Text(slice) => objects.put(Kind::Blob, slice.as_str().as_bytes()),
            // Where a tree is, its members are.
            Body::Tree(id, Some(members)) if objects.get(id)?.is_none() => {
                for member in members.iter() {
                    member.symbol.store(objects)?;
                }
                objects.put(Kind::Tree, tree::entries(members).encode())
            }
            Body::Blob(id) | Body::Tree(id, _) => Ok(*id),
        }
    }

    /// The text, of a symbol that is not a tree.
    pub fn slice(&self, objects: &dyn Objects) -> Result<Slice, StoreError> {
        let id = match &self.body {
            Body::Text(slice) => return Ok(slice.clone()),
            Body::Blob(id) => id,
            Body::Tree(id, _) => {
                return Err(error(format!("tree {id} stands where a text should")));
            }
        };
        let bytes = objects.expect(id, Kind::Blob)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| error(format!("blob {id} is not UTF-8")))?;
        if text.chars().count() as u64 != self.chars {
            return Err(error(format!(
                "blob {id} is not of the length that its tree says"
            )));
        }
        Ok(Slice::new(text.into()))
    }

    /// The members, of a tree.
    pub fn members(&self, objects: &dyn Objects) -> Result<Arc<[Member]>, StoreError> {
        let id = match &self.body {
            Body::Tree(_, Some(members)) => return Ok(members.clone()),
            Body::Tree(id, None) => id,
            Body::Text(_) | Body::Blob(_) => {
                return Err(error("a text stands where a tree should".to_owned()));
            }
        };
        let members = tree::load(objects, id)?;
        if checked_chars(&members)? != self.chars || height_above(&members) != self.height {
            return Err(error(format!(
                "tree {id} is not of the size that the one above says"
            )));
        }
        Ok(members.into())
    }

    /// What the round after `round` made it of, where it stands among the symbols which that round made: itself, if that
    /// round only passed it on.
    pub fn expand(&self, objects: &dyn Objects, round: u32) -> Result<Vec<Member>, StoreError> {
        if self.height <= round {
            return Ok(vec![Member::once(self.clone())]);
        }
        if self.height > round + 1 {
            return Err(error(format!(
                "{} is higher than where it stands",
                self.id()
            )));
        }
        if self.is_tree() {
            return Ok(self.members(objects)?.to_vec());
        }
        let members = leaf::members(&self.slice(objects)?, round);
        members.ok_or_else(|| error(format!("{} is of another height", self.id())))
    }
}

/// A rope that is not well formed, or a wrong use of one.
pub fn error(detail: String) -> StoreError {
    StoreError::value(NAME, detail)
}

/// The key of a text of so many characters, at most [`LEAF_CHARS`].
pub fn text_key(text: &str, chars: u64) -> u128 {
    if chars <= TINY_CHARS {
        hash(text.as_bytes())
    } else {
        id_key(&ObjectId::of(Kind::Blob, text.as_bytes()))
    }
}

/// The rank of what stands so many times in a row.
pub fn repeat_rank(key: u128, count: u64) -> u128 {
    if count == 1 {
        return key;
    }
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&key.to_le_bytes());
    bytes[16..].copy_from_slice(&count.to_le_bytes());
    hash(&bytes)
}

/// The sum of the members' lengths.
pub fn checked_chars(members: &[Member]) -> Result<u64, StoreError> {
    let add =
        |sum: u64, member: &Member| sum.checked_add(member.symbol.chars.checked_mul(member.count)?);
    let sum = members.iter().try_fold(0, add);
    sum.ok_or_else(|| error("a text is longer than 64 bits can say".to_owned()))
}

/// The height of a symbol of these members. All but the first, which rounds may have passed on, were made by the round before.
fn height_above(members: &[Member]) -> u32 {
    1 + members
        .iter()
        .map(|member| member.symbol.height)
        .max()
        .unwrap_or(0)
}

/// SipHash-2-4 with 128 bits and key zero: everybody must find the same blocks.
fn hash(bytes: &[u8]) -> u128 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish128().as_u128()
}

fn id_key(id: &ObjectId) -> u128 {
    id.as_bytes()
        .iter()
        .take(16)
        .fold(0, |key, &byte| key << 8 | u128::from(byte))
}
