//! How a rail keeps to its store: what `main` says is what it runs, as long as it can.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::confirm::{self, Unconfirmed};
use super::diary::Diary;
use super::sync::{Rounds, Syncer};
use super::{Desired, hook, same};
use crate::pool::{Config, Environment, Pool, Violation};
use crate::store::history::Log;
use crate::store::{CommitError, Committed, Info, ObjectId, StoreError};
use crate::table::Nanos;

/// How often is looked whether another process has moved `main`, and whether a deadline has come.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// How far back a rail looks for a pool it can run when the newest one is broken.
const BACKWARDS: usize = 1_000;

/// A rail's store, and how far the rail has come with it.
pub struct Following {
    desired: Desired,
    directory: PathBuf,
    name: String,
    /// Set when a branch moves.
    moved: Arc<AtomicBool>,
    next_look: Nanos,
    /// The newest head that was taken over, or found impossible to.
    seen: Option<ObjectId>,
    /// The commit whose pool runs.
    running: ObjectId,
    /// Why that is not the head.
    problem: Option<String>,
    unconfirmed: Vec<Unconfirmed>,
    syncer: Arc<Syncer>,
    _rounds: Rounds,
    diary: Diary,
}

/// Why a rail cannot start with its store.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The store does not open, or does not read.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The first commit was not possible.
    #[error("the store: {0}")]
    Commit(#[from] CommitError),
    /// No pool in it can be run.
    #[error(
        "the store's main at {commit} cannot be run here: {why}; see \"rail log --store DIR\" and \"rail revert\""
    )]
    NoPool {
        /// The head.
        commit: ObjectId,
        /// What is wrong with it.
        why: String,
    },
}

/// What a rail starts with.
pub struct Begun {
    /// The configuration, with the store's pool.
    pub config: Config,
    /// The store.
    pub following: Following,
    /// What its operator should know.
    pub warnings: Vec<String>,
}

impl Following {
    /// Opens the store a configuration names. An empty one takes over the file's pool as its first commit; of any
    /// other the newest pool this rail can run replaces the file's.
    pub fn begin(
        config: Config,
        directory: &FilePath,
        file: &FilePath,
    ) -> Result<Begun, BeginError> {
        let desired = Desired::open(directory, true)?;
        let main = desired.main();
        let (name, file) = (config.node.name.to_string(), file.display());
        let mut warnings = Vec::new();
        let installed = std::env::current_exe().and_then(|rail| hook::install(directory, &rail));
        if !matches!(installed, Ok(true)) {
            let why = match installed {
                Err(error) => error.to_string(),
                Ok(_) => "it has a pre-receive hook of its own".to_owned(),
            };
            warnings.push(format!("what is pushed to the store is not checked: {why}"));
        }
        let head = match main.head()? {
            Some(head) => head,
            None => {
                let info = Info::now(&name, "", format!("import the pool of {file}"));
                let made = desired.replace(&main, &config.pool, &info, None);
                made.map_err(|error| match error {
                    super::ReplaceError::Commit(error) => error,
                    moved => StoreError::value("pool", moved.to_string()).into(),
                })?;
                match main.head()? {
                    Some(head) => head,
                    None => return Err(StoreError::value("pool", "nothing to import").into()),
                }
            }
        };
        let syncer = Arc::new(Syncer::new(desired.clone(), directory));
        let rounds = syncer
            .start(config.node.sync_interval)
            .map_err(|error| StoreError::io("start", FilePath::new("store-sync"), error))?;
        let diary = Diary::start(desired.store(), &name)?;
        let mut following = Self {
            syncer,
            diary,
            _rounds: rounds,
            desired,
            directory: directory.to_owned(),
            name,
            moved: Arc::new(AtomicBool::new(true)),
            next_look: Nanos(0),
            seen: None,
            running: head,
            problem: None,
            unconfirmed: Vec::new(),
        };
        let moved = Arc::clone(&following.moved);
        let wake = move || moved.store(true, Ordering::Release);
        following.desired.store().on_move(Box::new(wake));

        let from_file = config.pool.clone();
        let config = following.newest_possible(config, head)?;
        if following.running != head {
            let why = following.problem.clone().unwrap_or_default();
            warnings.push(format!(
                "the store's main at {head} cannot be run: {why}; running {}",
                following.running
            ));
        }
        if !same(&from_file, &config.pool) {
            warnings.push(format!("{file}: {}", differs(&file.to_string())));
        }
        following.seen = Some(head);
        let (waiting, _) = confirm::scan(following.desired.store(), head, None, now())?;
        following.wait_for(waiting);
        Ok(Begun {
            config,
            following,
            warnings,
        })
    }

    /// The configuration with the newest pool on the way to `head` that can be run.
    fn newest_possible(&mut self, config: Config, head: ObjectId) -> Result<Config, BeginError> {
        let source = self.desired.store().overlay();
        for item in Log::new(&*source, [head])?.take(BACKWARDS) {
            let (commit, _) = item?;
            match self.with_pool_of(&config, &commit)? {
                Ok(config) => {
                    self.running = commit;
                    return Ok(config);
                }
                Err(why) if commit == head => self.problem = Some(why),
                Err(_) => {}
            }
        }
        let why = self.problem.take().unwrap_or_default();
        Err(BeginError::NoPool { commit: head, why })
    }

