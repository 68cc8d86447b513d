//! Slices of history in one file: a Git bundle, which `git bundle verify` and `git fetch` read.
//!
//! A bundle says which branches it brings, and which commits the receiver must have already
//! (prerequisites); between the two it is complete. See `gitformat-bundle(5)`.

use std::collections::HashMap;

use sha1::{Digest, Sha1};

use super::entry::{EntryKind, Header, Inflated, apply_delta, inflate};
use super::pack::{PACK_HEADER, PackBuilder};
use crate::store::backend::{Batch, IdSet, NewObject};
use crate::store::commit::Commit;
use crate::store::directory::Source;
use crate::store::entries::{Entries, Mode};
use crate::store::error::StoreError;
use crate::store::facade::Store;
use crate::store::object::{EMPTY_TREE, ID_LEN, IdMap, Kind, Object, ObjectId, Objects};
use crate::store::path::BranchName;
use crate::store::reachable::reachable;

const SIGNATURE: &str = "# v2 git bundle\n";

/// What a bundle brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its branches: merge what is wanted of them.
    pub heads: Vec<(BranchName, ObjectId)>,
    /// Commits whose parents were neither in the bundle nor here: history begins with them now.
    pub boundary: Vec<ObjectId>,
}

impl Store {
    /// The history that leads to some branches' heads and not to the commits in `without`.
    pub fn export(
        &self,
        heads: &[(BranchName, ObjectId)],
        without: &[ObjectId],
    ) -> Result<Vec<u8>, StoreError> {
        self.slice(heads, without, false)
    }

    /// The same, with all values of its commits, also those that the ones in `without` have: who lacks these can
    /// import it with `cut`.
    pub fn export_complete(
        &self,
        heads: &[(BranchName, ObjectId)],
        without: &[ObjectId],
    ) -> Result<Vec<u8>, StoreError> {
        self.slice(heads, without, true)
    }

    fn slice(
        &self,
        heads: &[(BranchName, ObjectId)],
        without: &[ObjectId],
        complete: bool,
    ) -> Result<Vec<u8>, StoreError> {
        let source = self.overlay();
        let known = known_objects(&*source, without, complete)?;
        let (mut prerequisites, mut objects) = (IdSet::default(), Vec::new());
        let mut seen = IdSet::default();
        let mut waiting: Vec<_> = heads.iter().map(|(_, id)| (*id, Kind::Commit)).collect();
        while let Some((id, kind)) = waiting.pop() {
            if known.contains_key(&id) {
                prerequisites.extend((kind == Kind::Commit).then_some((id, ())));
                continue;
            }
            if seen.insert(id, ()).is_some() {
                continue;
            }
            objects.push(id);
            match kind {
                Kind::Blob => (),
                Kind::Tree => {
                    let entries = Entries::load(&*source, &id)?;
                    let present = entries.iter().filter(|entry| entry.mode != Mode::Submodule);
                    waiting.extend(present.map(|entry| (entry.id, entry.mode.kind())));
                }
                Kind::Commit => {
                    // The parents as they are written down: what is cut off here, the receiver may have.
                    let commit = Commit::load(&*source, &id)?;
                    waiting.push((commit.tree, Kind::Tree));
                    if source.commit(&id)?.parents.is_empty() {
                        prerequisites.extend(commit.parents.iter().map(|id| (*id, ())));
                    } else {
                        waiting.extend(commit.parents.iter().map(|id| (*id, Kind::Commit)));
                    }
                }
            }
        }
        let mut builder = PackBuilder::new();
        for id in objects {
            let object = source.get(&id)?.ok_or(StoreError::Missing(id))?;
            builder.add(&NewObject {
                id,
                object,
                like: None,
            });
        }
        let mut lines: Vec<String> = prerequisites.keys().map(|id| format!("-{id}\n")).collect();
        lines.sort();
        lines.extend(
            heads
                .iter()
                .map(|(branch, id)| format!("{id} refs/heads/{branch}\n")),
        );
        let text = format!("{SIGNATURE}{}\n", lines.concat());
        Ok([text.as_bytes(), &builder.finish().data].concat())
    }

    /// Takes over what a bundle brings, durably; moves no branch. With `cut`, missing prerequisites are
    /// no error: history then begins with the bundle.
    pub fn import(&self, bundle: &[u8], cut: bool) -> Result<Imported, StoreError> {
        let source = self.overlay();
        let (heads, prerequisites, pack) = parse_header(bundle)?;
        for id in &prerequisites {
            if !cut && source.get(id)?.is_none() {
                return Err(malformed(&format!(
                    "it builds on commit {id}, which is not here: import that first, or cut history there"
                )));
            }
        }
        let objects = unpack(pack, &*source)?;
        let mut boundary = Vec::new();
        for (id, object) in &objects {
            let here = |id: &ObjectId| {
                Ok::<_, StoreError>(
                    *id == EMPTY_TREE || objects.contains_key(id) || source.get(id)?.is_some(),
                )
            };
            let need = |wanted: &ObjectId| match here(wanted)? {
                true => Ok(()),
                false => Err(malformed(&format!("it lacks {wanted}, which {id} needs"))),
            };
            match object.kind {
                Kind::Blob => (),
                Kind::Tree => {
                    let entries = Entries::decode_object(id, &object.data)?;
                    let mut needed = entries.iter().filter(|entry| entry.mode != Mode::Submodule);
                    needed.try_for_each(|entry| need(&entry.id))?;
                }
                Kind::Commit => {
                    let commit = Commit::decode_object(id, &object.data)?;
                    need(&commit.tree)?;
                    let missing = commit
                        .parents
                        .iter()
                        .map(here)
                        .collect::<Result<Vec<_>, _>>()?;
                    if cut && missing.contains(&false) {
                        boundary.push(*id);
                    } else {
                        commit.parents.iter().try_for_each(need)?;
                    }
                }
            }
        }
        for (branch, id) in &heads {
            if source.get(id)?.is_none() && !objects.contains_key(id) {
                return Err(malformed(&format!("it lacks the head of {branch}, {id}")));
            }
        }
        let objects = objects.into_iter().map(|(id, object)| NewObject {
            id,
            object,
            like: None,
        });
        let batch = Batch {
            objects: objects.collect(),
            updates: Vec::new(),
        };
        self.committer().exclusively(|| {
            self.backend().commit(&batch)?;
            if !boundary.is_empty() {
                let mut all: Vec<_> = self.reader().boundary().keys().copied().collect();
                all.extend(&boundary);
                all.sort();
                all.dedup();
                self.backend().set_boundary(&all)?;
                self.reader().forget()?;
            }
            Ok(())
        })?;
        Ok(Imported { heads, boundary })
    }
}

