//! A configuration offered to a running rail: the one way for `rail apply` and for SIGHUP.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::{
    Config, Diagnostic, Environment, Parsed, Pool, describes_rail, load, parse, parse_pool,
};
use crate::store::{Info, ObjectId};

use super::compile::CompileError;
use super::desired::follow::{differs, with_pool};
use super::desired::{Desired, confirm, same};
use super::rail::{Rail, SharedRail};

/// A configuration file as its reader found it, and what is said about the change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Offer {
    /// Its name, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Who makes the change. Only a rail with a store remembers this and what follows.
    #[serde(default)]
    pub author: String,
    /// The author's address.
    #[serde(default)]
    pub email: String,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// The commit `main` must stand at.
    #[serde(default)]
    pub expected: Option<String>,
    /// After how many seconds the change is undone unless it is confirmed.
    #[serde(default)]
    pub confirm: Option<u64>,
}

/// What became of an [`Offer`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The rail runs with it now. If not, nothing has changed.
    pub applied: bool,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Findings, one line each: `FILE:LINE:COLUMN: SEVERITY: MESSAGE (help: WAY OUT)`.
    pub findings: Vec<String>,
    /// Why a valid file was refused.
    pub refused: Option<String>,
    /// The commit the pool is in, if the rail has a store.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Why a new configuration was not taken over. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It changes what only a restart can.
    #[error("{0} cannot change while the rail runs: restart it with the new file")]
    NeedsRestart(&'static str),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

const NO_STORE: &str =
    "this rail has no store, so that it remembers no commit and cannot undo one: see [node].store";

/// Takes an offer over as a whole, or not at all. With a store, the file's pool becomes the store's; a file with
/// nothing but a pool will do then.
///
/// To be called on a thread that may wait: the commit waits for the disk, and the rail goes on meanwhile.
pub fn take(rail: &SharedRail, offer: &Offer) -> Applied {
    let lock = || rail.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = Environment::this_machine();
    let desired = lock()
        .following()
        .map(|following| following.desired().clone());
    let Some(desired) = desired else {
        let parsed = parse(&offer.text, &offer.file, &environment);
        return decide(&mut lock(), &offer.file, parsed, |rail, config| {
            if offer.confirm.is_some() || offer.expected.is_some() {
                return Err(NO_STORE.to_owned());
            }
            rail.apply_as_text(config)
        });
    };
    let running = lock().config().clone();
    let parsed = if describes_rail(&offer.text) {
        parse(&offer.text, &offer.file, &environment)
    } else {
        pool_alone(&running, offer)
    };
    let committed = match &parsed {
        Ok((config, _)) => match needs_restart(&running, config) {
            Some(what) => Err(ApplyError::NeedsRestart(what).to_string()),
            None => commit(&desired, offer, config),
        },
        Err(_) => Ok(None),
    };
    decide(&mut lock(), &offer.file, parsed, |rail, config| {
        let commit = committed?;
        let done = rail.take_settings(&desired, &config);
        rail.follow();
        let stands = |why| {
            format!("the pool is on main now, but the rest of the file is not taken over: {why}")
        };
        done.map(|()| commit).map_err(stands)
    })
}

/// The running configuration with the pool that a file describes.
fn pool_alone(running: &Config, offer: &Offer) -> Parsed {
    let (pool, warnings) = parse_pool(&offer.text, &offer.file)?;
    match with_pool(running, pool) {
        Ok(config) => Ok((config, warnings)),
        Err(why) => Err(vec![Diagnostic::of_file(&offer.file, why)]),
    }
}

/// Puts the pool of `config` into the store; the commit that has it.
fn commit(desired: &Desired, offer: &Offer, config: &Config) -> Result<Option<ObjectId>, String> {
    let expected = match &offer.expected {
        Some(text) => {
            let id = desired
                .store()
                .resolve(text)
                .map_err(|error| error.to_string())?;
            Some(id.ok_or_else(|| format!("{text} is no commit"))?)
        }
        None => None,
    };
    let mut message = match &offer.message {
        Some(message) => message.clone(),
        None => format!("apply {}", offer.file),
    };
    if let Some(seconds) = offer.confirm {
        let within = Duration::from_secs(seconds);
        message = confirm::message(&message, within, &config.node.name);
    }
    let author = match offer.author.as_str() {
        "" => config.node.name.as_str(),
        author => author,
    };
    let info = Info::now(author, &offer.email, message);
    let done = desired.replace(&desired.main(), &config.pool, &info, expected);
    done.map(|committed| committed.head)
        .map_err(|error| error.to_string())
}

/// Reads a file of this machine and takes it over as a whole, or not at all. With a store, its pool is not taken
/// over.
pub fn reload(rail: &mut Rail, file: &Path) -> Applied {
    let name = file.display().to_string();
    let mut parsed = load(file);
    if rail.following().is_some() {
        parsed = parsed.and_then(|(config, mut warnings)| {
            let pool = rail.config().pool.clone();
            if !same(&config.pool, &pool) {
                warnings.push(Diagnostic::warning_of_file(&name, differs(&name)));
            }
            match with_pool(&config, pool) {
                Ok(config) => Ok((config, warnings)),
                Err(why) => Err(vec![Diagnostic::of_file(&name, why)]),
            }
        });
    }
    decide(rail, &name, parsed, Rail::apply_as_text)
}

impl Rail {
    /// Takes over what a configuration says besides the pool, which is what the store's `main` says by now:
    /// somebody else may have changed it since.
    fn take_settings(&mut self, desired: &Desired, config: &Config) -> Result<(), String> {
        let head = desired.main().head().map_err(|error| error.to_string())?;
        let Some(head) = head else { return Ok(()) };
        let pool = desired.pool(&head).map_err(|error| error.to_string())?;
        // What cannot be run is said by whoever follows the store.
        let Ok(pool) = pool else { return Ok(()) };
        let config = with_pool(config, Pool::clone(&pool))?;
        if config == *self.config() {
            return Ok(());
        }
        self.apply_as_text(config).map(drop)
    }

    /// [`Rail::apply`], without a commit to name and with the error as people read it.
    fn apply_as_text(&mut self, config: Config) -> Result<Option<ObjectId>, String> {
        let done = self.apply(config).map(|()| None);
        done.map_err(|error| error.to_string())
    }
}

fn decide(
    rail: &mut Rail,
    file: &str,
    parsed: Parsed,
    take_over: impl FnOnce(&mut Rail, Config) -> Result<Option<ObjectId>, String>,
) -> Applied {
    let mut answer = Applied::default();
    let lines = |found: &[Diagnostic]| found.iter().map(ToString::to_string).collect();
    match parsed {
        Ok((config, warnings)) => {
            answer.findings = lines(&warnings);
            match take_over(rail, config) {
                Ok(commit) => {
                    answer.applied = true;
                    answer.commit = commit.map(|id| id.to_string());
                }
                Err(why) => answer.refused = Some(why),
            }
        }
        Err(found) => {
            rail.count_refused();
            answer.findings = lines(&found);
        }
    }
    answer.generation = rail.snapshot().generation;
    log(file, &answer);
    answer
}

/// Who sent the file may be gone, and the journal is where people look.
fn log(file: &str, answer: &Applied) {
    for finding in &answer.findings {
        tracing::warn!("{finding}");
    }
    let generation = answer.generation;
    match (answer.applied, &answer.refused) {
        (true, _) => tracing::info!(generation, "{file}: applied"),
        (false, Some(why)) => tracing::error!(generation, "{file}: nothing changed: {why}"),
        (false, None) => tracing::error!(generation, "{file}: nothing changed"),
    }
}

/// The first part of the file that differs and cannot change at run time.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    let checks = [
        (old.node != new.node, "[node]"),
        (old.dpdk != new.dpdk, "[dpdk]"),
        (old.ports != new.ports, "[[port]]"),
        (
            old.limits.backends != new.limits.backends,
            "[limits].backends",
        ),
        (
            old.limits.fragments != new.limits.fragments,
            "[limits].fragments",
        ),
        (
            old.limits.fragment_time != new.limits.fragment_time,
            "[limits].fragment_time",
        ),
        // The workers have room for as many as they started with.
        (
            old.limits.held_fragments < new.limits.held_fragments,
            "[limits].held_fragments",
        ),
    ];
    checks
        .into_iter()
        .find(|(differs, _)| *differs)
        .map(|c| c.1)
}