    /// The configuration with the pool of a commit, or why that is not possible.
    pub fn with_pool_of(
        &self,
        config: &Config,
        commit: &ObjectId,
    ) -> Result<Result<Config, String>, StoreError> {
        Ok(match self.desired.pool(commit)? {
            Ok(pool) => with_pool(config, Pool::clone(&pool)),
            Err(fault) => Err(format!("{}: {fault}", fault.message)),
        })
    }

    /// The store.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Where the store is.
    pub fn directory(&self) -> &FilePath {
        &self.directory
    }

    /// The commit whose pool runs.
    pub fn running(&self) -> ObjectId {
        self.running
    }

    /// The newest head that was looked at.
    pub fn seen(&self) -> Option<ObjectId> {
        self.seen
    }

    /// Why what runs is not the head, and what keeps other rails' changes out.
    pub fn problem(&self) -> Option<String> {
        let own = self.problem.iter().cloned();
        let all: Vec<_> = own.chain(self.syncer.conflicts()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What keeps up with other rails.
    pub fn syncer(&self) -> &Arc<Syncer> {
        &self.syncer
    }

    /// What the rail observes is written down there.
    pub fn diary(&mut self) -> &mut Diary {
        &mut self.diary
    }

    /// Changes this rail undoes unless they are confirmed.
    pub fn unconfirmed(&self) -> &[Unconfirmed] {
        &self.unconfirmed
    }

    /// Whether it is time to look at the store.
    pub fn is_due(&mut self, now: Nanos) -> bool {
        let due = self.moved.swap(false, Ordering::AcqRel) || now >= self.next_look;
        if due {
            self.next_look = now + LOOK_PAUSE;
        }
        due
    }

    /// The head, if it was not looked at yet.
    pub fn news(&self) -> Result<Option<ObjectId>, StoreError> {
        let head = self.desired.main().head()?;
        Ok(head.filter(|head| self.seen != Some(*head)))
    }

    /// The rail runs the pool of this head now, or cannot.
    pub fn taken(&mut self, head: ObjectId, outcome: Result<(), String>) {
        let known = self.seen.replace(head);
        self.syncer.moved();
        match outcome {
            Ok(()) => {
                self.running = head;
                self.problem = None;
            }
            Err(why) => self.problem = Some(why),
        }
        match confirm::scan(self.desired.store(), head, known, now()) {
            Ok((waiting, undone)) => {
                self.unconfirmed.retain(|old| !undone.contains(&old.commit));
                self.wait_for(waiting);
            }
            Err(error) => tracing::error!(%error, "cannot look for changes to confirm"),
        }
    }

    fn wait_for(&mut self, waiting: Vec<Unconfirmed>) {
        let own = waiting
            .into_iter()
            .filter(|waiting| waiting.rail == self.name);
        for waiting in own {
            if !self.unconfirmed.contains(&waiting) {
                self.unconfirmed.push(waiting);
            }
        }
    }

    /// Undoes what nobody confirmed in time.
    pub fn undo_overdue(&mut self) {
        let now = now();
        let waiting = std::mem::take(&mut self.unconfirmed);
        for change in waiting {
            match confirm::is_confirmed(self.desired.store(), &change) {
                Ok(true) => tracing::info!(commit = %change.commit, "confirmed"),
                Ok(false) if change.deadline > now => self.unconfirmed.push(change),
                Ok(false) => self.undo(change),
                Err(error) => {
                    tracing::error!(%error, commit = %change.commit, "cannot tell whether it is confirmed");
                    self.unconfirmed.push(change);
                }
            }
        }
    }

    /// Undoes a change, on a thread of its own: the commit waits for the disk, and the control core must not.
    fn undo(&self, change: Unconfirmed) {
        let (desired, name) = (self.desired.clone(), self.name.clone());
        let undo = move || {
            let commit = &change.commit;
            match undo(&desired, &name, commit) {
                Ok(_) => tracing::warn!(%commit, "undone: nobody confirmed it in time"),
                Err(error) => {
                    tracing::error!(%commit, %error, "nobody confirmed it in time, but it cannot be undone: use \"rail revert\"");
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-undo".to_owned());
        if let Err(error) = thread.spawn(undo) {
            tracing::error!(%error, "cannot undo what nobody confirmed: use \"rail revert\"");
        }
    }
}

fn undo(desired: &Desired, rail: &str, commit: &ObjectId) -> Result<Committed, CommitError> {
    let undone = desired.store().commit(commit)?;
    let message = confirm::revert_message(commit, &undone, "Nobody confirmed it in time.");
    let info = Info::now(rail, "", message);
    desired.main().revert(commit, None, &info)
}

/// A rail's configuration with another pool, or why that cannot be.
pub fn with_pool(config: &Config, pool: Pool) -> Result<Config, String> {
    let found = config.clone().with_pool(pool, &Environment::this_machine());
    found.map_err(|found: Vec<Violation>| {
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}

/// What is said of a file whose pool is not the store's.
pub fn differs(file: &str) -> String {
    format!(
        "the pool differs from the store's, which is what runs: \"rail plan {file}\" shows the \
         difference, \"rail apply {file}\" makes the store's pool this one"
    )
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
