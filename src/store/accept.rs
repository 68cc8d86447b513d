//! Batches from other processes: checked as our own changes are, and brought in by the same way.

use super::backend::{Batch, IdSet, NewObject};
use super::commit::Commit;
use super::committer::Step;
use super::directory::Source;
use super::entries::{Entries, Mode};
use super::error::StoreError;
use super::facade::Store;
use super::object::{EMPTY_TREE, Kind, ObjectId, Objects};
use super::transaction::CommitError;

impl Store {
    /// Takes over what another process made: writes the objects, then moves the branches that stand where the
    /// batch expects them. For each update, in order: whether the branch has moved. Objects that refer to what is neither
    /// here nor in the batch are refused, and so are states the validator refuses.
    pub fn accept(&self, batch: &Batch) -> Result<Vec<Result<bool, CommitError>>, StoreError> {
        self.check_complete(&batch.objects)?;
        if batch.updates.is_empty() {
            self.backend().commit(batch)?;
            return Ok(Vec::new());
        }
        let overlay = self.overlay();
        for new in &batch.objects {
            overlay.put(new.object.kind, &new.object.data)?;
        }
        let updates = batch.updates.iter();
        let moves = updates.map(|update| {
            let branch = self.branch(&update.branch);
            self.committer().advance(&update.branch, |turn| {
                if turn.head != update.expected {
                    return Ok(Step::Stay(false));
                }
                let mut objects = Vec::new();
                if let Some(new) = &update.new {
                    branch.validate(&*overlay, overlay.commit(new)?.tree)?;
                    objects = overlay.reachable(&[*new])?;
                }
                Ok(Step::Move {
                    new: update.new,
                    objects,
                    answer: true,
                })
            })
        });
        Ok(moves.collect())
    }

    /// Makes these the commits whose parents are cut off, while no change is under way.
    pub fn set_boundary(&self, boundary: &[ObjectId]) -> Result<(), StoreError> {
        self.committer().exclusively(|| {
            self.backend().set_boundary(boundary)?;
            self.reader().forget()
        })
    }

    /// Drops what no branch leads to, while no change is under way.
    pub fn collect_garbage(&self, grace: std::time::Duration) -> Result<(), StoreError> {
        self.committer().exclusively(|| {
            self.backend().collect_garbage(grace)?;
            self.reader().forget()
        })
    }

    /// Everything that new objects refer to is new too, or here. Parents beyond a boundary need not be: a
    /// commit may have been cut off where it comes from.
    fn check_complete(&self, objects: &[NewObject]) -> Result<(), StoreError> {
        let new: IdSet = objects.iter().map(|new| (new.id, ())).collect();
        let source = self.overlay();
        let need = |id: &ObjectId| {
            if *id == EMPTY_TREE || new.contains_key(id) || source.get(id)?.is_some() {
                Ok(())
            } else {
                Err(StoreError::Missing(*id))
            }
        };
        for NewObject { id, object, .. } in objects {
            match object.kind {
                Kind::Blob => {}
                Kind::Tree => {
                    let entries = Entries::decode_object(id, &object.data)?;
                    let mut needed = entries.iter().filter(|entry| entry.mode != Mode::Submodule);
                    needed.try_for_each(|entry| need(&entry.id))?;
                }
                Kind::Commit => need(&Commit::decode_object(id, &object.data)?.tree)?,
            }
        }
        Ok(())
    }
}
