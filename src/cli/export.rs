//! `rail export`: a slice of history in one file, which is a Git bundle.

use std::path::PathBuf;
use std::process::ExitCode;

use super::store::{StoreArgs, VerbError, exit, head, resolve, short};
use super::{OK, output};
use crate::store::BranchName;

/// The command line of `rail export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Git reads the file too: \"git bundle verify FILE\", \"git clone FILE\".")]
pub struct Args {
    /// The file that is written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// A branch that it brings; may be given several times
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub branch: Vec<BranchName>,

    /// Leave out what led to this commit: who imports the file must have it
    #[arg(long, value_name = "COMMIT")]
    pub since: Vec<String>,

    /// With --since: put in all values nevertheless, so that a store without that commit can import the file
    /// with --cut
    #[arg(long, requires = "since")]
    pub complete: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Writes the file.
pub fn run(args: &Args) -> ExitCode {
    exit(export(args))
}

fn export(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let store = desired.store();
    let mut heads = Vec::new();
    for name in &args.branch {
        heads.push((name.clone(), head(&store.branch(name))?));
    }
    let since = args.since.iter().map(|text| resolve(&desired, text));
    let without = since.collect::<Result<Vec<_>, _>>()?;
    let bundle = if args.complete {
        store.export_complete(&heads, &without)?
    } else {
        store.export(&heads, &without)?
    };
    let file = args.file.display();
    let failed = |error| VerbError::text(format!("{file}: {error}"));
    std::fs::write(&args.file, &bundle).map_err(failed)?;
    let brought: Vec<_> = heads
        .iter()
        .map(|(name, id)| format!("{name} at {}", short(id)))
        .collect();
    let size = bundle.len();
    output::result(&format!("{file}: {}, {size} bytes", brought.join(", ")));
    Ok(OK)
}
