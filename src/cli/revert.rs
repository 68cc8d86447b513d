//! `rail revert`: undoes what a commit changed, and keeps everything since.

use std::process::ExitCode;

use super::OK;
use super::store::{BranchArgs, InfoArgs, StoreArgs, VerbError, exit, report, resolve};
use crate::control::desired::confirm::revert_message;

/// The command line of `rail revert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit whose change is undone
    #[arg(value_name = "COMMIT")]
    pub commit: String,

    /// Of a merge: the parent whose state to go back to
    #[arg(long, value_name = "COMMIT")]
    pub parent: Option<String>,

    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Makes the commit that undoes.
pub fn run(args: &Args) -> ExitCode {
    exit(revert(args))
}

fn revert(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let commit = resolve(&desired, &args.commit)?;
    let parent = args
        .parent
        .as_ref()
        .map(|text| resolve(&desired, text))
        .transpose()?;
    let undone = desired.store().commit(&commit)?;
    let info = args.info.info(&revert_message(&commit, &undone, ""));
    let branch = desired.store().branch(&args.branch.branch);
    let done = branch.revert(&commit, parent.as_ref(), &info)?;
    report(branch.name(), &done);
    Ok(OK)
}
