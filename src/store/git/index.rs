//! Pack indexes, version 2: which objects are in a pack, and where. See `gitformat-pack(5)`.

use sha1::{Digest, Sha1};

use crate::store::object::{ID_LEN, ObjectId};

/// `\377tOc` and the version.
const HEADER: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];
const FANOUT: usize = 256;
/// An offset with this bit is the number of an entry of the table of 64-bit offsets.
const LARGE: u32 = 1 << 31;
/// Packs written here stay below this size, so that their indexes need no 64-bit offsets.
pub const MAX_OFFSET: u64 = (LARGE - 1) as u64;

/// Where an object is in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub id: ObjectId,
    pub offset: u64,
    /// CRC-32 of the packed bytes, header included.
    pub crc: u32,
}

/// An index in memory, in its encoded form.
#[derive(Clone)]
pub struct Index {
    data: Vec<u8>,
    count: usize,
}

impl Index {
    /// Checks the form of an index file. Ids and offsets are checked when they are used.
    pub fn decode(data: Vec<u8>) -> Result<Self, &'static str> {
        if !data.starts_with(&HEADER) {
            return Err("not an index of version 2");
        }
        let fanout_end = HEADER.len() + 4 * FANOUT;
        let mut last = 0;
        for at in (HEADER.len()..fanout_end).step_by(4) {
            let next = read_u32(&data, at).ok_or("the fan-out table is cut off")?;
            if next < last {
                return Err("the fan-out table is not sorted");
            }
            last = next;
        }
        let count = last as usize;
        let least = fanout_end + count * (ID_LEN + 8) + 2 * ID_LEN;
        if data.len() < least || !(data.len() - least).is_multiple_of(8) {
            return Err("its length does not fit the number of objects");
        }
        Ok(Self { data, count })
    }

    /// The index of a pack of these objects. Sorts them.
    pub fn encode(objects: &mut [Located], pack_checksum: &[u8; ID_LEN]) -> Self {
        objects.sort_unstable_by_key(|object| object.id);
        let count = objects.len();
        let size = HEADER.len() + 4 * FANOUT + count * (ID_LEN + 8) + 2 * ID_LEN;
        let mut data = Vec::with_capacity(size);
        data.extend_from_slice(&HEADER);
        let mut upto = 0;
        for first in 0..=u8::MAX {
            upto += objects[upto..]
                .iter()
                .take_while(|object| object.id.as_bytes()[0] == first)
                .count();
            data.extend_from_slice(&(upto as u32).to_be_bytes());
        }
        for object in objects.iter() {
            data.extend_from_slice(object.id.as_bytes());
        }
        for object in objects.iter() {
            data.extend_from_slice(&object.crc.to_be_bytes());
        }
        for object in objects.iter() {
            debug_assert!(object.offset <= MAX_OFFSET, "{}", object.offset);
            data.extend_from_slice(&(object.offset as u32).to_be_bytes());
        }
        data.extend_from_slice(pack_checksum);
        let checksum: [u8; ID_LEN] = Sha1::digest(&data).into();
        data.extend_from_slice(&checksum);
        Self { data, count }
    }

    /// The encoded form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Where an object is in the pack.
    pub fn find(&self, id: &ObjectId) -> Option<u64> {
        let first = usize::from(id.as_bytes()[0]);
        let fanout = |at: usize| read_u32(&self.data, HEADER.len() + 4 * at).unwrap_or(0) as usize;
        let mut low = if first == 0 { 0 } else { fanout(first - 1) };
        let mut high = fanout(first);
        while low < high {
            let middle = (low + high) / 2;
            match self.id_bytes(middle).cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset(middle),
            }
        }
        None
    }

    /// Everything in it, in id order; `None` for an entry whose offset is malformed.
    pub fn iter(&self) -> impl Iterator<Item = Option<Located>> {
        (0..self.count).map(|at| {
            let id = ObjectId::from_slice(self.id_bytes(at))?;
            let crc = read_u32(&self.data, self.ids_end() + 4 * at)?;
            Some(Located {
                id,
                offset: self.offset(at)?,
                crc,
            })
        })
    }

    fn id_bytes(&self, at: usize) -> &[u8] {
        let start = HEADER.len() + 4 * FANOUT + at * ID_LEN;
        &self.data[start..start + ID_LEN]
    }

    fn ids_end(&self) -> usize {
        HEADER.len() + 4 * FANOUT + self.count * ID_LEN
    }

    fn offset(&self, at: usize) -> Option<u64> {
        let offset = read_u32(&self.data, self.ids_end() + 4 * (self.count + at))?;
        if offset & LARGE == 0 {
            return Some(u64::from(offset));
        }
        let start = self.ids_end() + 8 * self.count + 8 * (offset & !LARGE) as usize;
        let end = self.data.len() - 2 * ID_LEN;
        let bytes = self.data[..end].get(start..start + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::Kind;

    fn located(number: u64) -> Located {
        let id = ObjectId::of(Kind::Blob, &number.to_le_bytes());
        Located {
            id,
            offset: 12 + number,
            crc: number as u32,
        }
    }

    #[test]
    fn every_object_is_found_and_no_other() {
        let mut objects: Vec<_> = (0..1000).map(located).collect();
        let index = Index::encode(&mut objects, &[7; ID_LEN]);
        let index = Index::decode(index.as_bytes().to_vec()).unwrap();
        assert_eq!(index.iter().count(), 1000);
        for object in &objects {
            assert_eq!(index.find(&object.id), Some(object.offset));
        }
        assert_eq!(index.find(&located(1000).id), None);
        assert!(index.iter().eq(objects.into_iter().map(Some)));
        let empty = Index::encode(&mut [], &[0; ID_LEN]);
        assert_eq!(empty.find(&located(0).id), None);
    }

    #[test]
    fn malformed_indexes_are_refused() {
        let good = Index::encode(&mut [located(1), located(2)], &[0; ID_LEN]);
        let good = good.as_bytes();
        for length in [0, 7, 100, good.len() - 1] {
            assert!(Index::decode(good[..length].to_vec()).is_err(), "{length}");
        }
        let mut unsorted = good.to_vec();
        unsorted[8..12].copy_from_slice(&[9; 4]);
        assert!(Index::decode(unsorted).is_err());
        // An offset into a table of 64-bit offsets that is not there.
        let mut large = good.to_vec();
        let at = good.len() - 2 * ID_LEN - 4;
        large[at..at + 4].copy_from_slice(&[0xff; 4]);
        let last = Index::decode(large).unwrap().iter().last();
        assert_eq!(last, Some(None));
    }
}
