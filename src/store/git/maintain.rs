//! Keeping the number of packs small.
//!
//! Every group of commits makes a small pack. Once there are many of about the same size they are joined into
//! one, as a log-structured merge tree does: each object is copied a number of times that goes with the logarithm of the
//! number of commits. Joining copies packed bytes; nothing is decompressed, and objects that stand in several packs are
//! kept once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::{EntryKind, Header};
use super::index::Located;
use super::odb::OpenPack;
use super::pack::{Pack, PackBuilder};
use crate::store::error::StoreError;
use crate::store::object::{ID_LEN, IdMap};

/// Packs of one size class that are joined.
pub const JOIN: usize = 16;
/// Smallest size class, in bytes; each further one is [`JOIN`] times larger.
const SMALLEST: u64 = 16 << 10;
/// Packs larger than this are left alone, and joins stop growing here: memory while joining.
const LARGEST: u64 = 64 << 20;
/// Files beside a pack that say that it is special.
const SPECIAL: [&str; 4] = ["keep", "promisor", "mtimes", "bitmap"];

/// The packs to be joined next, if there are enough of one size class.
pub fn choose(
    packs: &[std::sync::Arc<OpenPack>],
    directory: &Path,
) -> Vec<std::sync::Arc<OpenPack>> {
    let class = |pack: &OpenPack| {
        let mut class = 0;
        while SMALLEST * (JOIN as u64).pow(class) < pack.length() {
            class += 1;
        }
        class
    };
    let ordinary = |pack: &OpenPack| {
        pack.length() <= LARGEST
            && pack.path.parent() == Some(directory)
            && SPECIAL
                .iter()
                .all(|extension| !pack.path.with_extension(extension).exists())
    };
    let mut classes: Vec<Vec<_>> = vec![Vec::new(); 8];
    for pack in packs.iter().filter(|pack| ordinary(pack)) {
        classes[class(pack).min(7) as usize].push(pack.clone());
    }
    let mut chosen = classes
        .into_iter()
        .find(|packs| packs.len() >= JOIN)
        .unwrap_or_default();
    // Oldest first, so that what was written together stays together.
    chosen.reverse();
    let mut size = 0;
    chosen.retain(|pack| {
        size += pack.length();
        size <= 2 * LARGEST
    });
    if chosen.len() > 1 { chosen } else { Vec::new() }
}

/// One pack with the objects of all of these.
pub fn join(packs: &[std::sync::Arc<OpenPack>]) -> Result<Pack, StoreError> {
    let mut builder = PackBuilder::new();
    let mut written: IdMap<u64> = IdMap::default();
    for pack in packs {
        let malformed = |detail: &str| StoreError::Repository {
            path: pack.path.clone(),
            detail: detail.to_owned(),
        };
        let located: Option<Vec<Located>> = pack.index.iter().collect();
        let mut located = located.ok_or_else(|| malformed("its index points outside"))?;
        located.sort_by_key(|object| object.offset);
        // From offsets in this pack to offsets in the new one.
        let mut moved: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
        let data = pack.bytes(0, pack.length().saturating_sub(ID_LEN as u64))?;
        for (at, object) in located.iter().enumerate() {
            if let Some(offset) = written.get(&object.id) {
                moved.insert(object.offset, *offset);
                continue;
            }
            let end = located
                .get(at + 1)
                .map_or(data.len() as u64, |next| next.offset);
            let entry = data.get(object.offset as usize..end as usize);
            let entry = entry.ok_or_else(|| malformed("its index points outside"))?;
            let (mut header, length) = Header::decode(entry).map_err(&malformed)?;
            if let EntryKind::OffsetDelta(distance) = header.kind {
                let base = object
                    .offset
                    .checked_sub(distance)
                    .and_then(|base| moved.get(&base));
                let base = base.ok_or_else(|| malformed("a delta's base is outside the pack"))?;
                header.kind = EntryKind::OffsetDelta(builder.offset() - base);
            }
            let offset = builder.add_packed(object.id, &header, &entry[length..]);
            moved.insert(object.offset, offset);
            written.insert(object.id, offset);
        }
    }
    Ok(builder.finish())
}

/// Removes packs whose objects are in another one. The index goes first: without it nobody looks for the pack.
pub fn remove(disk: &dyn super::disk::Disk, packs: &[PathBuf]) -> Result<(), StoreError> {
    for pack in packs {
        for extension in ["idx", "rev", "pack"] {
            let path = pack.with_extension(extension);
            match disk.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                other => other.map_err(|error| StoreError::io("remove", &path, error))?,
            }
        }
    }
    Ok(())
}

/// Whether the real Git is collecting garbage: better not to take packs away from it.
pub fn git_is_busy(directory: &Path) -> bool {
    fs::exists(directory.join("gc.pid")).unwrap_or(true)
}
