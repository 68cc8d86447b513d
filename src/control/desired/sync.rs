//! How rails keep up with each other: each fetches from its remotes and merges their `main` into its own.
//!
//! The remotes are the repository's own (`git remote add rail-b http://192.0.2.11:9464/store.git`). Nobody pushes:
//! a merge commit depends only on its parents, so rails that fetch from each other end at the same commit, in
//! whatever order. A remote that cannot be reached, or whose `main` conflicts with ours, changes nothing here: what ran
//! goes on running, and the problem is shown until it is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Desired;
use crate::store::git::Git;
use crate::store::{BranchName, CommitError, How, StoreError};

/// Time between two rounds.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a remote may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of one remote in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The remote's name.
    pub remote: String,
    /// What happened.
    pub outcome: Outcome,
    /// Where our `main` stands afterwards.
    pub head: Option<String>,
    /// What is wrong, if something is.
    pub problem: Option<String>,
}

/// What a remote's `main` did to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing: we have what it has.
    Same,
    /// Ours went forward to its.
    Forward,
    /// Ours was merged with its.
    Merged,
    /// They cannot be merged.
    Conflict,
    /// It could not be reached.
    Unreachable,
}

impl Outcome {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "nothing new",
            Self::Forward => "taken over",
            Self::Merged => "merged",
            Self::Conflict => "conflict",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Fetches and merges.
pub struct Syncer {
    desired: Desired,
    git: Git,
    /// Held during a round: two at once would be in each other's way.
    round: Mutex<()>,
    conflicts: Mutex<BTreeMap<String, String>>,
}

/// Rounds at an interval, until this is dropped.
pub struct Rounds {
    _stop: Sender<()>,
}

impl Syncer {
    /// For the store in `directory`.
    pub fn new(desired: Desired, directory: &Path) -> Self {
        let dot_git = directory.join(".git");
        let directory = if dot_git.is_dir() {
            &dot_git
        } else {
            directory
        };
        Self {
            desired,
            git: Git::new(directory),
            round: Mutex::default(),
            conflicts: Mutex::default(),
        }
    }

    /// Makes rounds on a thread of its own.
    pub fn start(self: &Arc<Self>) -> std::io::Result<Rounds> {
        let (stop, stopped) = channel();
        let syncer = Arc::clone(self);
        let rounds = move || {
            let mut reachable = BTreeMap::new();
            while matches!(stopped.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout)) {
                match syncer.round() {
                    Ok(synced) => synced
                        .iter()
                        .for_each(|synced| tell(synced, &mut reachable)),
                    Err(error) => tracing::error!(%error, "cannot sync the store"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-sync".to_owned());
        thread.spawn(rounds)?;
        Ok(Rounds { _stop: stop })
    }

    /// Fetches from every remote and merges what they have.
    pub fn round(&self) -> Result<Vec<Synced>, StoreError> {
        let _round = lock(&self.round);
        let remotes = self.git.remotes()?;
        lock(&self.conflicts).retain(|remote, _| remotes.iter().any(|(name, _)| name == remote));
        remotes
            .iter()
            .map(|(name, url)| self.remote(name, url))
            .collect()
    }

    /// What cannot be merged, a line for each remote.
    pub fn conflicts(&self) -> Vec<String> {
        let conflicts = lock(&self.conflicts);
        let lines = conflicts.iter();
        lines
            .map(|(remote, why)| format!("cannot merge {remote}/main: {why}"))
            .collect()
    }

    fn remote(&self, name: &str, url: &str) -> Result<Synced, StoreError> {
        let main = self.desired.main();
        let fetched = self.git.fetch_within(PATIENCE, name, url);
        let (outcome, problem) = match fetched {
            Err(error) => (Outcome::Unreachable, Some(error.to_string())),
            Ok(()) => {
                let merged = self.merge(name)?;
                let mut conflicts = lock(&self.conflicts);
                match &merged {
                    (Outcome::Conflict, Some(why)) => {
                        conflicts.insert(name.to_owned(), why.clone())
                    }
                    _ => conflicts.remove(name),
                };
                merged
            }
        };
        Ok(Synced {
            remote: name.to_owned(),
            outcome,
            head: main.head()?.map(|id| id.to_string()),
            problem,
        })
    }

    fn merge(&self, remote: &str) -> Result<(Outcome, Option<String>), StoreError> {
        let heads = self.desired.store().backend().remote_heads()?;
        let theirs = heads
            .iter()
            .find(|(name, branch, _)| name == remote && *branch == BranchName::main());
        let Some((_, _, theirs)) = theirs else {
            return Ok((Outcome::Same, None));
        };
        let main = self.desired.main();
        let before = main.head()?;
        match main.merge(theirs) {
            Ok(done) if done.head == before => Ok((Outcome::Same, None)),
            Ok(done) if done.how == How::Merged => Ok((Outcome::Merged, None)),
            Ok(_) => Ok((Outcome::Forward, None)),
            Err(CommitError::Store(error)) => Err(error),
            Err(why) => Ok((Outcome::Conflict, Some(why.to_string()))),
        }
    }
}

/// Logs what is new: a remote that comes or goes, a merge, a conflict when it begins.
fn tell(synced: &Synced, before: &mut BTreeMap<String, Outcome>) {
    let Synced {
        remote,
        outcome,
        head,
        problem,
    } = synced;
    let previous = before.insert(remote.clone(), *outcome);
    let problem = problem.as_deref().unwrap_or_default();
    match outcome {
        Outcome::Forward | Outcome::Merged => {
            tracing::info!(%remote, head = head.as_deref(), "the store was synced");
        }
        _ if previous == Some(*outcome) => {}
        Outcome::Conflict => {
            tracing::error!(%remote, "cannot merge: use \"rail merge {remote}/main\": {problem}");
        }
        Outcome::Unreachable => tracing::warn!(%remote, "cannot sync the store: {problem}"),
        Outcome::Same => tracing::info!(%remote, "the store is in sync"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
