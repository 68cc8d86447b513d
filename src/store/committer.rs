//! The way of a change onto a branch: one at a time per branch, many per flush.
//!
//! A branch has two heads here. The *durable* one is what readers see. The *next* one also has the
//! changes that wait for the back end, and is what the following change builds on; so writers do not
//! wait for each other's flush. Whoever finds no flush under way carries out the next one for everybody
//! who is waiting (group commit). If there were more of them lately it waits for the others first, for
//! half as long as a flush takes: otherwise the first who is back from one would have the next for
//! itself. Who is alone waits for nobody.
//!
//! # Guarantees
//!
//! - [`advance`](Committer::advance) returns success only after the change is durable, and nobody reads it earlier.
//! - If a flush fails, so do all changes in it and those built on them; the branch is then
//!   where the back end says it is. If a branch was moved by another process, the changes are made
//!   again on top of that.
//! - Changes of one branch are put in an order, and each is made on the result of the one before: no
//!   change is starved by others, however long it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backend::{Batch, NewObject, Update};
use super::error::StoreError;
use super::hub::Hub;
use super::object::{IdMap, ObjectId};
use super::path::BranchName;
use super::reader::Reader;

/// How often a change is made again because another process moved the branch: each time that one has come further.
const RETRIES: usize = 256;
/// Heads remembered per branch, to know without a walk that a snapshot is an ancestor of the head.
const LINEAGE: usize = 4096;

/// What a change comes to.
pub enum Step<T> {
    /// The branch stays where it is.
    Stay(T),
    /// The branch moves, once these objects are written.
    Move {
        new: Option<ObjectId>,
        objects: Vec<NewObject>,
        answer: T,
    },
}

/// What a change is made on.
pub struct Turn<'a> {
    /// Where the branch is.
    pub head: Option<ObjectId>,
    lane: &'a Lane,
}

impl Turn<'_> {
    /// Whether the head is known to descend from `id`. May say no where a walk would say yes.
    pub fn descends_from(&self, id: &ObjectId) -> bool {
        self.lane.lineage.contains(id)
    }
}

/// See the module.
pub struct Committer {
    reader: Arc<Reader>,
    hub: Arc<Hub>,
    lanes: Mutex<BTreeMap<BranchName, Arc<SharedLane>>>,
    group: Mutex<Group>,
    flushed: Condvar,
    /// Everybody who is waited for is there.
    gathered: Condvar,
}

type SharedLane = Mutex<Lane>;

/// One branch.
#[derive(Default)]
struct Lane {
    next: Option<ObjectId>,
    /// Number of the last batch with a change of this branch.
    batch: Option<u64>,
    lineage: Lineage,
}

/// The changes that wait.
#[derive(Default)]
struct Group {
    /// Number of the batch that is being collected.
    number: u64,
    batch: Batch,
    /// Every head the branches go through, in order.
    heads: Vec<(BranchName, Option<ObjectId>)>,
    waiting: usize,
    /// How many waited for the last two flushes, and how long the last one took.
    crowds: [usize; 2],
    lasted: Duration,
    gathering: bool,
    flushing: bool,
    /// Batches up to this number are in the back end or have failed.
    finished: Option<u64>,
    outcomes: BTreeMap<u64, Outcome>,
}

struct Outcome {
    fates: BTreeMap<BranchName, Result<Fate, StoreError>>,
    /// Writers that have not fetched it yet.
    waiting: usize,
}

/// What became of a batch's changes of one branch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Durable,
    /// Another process moved the branch: to be made again.
    Overtaken,
}

impl Committer {
    /// No change under way.
    pub fn new(reader: Arc<Reader>, hub: Arc<Hub>) -> Self {
        let (lanes, group) = (Mutex::default(), Mutex::default());
        Self {
            reader,
            hub,
            lanes,
            group,
            flushed: Condvar::new(),
            gathered: Condvar::new(),
        }
    }

