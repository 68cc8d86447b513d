//! Forgetting old history.
//!
//! # Guarantees
//!
//! - What is kept keeps its ids: history is cut at a boundary, nothing is rewritten. Git calls such a
//!   repository shallow, and clones, fetches, pushes and checks it.
//! - Nothing is cut that some remote may not have: the cut never goes past the newest commits all remotes are known to
//!   have. A remote that was never heard of has nothing.
//! - The states of kept commits stay complete.

use std::collections::HashMap;
use std::time::Duration;

use super::backend::IdSet;
use super::error::StoreError;
use super::facade::Store;
use super::history::Log;
use super::object::{IdMap, ObjectId};

/// What to keep, at least.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The newest commits of each branch.
    pub commits: usize,
    /// Commits made at or after this time, in seconds since 1970.
    pub since: Option<i64>,
    /// The remotes whose knowledge counts, by name.
    pub remotes: Vec<String>,
    /// Objects no branch leads to are kept this long, for those who are just writing them.
    pub grace: Duration,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squashed {
    /// Commits that are history's beginning now, in id order.
    pub boundary: Vec<ObjectId>,
    /// Number of commits that were dropped.
    pub dropped: usize,
}

impl Store {
    /// Cuts off history that `retention` does not ask for. No commit can be made meanwhile.
    pub fn squash(&self, retention: &Retention) -> Result<Squashed, StoreError> {
        self.committer().exclusively(|| {
            let graph = Graph::of(self)?;
            let kept = graph.kept(self, retention)?;
            let dropped = graph.parents.len() - kept.len();
            let cut_here = |id: &&ObjectId| {
                let parents = &graph.parents[*id];
                !parents.is_empty() && parents.iter().all(|parent| !kept.contains_key(parent))
            };
            let mut boundary: Vec<_> = kept.keys().filter(cut_here).copied().collect();
            boundary.extend(
                self.reader()
                    .boundary()
                    .keys()
                    .filter(|id| kept.contains_key(*id)),
            );
            boundary.sort();
            if dropped > 0 {
                self.backend().set_boundary(&boundary)?;
                self.backend().collect_garbage(retention.grace)?;
                self.reader().forget()?;
            }
            Ok(Squashed { boundary, dropped })
        })
    }
}

/// All commits any branch, ours or a remote's, leads to.
struct Graph {
    parents: IdMap<Vec<ObjectId>>,
    seconds: IdMap<i64>,
    children: IdMap<Vec<ObjectId>>,
    heads: Vec<ObjectId>,
    /// What each remote is known to have.
    remotes: HashMap<String, Vec<ObjectId>>,
}

impl Graph {
    fn of(store: &Store) -> Result<Self, StoreError> {
        let heads: Vec<ObjectId> = store.branches()?.into_iter().map(|(_, id)| id).collect();
        let mut remotes: HashMap<String, Vec<ObjectId>> = HashMap::new();
        for (remote, _, id) in store.backend().remote_heads()? {
            remotes.entry(remote).or_default().push(id);
        }
        let roots = heads.iter().chain(remotes.values().flatten()).copied();
        let source = store.overlay();
        let mut graph = Self {
            parents: IdMap::default(),
            seconds: IdMap::default(),
            children: IdMap::default(),
            heads: heads.clone(),
            remotes: remotes.clone(),
        };
        for item in Log::new(&*source, roots)? {
            let (id, commit) = item?;
            for parent in &commit.parents {
                graph.children.entry(*parent).or_default().push(id);
            }
            graph.parents.insert(id, commit.parents.clone());
            graph.seconds.insert(id, commit.committer.seconds);
        }
        Ok(graph)
    }

    /// The commits to keep: with every one its descendants, and of a merge either all parents or none.
    fn kept(&self, store: &Store, retention: &Retention) -> Result<IdSet, StoreError> {
        let mut waiting = self.heads.clone();
        waiting.extend(self.remotes.values().flatten());
        let source = store.overlay();
        for head in &self.heads {
            for item in Log::new(&*source, [*head])?.take(retention.commits) {
                waiting.push(item?.0);
            }
        }
        let since = retention.since.unwrap_or(i64::MAX);
        waiting.extend(
            self.seconds
                .iter()
                .filter(|(_, seconds)| **seconds >= since)
                .map(|(id, _)| *id),
        );
        let shared = self.shared_by(&retention.remotes);
        let newest = |id: &ObjectId| {
            let children = self.children.get(id);
            children.is_none_or(|children| children.iter().any(|child| !shared.contains_key(child)))
        };
        waiting.extend(
            self.parents
                .keys()
                .filter(|id| !shared.contains_key(*id) || newest(id)),
        );

        let mut kept = IdSet::default();
        while let Some(id) = waiting.pop() {
            if kept.insert(id, ()).is_some() {
                continue;
            }
            let children = self.children.get(&id).into_iter().flatten();
            for child in children {
                waiting.push(*child);
                // The boundary cuts all parents of a commit, so one that is kept keeps the others.
                waiting.extend(self.parents.get(child).into_iter().flatten());
            }
        }
        Ok(kept)
    }

    /// The commits all these remotes are known to have.
    fn shared_by(&self, remotes: &[String]) -> IdSet {
        let everything = || self.parents.keys().map(|id| (*id, ())).collect::<IdSet>();
        remotes.iter().fold(everything(), |mut shared, remote| {
            let known = self.ancestors(self.remotes.get(remote).map_or(&[], Vec::as_slice));
            shared.retain(|id, ()| known.contains_key(id));
            shared
        })
    }

    fn ancestors(&self, of: &[ObjectId]) -> IdSet {
        let (mut found, mut waiting) = (IdSet::default(), of.to_vec());
        while let Some(id) = waiting.pop() {
            if found.insert(id, ()).is_none() {
                waiting.extend(self.parents.get(&id).into_iter().flatten());
            }
        }
        found
    }
}
