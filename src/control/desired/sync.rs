//! How rails keep up with each other: each fetches from its remotes and merges their `main` into its own.
//!
//! The remotes are the repository's own (`git remote add rail-b http://192.0.2.11:9464/store.git`). Nobody pushes:
//! a merge commit depends only on its parents, so rails that fetch from each other end at the same commit, in
//! whatever order. A remote that cannot be reached, or whose `main` conflicts with ours, changes nothing here: what ran
//! goes on running, and the problem is shown until it is gone.
//!
//! A rail fetches at an interval, and when it is told to: one whose `main` has moved tells its remotes, see
//! [`nudge`](super::nudge). What it is told is only that there may be something to fetch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Desired, nudge};
use crate::store::git::Git;
use crate::store::{BranchName, CommitError, How, StoreError};

/// The least time between two rounds, and between two times the remotes are told: what comes sooner is put
/// together.
const LEAST_PAUSE: Duration = Duration::from_millis(250);
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
    remotes: Mutex<BTreeMap<String, Arc<Remote>>>,
    conflicts: Mutex<BTreeMap<String, String>>,
    wake: Mutex<Option<Sender<Wake>>>,
}

/// What is going on with one remote.
#[derive(Default)]
struct Remote {
    /// Held while it is fetched from: twice at once would be in each other's way.
    turn: Mutex<()>,
    /// Somebody waits for the turn: what this one will find is new enough for all.
    waited_for: AtomicBool,
    /// It is being told.
    told: AtomicBool,
    /// What became of it last.
    last: Mutex<Option<Outcome>>,
}

enum Wake {
    /// Another rail says that it has something new.
    Nudged,
    /// Our `main` has moved.
    Moved,
    Stop,
}

/// Rounds at an interval and on demand, until this is dropped.
pub struct Rounds {
    stop: Sender<Wake>,
}

impl Drop for Rounds {
    fn drop(&mut self) {
        // If nobody listens it has stopped already.
        let _ = self.stop.send(Wake::Stop);
    }
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
            remotes: Mutex::default(),
            conflicts: Mutex::default(),
            wake: Mutex::default(),
        }
    }

    /// Makes rounds on a thread of its own, so often and when there is a reason.
    pub fn start(self: &Arc<Self>, interval: Duration) -> std::io::Result<Rounds> {
        let (stop, woken) = channel();
        *lock(&self.wake) = Some(stop.clone());
        let syncer = Arc::clone(self);
        let rounds = move || {
            let mut fetch = Pace::every(interval);
            let mut tell = Pace::when_asked();
            loop {
                let due = fetch.next.min(tell.next);
                match woken.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(Wake::Nudged) => fetch.ask(),
                    Ok(Wake::Moved) => tell.ask(),
                    Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if tell.is_due() {
                    syncer.each(Self::tell);
                }
                if fetch.is_due() {
                    syncer.each(Self::attend);
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-sync".to_owned());
        thread.spawn(rounds)?;
        Ok(Rounds { stop })
    }

    /// Another rail says that it has something new: fetches soon.
    pub fn nudged(&self) {
        self.send(Wake::Nudged);
    }

    /// Our `main` has moved: tells the remotes soon.
    pub fn moved(&self) {
        self.send(Wake::Moved);
    }

    fn send(&self, wake: Wake) {
        if let Some(sender) = &*lock(&self.wake) {
            // Nobody listens any more once the rail ends.
            let _ = sender.send(wake);
        }
    }

    /// Does something with every remote, each on a thread of its own: one that does not answer delays none.
    fn each(self: &Arc<Self>, work: fn(&Self, &str, &str)) {
        let remotes = match self.remotes() {
            Ok(remotes) => remotes,
            Err(error) => {
                tracing::error!(%error, "cannot sync the store");
                return;
            }
        };
        for (name, url) in remotes {
            let syncer = Arc::clone(self);
            let thread = std::thread::Builder::new().name(format!("sync-{name}"));
            if let Err(error) = thread.spawn(move || work(&syncer, &name, &url)) {
                tracing::error!(%error, "cannot sync the store");
            }
        }
    }

    /// The remotes there are; what is known of others is forgotten.
    fn remotes(&self) -> Result<Vec<(String, String)>, StoreError> {
        let remotes = self.git.remotes()?;
        let is_there = |remote: &String| remotes.iter().any(|(name, _)| name == remote);
        lock(&self.conflicts).retain(|remote, _| is_there(remote));
        lock(&self.remotes).retain(|remote, _| is_there(remote));
        Ok(remotes)
    }

    fn state(&self, name: &str) -> Arc<Remote> {
        let mut remotes = lock(&self.remotes);
        Arc::clone(remotes.entry(name.to_owned()).or_default())
    }

    /// One remote's part of a round, unless somebody is about to do it.
    fn attend(&self, name: &str, url: &str) {
        let state = self.state(name);
        if state.waited_for.swap(true, Ordering::SeqCst) {
            return;
        }
        match self.remote(name, url) {
            Ok(synced) => report(&synced, lock(&state.last).replace(synced.outcome)),
            Err(error) => tracing::error!(%error, remote = name, "cannot sync the store"),
        }
    }

    fn tell(&self, name: &str, url: &str) {
        let state = self.state(name);
        if !state.told.swap(true, Ordering::SeqCst) {
            // A remote that does not hear it fetches at its interval.
            if let Err(error) = nudge::send(url) {
                tracing::debug!(remote = name, %error, "not told");
            }
            state.told.store(false, Ordering::SeqCst);
        }
    }

    /// Fetches from every remote and merges what they have.
    pub fn round(&self) -> Result<Vec<Synced>, StoreError> {
        let remotes = self.remotes()?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = remotes
                .iter()
                .map(|(name, url)| scope.spawn(|| self.remote(name, url)))
                .collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(synced) => synced,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
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
        let state = self.state(name);
        let _turn = lock(&state.turn);
        // What others find from here on may not be in what we fetch.
        state.waited_for.store(false, Ordering::SeqCst);
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

/// When something is done next: at an interval, when it is asked for, and never too often.
struct Pace {
    interval: Option<Duration>,
    last: Instant,
    next: Instant,
}

/// As good as never.
const LONG: Duration = Duration::from_secs(24 * 3600);

impl Pace {
    fn every(interval: Duration) -> Self {
        let last = Instant::now();
        Self {
            interval: Some(interval),
            last,
            next: last + interval,
        }
    }

    fn when_asked() -> Self {
        Self {
            interval: None,
            ..Self::every(LONG)
        }
    }

    /// Soon, please.
    fn ask(&mut self) {
        self.next = self.next.min(self.last + LEAST_PAUSE);
    }

    /// Whether it is time; the next time follows.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            (self.last, self.next) = (now, now + self.interval.unwrap_or(LONG));
        }
        due
    }
}

/// Logs what is new: a remote that comes or goes, a merge, a conflict when it begins.
fn report(synced: &Synced, previous: Option<Outcome>) {
    let Synced {
        remote,
        outcome,
        head,
        problem,
    } = synced;
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
