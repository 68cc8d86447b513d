//! A configuration offered to a running rail: the one way for `rail apply` and for SIGHUP.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::pool::{Config, Diagnostic, Environment, Parsed, load, parse};

use super::compile::CompileError;
use super::rail::Rail;

/// A configuration file as its reader found it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its name, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
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

/// Takes an offer over as a whole, or not at all.
pub fn take(rail: &mut Rail, offer: &Offer) -> Applied {
    let parsed = parse(&offer.text, &offer.file, &Environment::this_machine());
    decide(rail, &offer.file, parsed)
}

/// Reads a file of this machine and takes it over as a whole, or not at all.
pub fn reload(rail: &mut Rail, file: &Path) -> Applied {
    decide(rail, &file.display().to_string(), load(file))
}

fn decide(rail: &mut Rail, file: &str, parsed: Parsed) -> Applied {
    let mut answer = Applied::default();
    let lines = |found: &[Diagnostic]| found.iter().map(ToString::to_string).collect();
    match parsed {
        Ok((config, warnings)) => {
            answer.findings = lines(&warnings);
            match rail.apply(config) {
                Ok(()) => answer.applied = true,
                Err(error) => answer.refused = Some(error.to_string()),
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
