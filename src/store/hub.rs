//! Where branches have been: the trail every watch follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::object::ObjectId;
use super::path::BranchName;

/// Moves remembered for each branch. A watch that falls further behind sees the moves in between as one.
const TRAIL: usize = 1024;

/// Called after any branch has moved; must be quick, and must not call the store.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// All trails.
#[derive(Default)]
pub struct Hub {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    trails: BTreeMap<BranchName, Trail>,
    wakes: Vec<Wake>,
    moves: u64,
}

/// The recent heads of one branch. The latest has number `first + heads.len() - 1`.
#[derive(Default)]
struct Trail {
    first: u64,
    heads: VecDeque<Option<ObjectId>>,
}

/// A place on a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    number: u64,
    pub head: Option<ObjectId>,
}

impl Hub {
    /// A branch went through these heads. The first time a branch is heard of, that is where it starts.
    pub fn advance(&self, branch: &BranchName, heads: impl IntoIterator<Item = Option<ObjectId>>) {
        let mut state = self.lock();
        let trail = state.trails.entry(branch.clone()).or_default();
        let before = trail.first + trail.heads.len() as u64;
        for head in heads {
            if trail.heads.back() != Some(&head) {
                trail.heads.push_back(head);
            }
        }
        let changed = before != trail.first + trail.heads.len() as u64;
        while trail.heads.len() > TRAIL {
            trail.heads.pop_front();
            trail.first += 1;
        }
        if changed {
            state.moves += 1;
            self.moved.notify_all();
            state.wakes.iter().for_each(|wake| wake());
        }
    }

    /// Calls `wake` after every move from now on.
    pub fn subscribe(&self, wake: Wake) {
        self.lock().wakes.push(wake);
    }

    /// The end of a branch's trail; `None` if nothing is known about it.
    pub fn latest(&self, branch: &BranchName) -> Option<Position> {
        let state = self.lock();
        let trail = state.trails.get(branch)?;
        let head = *trail.heads.back()?;
        Some(Position {
            number: trail.first + trail.heads.len() as u64 - 1,
            head,
        })
    }

    /// The place after `position` on a branch's trail, and whether places between the two are
    /// forgotten; `None` at the end. Without a position: the oldest place that is known.
    pub fn next(
        &self,
        branch: &BranchName,
        position: Option<&Position>,
    ) -> Option<(Position, bool)> {
        let state = self.lock();
        let trail = state.trails.get(branch)?;
        let wanted = position.map_or(0, |position| position.number + 1);
        let number = wanted.max(trail.first);
        let head = *trail
            .heads
            .get(usize::try_from(number - trail.first).ok()?)?;
        Some((Position { number, head }, number > wanted))
    }

    /// The branches anything is known about.
    pub fn branches(&self) -> Vec<BranchName> {
        self.lock().trails.keys().cloned().collect()
    }

    /// How often anything has moved: for [`wait`](Self::wait).
    pub fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// Waits until something has moved since `moves` was asked for; says no at the deadline.
    pub fn wait(&self, moves: u64, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.moves == moves {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
