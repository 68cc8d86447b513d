//! `rail read PATH`: one value of the store.

use std::process::ExitCode;

use super::store::{BranchArgs, StoreArgs, VerbError, exit, value_text, view};
use super::{OK, output};
use crate::store::Path;

/// The command line of `rail read`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The path of the value
    #[arg(value_name = "PATH")]
    pub path: Path,

    /// The state to read: a branch or a commit
    #[arg(long, value_name = "COMMIT")]
    pub at: Option<String>,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints the value.
pub fn run(args: &Args) -> ExitCode {
    exit(print(args))
}

fn print(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let view = view(&desired, args.at.as_deref(), &args.branch.branch)?;
    let path = &args.path;
    let Some(value) = view.value_id(path)? else {
        let what = match view.list(path)? {
            Some(_) => format!("{path} is a directory: use \"rail ls {path}\""),
            None => format!("{path}: there is no value"),
        };
        return Err(VerbError::text(what));
    };
    output::result(&value_text(&view, &value)?);
    Ok(OK)
}
