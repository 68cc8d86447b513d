//! `rail write PATH VALUE`: sets one value of the store.

use std::io::Read;
use std::process::ExitCode;

use super::OK;
use super::store::{BranchArgs, InfoArgs, StoreArgs, VerbError, exit, report};
use crate::store::{Leaf, Path};

/// The command line of `rail write`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The path of the value
    #[arg(value_name = "PATH")]
    pub path: Path,

    /// The value, a line feed is added; "-" reads it from standard input, as it is
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub value: String,

    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Sets the value, in a commit of its own.
pub fn run(args: &Args) -> ExitCode {
    exit(write(args))
}

fn write(args: &Args) -> Result<u8, VerbError> {
    let leaf = if args.value == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| VerbError::text(format!("standard input: {error}")))?;
        Leaf::plain(bytes)
    } else {
        Leaf::plain(format!("{}\n", args.value))
    };
    let desired = args.store.open()?;
    let branch = desired.store().branch(&args.branch.branch);
    let info = args.info.info(&format!("write {}", args.path));
    report(branch.name(), &branch.set(&args.path, &leaf, &info)?);
    Ok(OK)
}
