//! `rail rm PATH`: removes a value or a directory from the store.

use std::process::ExitCode;

use super::OK;
use super::store::{BranchArgs, InfoArgs, StoreArgs, VerbError, exit, report};
use crate::store::Path;

/// The command line of `rail rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to remove; of a directory, everything below too
    #[arg(value_name = "PATH")]
    pub path: Path,

    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Removes it, in a commit of its own.
pub fn run(args: &Args) -> ExitCode {
    exit(remove(args))
}

fn remove(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let branch = desired.store().branch(&args.branch.branch);
    let view = branch.view()?;
    let (path, found) = (&args.path, view.value_id(&args.path)?.is_some());
    if !found && view.list(path)?.is_none() {
        return Err(VerbError::text(format!("{path}: there is nothing")));
    }
    let info = args.info.info(&format!("remove {path}"));
    report(branch.name(), &branch.remove(path, &info)?);
    Ok(OK)
}
