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
    /// batch expects them. For each update, in order: whether the branch has moved; if not, whoever looks finds it
    /// elsewhere, so that the change can be made again on that. Objects that refer to what is neither
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
            let done = self.committer().advance(&update.branch, |turn| {
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
            });
            if let Ok(false) = done {
                // What is in the way may not be durable yet, and nobody reads it before.
                self.committer().settle(&update.branch);
            }
            done
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

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::store::backend::Update;
    use crate::store::git::disk::{Disk, DiskFile, RealDisk};
    use crate::store::git::{GitBackend, GitOptions};
    use crate::store::{Info, Leaf, Options};

    /// A disk whose first file of a commit waits until it is told to go on, and says that it waits.
    struct Gate {
        waits: Sender<()>,
        go: Mutex<Receiver<()>>,
    }

    impl Disk for Gate {
        fn create(&self, path: &FilePath) -> std::io::Result<Box<dyn DiskFile>> {
            if path.extension().is_some_and(|kind| kind == "pack") {
                let _ = self.waits.send(());
                let go = self.go.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = go.recv();
            }
            RealDisk.create(path)
        }
        fn rename(&self, from: &FilePath, to: &FilePath) -> std::io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn link(&self, from: &FilePath, to: &FilePath) -> std::io::Result<()> {
            RealDisk.link(from, to)
        }
        fn remove(&self, path: &FilePath) -> std::io::Result<()> {
            RealDisk.remove(path)
        }
        fn create_dir(&self, path: &FilePath) -> std::io::Result<()> {
            RealDisk.create_dir(path)
        }
        fn sync_dir(&self, path: &FilePath) -> std::io::Result<()> {
            RealDisk.sync_dir(path)
        }
    }

    /// Another process made a change while one of ours is on its way to a slow disk: when it hears that it came too
    /// late, it finds ours.
    #[test]
    fn who_comes_too_late_finds_what_was_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let ((waits, waiting), (go, gate)) = (channel(), channel());
        let options = GitOptions {
            create: true,
            disk: Arc::new(Gate {
                waits,
                go: Mutex::new(gate),
            }),
            ..GitOptions::default()
        };
        let backend = GitBackend::open(&directory.path().join("store"), options).unwrap();
        let store = Store::open(Arc::new(backend), Options::default()).unwrap();
        let branch = store.branch(&"node/rail-a".parse().unwrap());
        let info = Info::now("Ada", "", "ours");
        let ours = {
            let branch = branch.clone();
            let path = "a".parse().unwrap();
            std::thread::spawn(move || branch.set(&path, &Leaf::plain("1"), &info).unwrap())
        };
        waiting.recv().unwrap();
        let batch = Batch {
            objects: Vec::new(),
            updates: vec![Update {
                branch: branch.name().clone(),
                expected: None,
                new: Some(EMPTY_TREE),
            }],
        };
        let theirs = {
            let store = store.clone();
            std::thread::spawn(move || {
                let moved = store.accept(&batch).unwrap();
                let head = store.backend().head(&batch.updates[0].branch).unwrap();
                (matches!(moved[..], [Ok(false)]), head)
            })
        };
        // It cannot be told before ours is durable.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!theirs.is_finished());
        go.send(()).unwrap();
        let ours = ours.join().unwrap().head;
        assert!(ours.is_some());
        assert_eq!(theirs.join().unwrap(), (true, ours));
    }
}
