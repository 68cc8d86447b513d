//! The entries of a pack: headers, deltas, compression. See `gitformat-pack(5)`.
//!
//! Everything here may be given bytes from somebody else's pack: it never panics and never
//! allocates more than [`MAX_OBJECT`] for one object.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::store::object::{ID_LEN, Kind, ObjectId};

/// Largest object that is read: values are small, and a header must not make us allocate at will.
pub const MAX_OBJECT: usize = 1 << 28;
/// Most bytes a header takes: type and size, then the base of a delta.
pub const MAX_HEADER: usize = 10 + ID_LEN;

/// What an entry's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The object itself.
    Whole(Kind),
    /// A delta against the entry this many bytes earlier in the pack.
    OffsetDelta(u64),
    /// A delta against an object.
    IdDelta(ObjectId),
}

/// An entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: EntryKind,
    /// Length of the data when decompressed.
    pub size: usize,
}

impl Header {
    /// The header at the start of `data`, and its length.
    pub fn decode(data: &[u8]) -> Result<(Self, usize), &'static str> {
        let mut bytes = data.iter();
        let mut next = || bytes.next().copied().ok_or("an entry's header is cut off");
        let first = next()?;
        let mut size = u64::from(first & 0xf);
        let (mut byte, mut shift) = (first, 4);
        while byte & 0x80 != 0 {
            byte = next()?;
            if shift > 57 {
                return Err("an entry's size is out of range");
            }
            size |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let kind = match first >> 4 & 7 {
            1 => EntryKind::Whole(Kind::Commit),
            2 => EntryKind::Whole(Kind::Tree),
            3 => EntryKind::Whole(Kind::Blob),
            4 => return Err("annotated tags are not read"),
            6 => {
                let mut byte = next()?;
                let mut distance = u64::from(byte & 0x7f);
                while byte & 0x80 != 0 {
                    byte = next()?;
                    distance = distance
                        .checked_add(1)
                        .filter(|distance| distance >> 56 == 0)
                        .ok_or("a delta's distance is out of range")?
                        << 7
                        | u64::from(byte & 0x7f);
                }
                EntryKind::OffsetDelta(distance)
            }
            7 => {
                let mut id = [0; ID_LEN];
                for byte in &mut id {
                    *byte = next()?;
                }
                EntryKind::IdDelta(ObjectId::new(id))
            }
            _ => return Err("an entry is of an unknown type"),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_OBJECT);
        let size = size.ok_or("an object is larger than 256 MiB")?;
        Ok((Self { kind, size }, data.len() - bytes.len()))
    }

    /// Appends the encoded header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let code = match self.kind {
            EntryKind::Whole(Kind::Commit) => 1,
            EntryKind::Whole(Kind::Tree) => 2,
            EntryKind::Whole(Kind::Blob) => 3,
            EntryKind::OffsetDelta(_) => 6,
            EntryKind::IdDelta(_) => 7,
        };
        let mut byte = code << 4 | (self.size & 0xf) as u8;
        let mut rest = self.size >> 4;
        while rest > 0 {
            out.push(byte | 0x80);
            byte = (rest & 0x7f) as u8;
            rest >>= 7;
        }
        out.push(byte);
        match self.kind {
            EntryKind::Whole(_) => (),
            EntryKind::IdDelta(id) => out.extend_from_slice(id.as_bytes()),
            EntryKind::OffsetDelta(mut distance) => {
                let mut bytes = vec![(distance & 0x7f) as u8];
                while distance > 0x7f {
                    distance = (distance >> 7) - 1;
                    bytes.push(0x80 | (distance & 0x7f) as u8);
                }
                out.extend(bytes.iter().rev());
            }
        }
    }
}

/// The delta that makes `new` out of `old`: what is equal at both ends is copied, the middle inserted. That is what a
/// change of one entry of a directory looks like.
pub fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let shorter = old.len().min(new.len());
    let start = (0..shorter).take_while(|&at| old[at] == new[at]).count();
    let end = (0..shorter - start)
        .take_while(|&at| old[old.len() - 1 - at] == new[new.len() - 1 - at])
        .count();
    let mut out = Vec::with_capacity(64);
    push_size(&mut out, old.len());
    push_size(&mut out, new.len());
    push_copy(&mut out, 0, start);
    for chunk in new[start..new.len() - end].chunks(0x7f) {
        out.push(chunk.len() as u8);
        out.extend_from_slice(chunk);
    }
    push_copy(&mut out, old.len() - end, end);
    out
}

/// Applies a delta.
pub fn apply_delta(old: &[u8], delta: &[u8]) -> Result<Vec<u8>, &'static str> {
    const CUT_OFF: &str = "a delta is cut off";
    let (old_size, used) = read_size(delta)?;
    let mut delta = &delta[used..];
    let (new_size, used) = read_size(delta)?;
    delta = &delta[used..];
    if old_size != old.len() || new_size > MAX_OBJECT {
        return Err("a delta is for another object");
    }
    let mut new = Vec::with_capacity(new_size);
    while let Some((&code, rest)) = delta.split_first() {
        delta = rest;
        if code & 0x80 == 0 {
            let (inserted, rest) = delta.split_at_checked(usize::from(code)).ok_or(CUT_OFF)?;
            if inserted.is_empty() {
                return Err("a delta has a reserved instruction");
            }
            new.extend_from_slice(inserted);
            delta = rest;
        } else {
            let mut arguments = [0_u32; 2];
            for bit in 0..7 {
                if code & 1 << bit != 0 {
                    let (&byte, rest) = delta.split_first().ok_or(CUT_OFF)?;
                    let (argument, shift) = if bit < 4 { (0, bit) } else { (1, bit - 4) };
                    arguments[argument] |= u32::from(byte) << (8 * shift);
                    delta = rest;
                }
            }
            let start = arguments[0] as usize;
            let size = if arguments[1] == 0 {
                0x10000
            } else {
                arguments[1] as usize
            };
            let copied = old
                .get(start..start + size)
                .ok_or("a delta copies what is not there")?;
            new.extend_from_slice(copied);
        }
        if new.len() > new_size {
            break;
        }
    }
    if new.len() == new_size {
        Ok(new)
    } else {
        Err("a delta makes an object of the wrong size")
    }
}

