//! Which objects a set of commits leads to.

use super::backend::IdSet;
use super::commit::Commit;
use super::entries::{Entries, Mode};
use super::error::StoreError;
use super::object::{Kind, ObjectId, Objects};

/// All objects reachable from `roots`, without going past the commits on `boundary`.
pub fn reachable(
    objects: &dyn Objects,
    roots: Vec<ObjectId>,
    boundary: &IdSet,
) -> Result<IdSet, StoreError> {
    let mut seen = IdSet::default();
    let mut waiting: Vec<(ObjectId, Kind)> =
        roots.into_iter().map(|id| (id, Kind::Commit)).collect();
    while let Some((id, kind)) = waiting.pop() {
        if seen.insert(id, ()).is_some() {
            continue;
        }
        match kind {
            Kind::Blob => (),
            Kind::Tree => {
                let entries = Entries::load(objects, &id)?;
                let present = entries.iter().filter(|entry| entry.mode != Mode::Submodule);
                waiting.extend(present.map(|entry| (entry.id, entry.mode.kind())));
            }
            Kind::Commit => {
                let commit = Commit::load(objects, &id)?;
                waiting.push((commit.tree, Kind::Tree));
                if !boundary.contains_key(&id) {
                    waiting.extend(commit.parents.iter().map(|id| (*id, Kind::Commit)));
                }
            }
        }
    }
    Ok(seen)
}