    /// Makes a change on the newest state of a branch and returns when it is durable. `step` is called
    /// again if another process was faster.
    pub fn advance<T, E: From<StoreError>>(
        &self,
        branch: &BranchName,
        mut step: impl FnMut(Turn<'_>) -> Result<Step<T>, E>,
    ) -> Result<T, E> {
        let lane = self.lane(branch);
        for _ in 0..RETRIES {
            let mut state = lock(&lane);
            if !self.under_way(&state) {
                let head = self.reader.backend().head(branch)?;
                state.start_at(head);
            }
            let head = state.next;
            let (new, objects, answer) = match step(Turn { head, lane: &state })? {
                Step::Stay(answer) => return Ok(answer),
                Step::Move {
                    new,
                    objects,
                    answer,
                } => (new, objects, answer),
            };
            let number = self.join(branch, head, new, objects);
            state.move_to(new, number);
            drop(state);
            if self.finish(number, branch)? == Fate::Durable {
                return Ok(answer);
            }
        }
        Err(StoreError::Contended(branch.clone()).into())
    }

    /// Waits until what is under way on a branch is durable, or has failed.
    pub fn settle(&self, branch: &BranchName) {
        let Some(batch) = lock(&self.lane(branch)).batch else {
            return;
        };
        let mut group = lock(&self.group);
        while group.finished.is_none_or(|done| done < batch) {
            group = self.go_on(group);
        }
    }

    /// The durable head of a branch, whoever moved it there.
    pub fn head(&self, branch: &BranchName) -> Result<Option<ObjectId>, StoreError> {
        let head = self.reader.backend().head(branch)?;
        if self
            .hub
            .latest(branch)
            .is_none_or(|latest| latest.head != head)
        {
            self.heard_of(branch, head)?;
        }
        Ok(head)
    }

    /// Runs `work` while no change is under way and none can begin.
    pub fn exclusively<T>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let lanes = lock(&self.lanes);
            let held: Vec<_> = lanes.values().map(|lane| lock(lane)).collect();
            let group = lock(&self.group);
            if !group.flushing && group.waiting == 0 {
                return work();
            }
            // A flush that fails needs the lanes.
            drop(held);
            drop(lanes);
            drop(self.flushed.wait(group));
        }
    }

    /// Tells the watches about a head read from the back end. A change of our own may just be on its way
    /// to tell them too: only what is still true when no flush is under way is another process's doing.
    fn heard_of(&self, branch: &BranchName, head: Option<ObjectId>) -> Result<(), StoreError> {
        let group = lock(&self.group);
        if !group.flushing && self.reader.backend().head(branch)? == head {
            self.hub.advance(branch, [head]);
        }
        Ok(())
    }

    fn lane(&self, branch: &BranchName) -> Arc<SharedLane> {
        lock(&self.lanes).entry(branch.clone()).or_default().clone()
    }

    fn under_way(&self, lane: &Lane) -> bool {
        lane.batch
            .is_some_and(|batch| lock(&self.group).finished.is_none_or(|done| done < batch))
    }

    /// Adds a change to the batch that is being collected; returns its number.
    fn join(
        &self,
        branch: &BranchName,
        expected: Option<ObjectId>,
        new: Option<ObjectId>,
        objects: Vec<NewObject>,
    ) -> u64 {
        let mut group = lock(&self.group);
        let number = group.number;
        self.reader.announce(&objects, number);
        group.batch.objects.extend(objects);
        group.heads.push((branch.clone(), new));
        match group
            .batch
            .updates
            .iter_mut()
            .find(|update| update.branch == *branch)
        {
            Some(update) => update.new = new,
            None => group.batch.updates.push(Update {
                branch: branch.clone(),
                expected,
                new,
            }),
        }
        group.waiting += 1;
        if group.gathering && group.is_complete() {
            self.gathered.notify_one();
        }
        number
    }

    /// Waits for a batch, or carries it out.
    fn finish(&self, number: u64, branch: &BranchName) -> Result<Fate, StoreError> {
        let mut group = lock(&self.group);
        loop {
            if let Some(outcome) = group.outcomes.get_mut(&number) {
                let fate = outcome.fates.get(branch).cloned();
                outcome.waiting -= 1;
                if outcome.waiting == 0 {
                    group.outcomes.remove(&number);
                }
                return fate.unwrap_or(Ok(Fate::Overtaken));
            }
            group = self.go_on(group);
        }
    }

    /// Waits for whoever flushes or is about to, else flushes.
    fn go_on<'a>(&'a self, mut group: MutexGuard<'a, Group>) -> MutexGuard<'a, Group> {
        if group.flushing || group.gathering {
            let woken = self.flushed.wait(group);
            return woken.unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + group.lasted / 2;
        group.gathering = true;
        while !group.is_complete() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.gathered.wait_timeout(group, left);
            group = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        group.gathering = false;
        self.flush(group)
    }

    /// Carries out the batch that was collected.
    fn flush<'a>(&'a self, mut group: MutexGuard<'a, Group>) -> MutexGuard<'a, Group> {
        let number = group.number;
        let (batch, heads) = (
            std::mem::take(&mut group.batch),
            std::mem::take(&mut group.heads),
        );
        let waiting = std::mem::take(&mut group.waiting);
        group.crowds = [waiting, group.crowds[0]];
        group.number += 1;
        group.flushing = true;
        drop(group);

        let begun = Instant::now();
        let fates = self.carry_out(&batch, heads);
        lock(&self.group).lasted = begun.elapsed();
        if fates.values().all(|fate| matches!(fate, Ok(Fate::Durable))) {
            let group = lock(&self.group);
            return self.publish(
                group,
                (number, number),
                &batch.objects,
                Outcome { fates, waiting },
            );
        }
        // What was collected meanwhile builds on something that is not there, and is made again. No
        // writer may be between reading a lane and joining the group.
        let lanes: Vec<_> = lock(&self.lanes).values().cloned().collect();
        let held: Vec<_> = lanes.iter().map(|lane| lock(lane)).collect();
        let mut group = lock(&self.group);
        let last = if group.waiting > 0 {
            group.number
        } else {
            number
        };
        if last > number {
            group.number += 1;
            (group.batch, group.heads) = Default::default();
            let waiting = std::mem::take(&mut group.waiting);
            group.outcomes.insert(
                last,
                Outcome {
                    fates: BTreeMap::new(),
                    waiting,
                },
            );
        }
        let group = self.publish(group, (number, last), &[], Outcome { fates, waiting });
        drop(held);
        group
    }

    /// Has the back end write a batch, and tells the watches.
    fn carry_out(
        &self,
        batch: &Batch,
        heads: Vec<(BranchName, Option<ObjectId>)>,
    ) -> BTreeMap<BranchName, Result<Fate, StoreError>> {
        let mut trails: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (branch, head) in heads {
            trails.entry(branch).or_default().push(head);
        }
        let results = match self.reader.backend().commit(batch) {
            Ok(results) => results,
            Err(error) => batch.updates.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut fates = BTreeMap::new();
        for (update, result) in batch.updates.iter().zip(results) {
            let fate = result.map(|moved| {
                if moved {
                    Fate::Durable
                } else {
                    Fate::Overtaken
                }
            });
            if matches!(fate, Ok(Fate::Durable)) {
                self.hub.advance(
                    &update.branch,
                    trails.remove(&update.branch).unwrap_or_default(),
                );
            }
            fates.insert(update.branch.clone(), fate);
        }
        fates
    }

    /// Batches up to `last` are done: hands out the outcome of `number`.
    fn publish<'a>(
        &'a self,
        mut group: MutexGuard<'a, Group>,
        (number, last): (u64, u64),
        written: &[NewObject],
        outcome: Outcome,
    ) -> MutexGuard<'a, Group> {
        self.reader.retire(last, written);
        group.outcomes.insert(number, outcome);
        group.finished = Some(last);
        group.flushing = false;
        self.flushed.notify_all();
        group
    }
}

impl Group {
    /// Whether as many wait as lately did.
    fn is_complete(&self) -> bool {
        self.waiting >= self.crowds[0].max(self.crowds[1])
    }
}

impl Lane {
    fn start_at(&mut self, head: Option<ObjectId>) {
        if self.next != head {
            self.lineage = Lineage::default();
        }
        self.next = head;
        self.lineage.extend(head);
    }

    fn move_to(&mut self, new: Option<ObjectId>, batch: u64) {
        self.next = new;
        self.batch = Some(batch);
        match new {
            Some(_) => self.lineage.extend(new),
            None => self.lineage = Lineage::default(),
        }
    }
}

/// Recent heads that the present one descends from, in two generations.
#[derive(Default)]
struct Lineage {
    young: IdMap<()>,
    old: IdMap<()>,
}

impl Lineage {
    fn contains(&self, id: &ObjectId) -> bool {
        self.young.contains_key(id) || self.old.contains_key(id)
    }

    fn extend(&mut self, head: Option<ObjectId>) {
        if self.young.len() >= LINEAGE / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(head.map(|head| (head, ())));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