thread_local! {
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), true));
}

/// What became of compressed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inflated {
    /// The data, and how many bytes it took.
    Done(Vec<u8>, usize),
    /// There is more to come.
    CutOff,
    /// Not a compressed stream, or one of another size.
    Malformed,
}

/// Decompresses a stream at the start of `data` that must come to exactly `size` bytes.
pub fn inflate(size: usize, data: &[u8]) -> Inflated {
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(true);
        // One byte more than needed shows a stream that is too long.
        let mut out = Vec::with_capacity(size + 1);
        let status = inflate.decompress_vec(data, &mut out, FlushDecompress::None);
        let used = inflate.total_in() as usize;
        match status {
            Ok(Status::StreamEnd) if out.len() == size => Inflated::Done(out, used),
            Ok(Status::Ok | Status::BufError) if used == data.len() && out.len() <= size => {
                Inflated::CutOff
            }
            _ => Inflated::Malformed,
        }
    })
}

/// Appends `data`, compressed.
pub fn deflate(data: &[u8], out: &mut Vec<u8>) {
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        loop {
            let taken = deflate.total_in() as usize;
            // What deflate adds to incompressible data, at most.
            out.reserve((data.len() - taken) + (data.len() - taken) / 1000 + 64);
            let status = deflate.compress_vec(&data[taken..], out, FlushCompress::Finish);
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                return;
            }
        }
    });
}

fn push_size(out: &mut Vec<u8>, mut size: usize) {
    while size > 0x7f {
        out.push(0x80 | (size & 0x7f) as u8);
        size >>= 7;
    }
    out.push(size as u8);
}

fn read_size(data: &[u8]) -> Result<(usize, usize), &'static str> {
    let mut size = 0;
    for (at, byte) in data.iter().enumerate().take(8) {
        size |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((size, at + 1));
        }
    }
    Err("a delta's size is malformed")
}

fn push_copy(out: &mut Vec<u8>, mut start: usize, mut size: usize) {
    while size > 0 {
        let piece = size.min(0xffff);
        let mut arguments = Vec::with_capacity(7);
        let mut code = 0x80;
        for (bit, byte) in (0..4)
            .map(|at| (at, start >> (8 * at)))
            .chain((0..2).map(|at| (4 + at, piece >> (8 * at))))
        {
            if byte & 0xff != 0 {
                code |= 1 << bit;
                arguments.push((byte & 0xff) as u8);
            }
        }
        out.push(code);
        out.append(&mut arguments);
        (start, size) = (start + piece, size - piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delta_makes_the_new_bytes(
            start in proptest::collection::vec(any::<u8>(), 0..300),
            old in proptest::collection::vec(any::<u8>(), 0..300),
            new in proptest::collection::vec(any::<u8>(), 0..300),
            end in proptest::collection::vec(any::<u8>(), 0..300),
            repeat in 1_usize..400,
        ) {
            let join = |middle: &[u8]| [start.repeat(repeat), middle.to_vec(), end.clone()].concat();
            let (old, new) = (join(&old), join(&new));
            let delta = delta(&old, &new);
            prop_assert_eq!(apply_delta(&old, &delta), Ok(new));
        }

        #[test]
        fn a_header_reads_back(code in 0..5, size in 0..MAX_OBJECT, distance in 0..u64::MAX >> 9) {
            let kind = match code {
                0 => EntryKind::Whole(Kind::Blob),
                1 => EntryKind::Whole(Kind::Tree),
                2 => EntryKind::Whole(Kind::Commit),
                3 => EntryKind::OffsetDelta(distance),
                _ => EntryKind::IdDelta(ObjectId::of(Kind::Blob, b"")),
            };
            let header = Header { kind, size };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert!(bytes.len() <= MAX_HEADER);
            prop_assert_eq!(Header::decode(&bytes), Ok((header, bytes.len())));
            prop_assert!(Header::decode(&bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn strange_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&data);
            let _ = apply_delta(b"something old", &data);
            let _ = inflate(100, &data);
        }

        #[test]
        fn what_is_deflated_inflates(data in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut packed = Vec::new();
            deflate(&data, &mut packed);
            let length = packed.len();
            packed.extend_from_slice(b"next entry");
            prop_assert_eq!(inflate(data.len(), &packed), Inflated::Done(data.clone(), length));
            prop_assert_eq!(inflate(data.len() + 1, &packed), Inflated::Malformed);
            prop_assert_eq!(inflate(data.len(), &packed[..length - 1]), Inflated::CutOff);
            if !data.is_empty() {
                prop_assert_eq!(inflate(data.len() - 1, &packed), Inflated::Malformed);
            }
        }
    }
}
