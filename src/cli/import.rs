//! `rail import`: takes over a slice of history that `rail export` or `git bundle create` wrote.

use std::path::PathBuf;
use std::process::ExitCode;

use super::store::{StoreArgs, VerbError, exit, short};
use super::{OK, output};

/// The command line of `rail import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "No branch moves: merge what is wanted with \"rail merge COMMIT\".")]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Take it even if the store lacks commits it builds on, where "rail export --complete" wrote it: history
    /// then begins with the file
    #[arg(long)]
    pub cut: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Puts what the file brings into the store.
pub fn run(args: &Args) -> ExitCode {
    exit(import(args))
}

fn import(args: &Args) -> Result<u8, VerbError> {
    let file = args.file.display();
    let bundle =
        std::fs::read(&args.file).map_err(|error| VerbError::text(format!("{file}: {error}")))?;
    let desired = args.store.open()?;
    let imported = desired
        .store()
        .import(&bundle, args.cut)
        .map_err(|error| VerbError::text(format!("{file}: {error}")))?;
    for (name, id) in &imported.heads {
        let short = short(id);
        output::result(&format!(
            "{name}: {short}; \"rail merge {short}\" brings it into main"
        ));
    }
    for id in &imported.boundary {
        output::message(&format!("history begins with {} now", short(id)));
    }
    Ok(OK)
}