/// The commits that lead to these, and the objects of their own states.
fn known_objects(
    source: &dyn Source,
    commits: &[ObjectId],
    commits_alone: bool,
) -> Result<IdSet, StoreError> {
    let mut known = IdSet::default();
    for item in crate::store::history::Log::new(source, commits.iter().copied())? {
        known.insert(item?.0, ());
    }
    for id in commits.iter().filter(|_| !commits_alone) {
        let boundary = IdSet::from_iter([(*id, ())]);
        known.extend(reachable(&source, vec![*id], &boundary)?);
    }
    Ok(known)
}

type Heads = Vec<(BranchName, ObjectId)>;

/// Branches, prerequisites, and the pack.
fn parse_header(bundle: &[u8]) -> Result<(Heads, Vec<ObjectId>, &[u8]), StoreError> {
    let mut rest = bundle
        .strip_prefix(SIGNATURE.as_bytes())
        .ok_or_else(|| malformed("it is not a Git bundle of version 2"))?;
    let (mut heads, mut prerequisites) = (Vec::new(), Vec::new());
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| malformed("its header is cut off"))?;
        let line =
            std::str::from_utf8(&rest[..end]).map_err(|_| malformed("its header is not text"))?;
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Ok((heads, prerequisites, rest));
        }
        let bad = || malformed(&format!("line {line:?} of its header is malformed"));
        if let Some(prerequisite) = line.strip_prefix('-') {
            let id = prerequisite.split(' ').next().unwrap_or_default();
            prerequisites.push(id.parse().map_err(|_| bad())?);
        } else {
            let (id, name) = line.split_once(' ').ok_or_else(bad)?;
            let id = id.parse().map_err(|_| bad())?;
            let branch = name
                .strip_prefix("refs/heads/")
                .and_then(|name| name.parse().ok());
            heads.extend(branch.map(|branch| (branch, id)));
        }
    }
}

/// The objects in a pack, whose deltas may be against objects that are here already.
fn unpack(pack: &[u8], source: &dyn Source) -> Result<IdMap<Object>, StoreError> {
    let content = pack.len().checked_sub(ID_LEN).map(|end| pack.split_at(end));
    let (content, checksum) = content.ok_or_else(|| malformed("its pack is cut off"))?;
    let actual: [u8; ID_LEN] = Sha1::digest(content).into();
    if content.len() < PACK_HEADER || !content.starts_with(b"PACK\0\0\0\x02") || actual != *checksum
    {
        return Err(malformed("its pack is damaged"));
    }
    let (mut objects, mut by_offset) = (IdMap::default(), HashMap::new());
    let mut at = PACK_HEADER;
    while at < content.len() {
        let (header, length) = Header::decode(&content[at..]).map_err(malformed)?;
        let start = at + length;
        let Inflated::Done(data, used) = inflate(header.size, &content[start..]) else {
            return Err(malformed("an entry's data is damaged"));
        };
        let base: Option<Object> = match header.kind {
            EntryKind::Whole(_) => None,
            EntryKind::OffsetDelta(distance) => {
                let offset = (at as u64).checked_sub(distance);
                let id = offset.and_then(|offset| by_offset.get(&offset));
                Some(
                    id.and_then(|id| objects.get(id))
                        .cloned()
                        .ok_or_else(|| malformed("a delta has no base"))?,
                )
            }
            EntryKind::IdDelta(id) => {
                let base = objects.get(&id).cloned();
                Some(
                    base.map_or_else(|| source.get(&id), |base| Ok(Some(base)))?
                        .ok_or(StoreError::Missing(id))?,
                )
            }
        };
        let object = match (header.kind, base) {
            (EntryKind::Whole(kind), _) => Object::new(kind, data),
            (_, Some(base)) => Object::new(
                base.kind,
                apply_delta(&base.data, &data).map_err(malformed)?,
            ),
            (_, None) => return Err(malformed("a delta has no base")),
        };
        let id = object.id();
        by_offset.insert(at as u64, id);
        objects.insert(id, object);
        at = start + used;
    }
    Ok(objects)
}

fn malformed(detail: &str) -> StoreError {
    StoreError::Bundle(detail.to_owned())
}
