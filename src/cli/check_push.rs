//! `rail check-push`: what a repository's `pre-receive` hook asks; not for people.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{ERROR, OK, output};
use crate::control::desired::hook;

/// Git starts a hook in the repository, tells the moves on standard input, and passes what it prints to whoever pushes.
pub fn run() -> ExitCode {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let directory = variable("GIT_DIR").unwrap_or_else(|| PathBuf::from("."));
    let quarantine = variable("GIT_OBJECT_DIRECTORY");
    match hook::check(&directory, quarantine, io::stdin().lock()) {
        Ok(faults) if faults.is_empty() => ExitCode::from(OK),
        Ok(faults) => {
            for (name, fault) in faults {
                output::message(&format!("{name}: refused: {}: {fault}", fault.message));
            }
            ExitCode::from(ERROR)
        }
        Err(error) => {
            output::message(&format!("cannot check the push: {error}"));
            ExitCode::from(ERROR)
        }
    }
}
