//! Being told what changed.
//!
//! # Guarantees
//!
//! - No change is lost: whoever applies all events of a watch, in order, to the state it began with
//!   has the state of the branch.
//! - Every state a branch went through is reported, unless the watch was too far behind or another process
//!   moved the branch by several commits at once. Then several states are reported as one, and the events say so ([`Event::coalesced`]).
//! - A watch costs nothing while it is not asked; a slow one does not slow anybody down.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::diff::{Change, diff};
use super::directory::Source;
use super::error::StoreError;
use super::facade::Store;
use super::hub::Position;
use super::object::ObjectId;
use super::path::{BranchName, Path};

/// How often a waiting watch looks for moves made by other processes.
const POLL: Duration = Duration::from_millis(200);

/// What a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every branch, also those that will be made.
    All,
    /// One branch.
    Branch(BranchName),
    /// A directory of a branch and everything below, or a single value.
    Subtree(BranchName, Path),
}

/// One value that changed in one move of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub branch: BranchName,
    pub path: Path,
    pub change: Change,
    /// The head the branch moved to; `None` if it was deleted.
    pub head: Option<ObjectId>,
    /// Whether there may have been states in between that are not reported.
    pub coalesced: bool,
}

/// See the module.
pub struct Watch {
    store: Store,
    scope: Scope,
    /// What was reported last; nothing for branches that did not exist.
    seen: BTreeMap<BranchName, Position>,
    ready: VecDeque<Event>,
}

impl Watch {
    pub(super) fn new(store: Store, scope: Scope) -> Self {
        let hub = store.hub();
        let seen = hub.branches().into_iter();
        let seen = seen
            .filter_map(|branch| Some((branch.clone(), hub.latest(&branch)?)))
            .collect();
        Self {
            store,
            scope,
            seen,
            ready: VecDeque::new(),
        }
    }

    /// The next event, if there is one already.
    pub fn poll(&mut self) -> Result<Option<Event>, StoreError> {
        for branch in self.branches() {
            while self.ready.is_empty() && self.step(&branch)? {}
        }
        Ok(self.ready.pop_front())
    }

    /// The next event; `None` if none comes within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, StoreError> {
        let deadline = Instant::now() + timeout;
        loop {
            let moves = self.store.hub().moves();
            if let Some(event) = self.poll()? {
                return Ok(Some(event));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            if !self.store.hub().wait(moves, deadline.min(now + POLL)) {
                self.store.refresh()?;
            }
        }
    }

    fn branches(&self) -> Vec<BranchName> {
        match &self.scope {
            Scope::All => self.store.hub().branches(),
            Scope::Branch(branch) | Scope::Subtree(branch, _) => vec![branch.clone()],
        }
    }

    /// Reports one move of a branch; says whether there was one.
    fn step(&mut self, branch: &BranchName) -> Result<bool, StoreError> {
        let before = self.seen.get(branch);
        let Some((next, skipped)) = self.store.hub().next(branch, before) else {
            return Ok(false);
        };
        let source = self.store.overlay();
        let tree = |head: Option<ObjectId>| match head {
            Some(head) => source.commit(&head).map(|commit| Some(commit.tree)),
            None => Ok(None),
        };
        let old = before.and_then(|before| before.head);
        let direct = match (old, next.head) {
            (Some(old), Some(new)) => source.commit(&new)?.parents.contains(&old),
            (None, Some(new)) => source.commit(&new)?.parents.is_empty(),
            (_, None) => true,
        };
        let root = Path::root();
        let scope = match &self.scope {
            Scope::Subtree(_, path) => path,
            Scope::All | Scope::Branch(_) => &root,
        };
        let changes = diff(&*source, scope, tree(old)?, tree(next.head)?)?;
        let (head, coalesced) = (next.head, skipped || !direct);
        self.ready
            .extend(changes.into_iter().map(|(path, change)| Event {
                branch: branch.clone(),
                path,
                change,
                head,
                coalesced,
            }));
        self.seen.insert(branch.clone(), next);
        Ok(true)
    }
}
