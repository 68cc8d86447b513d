//! Writing packs: one for each group of commits.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::entry::{EntryKind, Header, deflate, delta};
use super::index::{Index, Located};
use crate::store::backend::NewObject;
use crate::store::object::{ID_LEN, IdMap, Kind, ObjectId};

/// Length of a pack's header: `PACK`, version 2, number of objects.
pub const PACK_HEADER: usize = 12;
/// Deltas on deltas, at most: as deep as Git makes them.
const MAX_DEPTH: usize = 50;

/// A finished pack.
pub struct Pack {
    pub data: Vec<u8>,
    pub index: Index,
    /// The last 20 bytes: names the pack.
    pub checksum: ObjectId,
}

/// A pack being filled.
pub struct PackBuilder {
    data: Vec<u8>,
    located: Vec<Located>,
    /// Trees in this pack that others may be a delta against.
    trees: IdMap<Base>,
    seen: IdMap<()>,
}

struct Base {
    offset: u64,
    depth: usize,
    data: Arc<[u8]>,
}

impl PackBuilder {
    /// Nothing in it.
    pub fn new() -> Self {
        let data = vec![0; PACK_HEADER];
        Self {
            data,
            located: Vec::new(),
            trees: IdMap::default(),
            seen: IdMap::default(),
        }
    }

    /// Adds an object; the same one again changes nothing. A tree that is like one already in the pack
    /// is written as a delta against it.
    pub fn add(&mut self, new: &NewObject) {
        if self.seen.insert(new.id, ()).is_some() {
            return;
        }
        let (offset, data) = (self.data.len() as u64, &new.object.data);
        let mut depth = 0;
        let mut difference = None;
        if let Some(base) = new.like.as_ref().and_then(|like| self.trees.get(like))
            && base.depth < MAX_DEPTH
        {
            let bytes = delta(&base.data, data);
            if bytes.len() < data.len() / 2 {
                depth = base.depth + 1;
                difference = Some((EntryKind::OffsetDelta(offset - base.offset), bytes));
            }
        }
        let kind = new.object.kind;
        match &difference {
            Some((kind, bytes)) => self.push(*kind, bytes),
            None => self.push(EntryKind::Whole(kind), data),
        }
        let crc = crc32(&self.data[offset as usize..]);
        self.located.push(Located {
            id: new.id,
            offset,
            crc,
        });
        if kind == Kind::Tree {
            self.trees.insert(
                new.id,
                Base {
                    offset,
                    depth,
                    data: data.clone(),
                },
            );
        }
    }

    /// Adds an entry that is packed already: its header, and its compressed data.
    pub fn add_packed(&mut self, id: ObjectId, header: &Header, compressed: &[u8]) -> u64 {
        let offset = self.data.len() as u64;
        header.encode(&mut self.data);
        self.data.extend_from_slice(compressed);
        let crc = crc32(&self.data[offset as usize..]);
        self.located.push(Located { id, offset, crc });
        offset
    }

    /// Where the next entry begins.
    pub fn offset(&self) -> u64 {
        self.data.len() as u64
    }

    /// Header, checksum, index.
    pub fn finish(mut self) -> Pack {
        self.data[..8].copy_from_slice(b"PACK\0\0\0\x02");
        self.data[8..PACK_HEADER].copy_from_slice(&(self.located.len() as u32).to_be_bytes());
        let checksum: [u8; ID_LEN] = Sha1::digest(&self.data).into();
        self.data.extend_from_slice(&checksum);
        let index = Index::encode(&mut self.located, &checksum);
        Pack {
            data: self.data,
            index,
            checksum: ObjectId::new(checksum),
        }
    }

    fn push(&mut self, kind: EntryKind, data: &[u8]) {
        Header {
            kind,
            size: data.len(),
        }
        .encode(&mut self.data);
        deflate(data, &mut self.data);
    }
}

impl Default for PackBuilder {
    fn default() -> Self {
        Self::new()
    }
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}
