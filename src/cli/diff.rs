//! `rail diff`: which values differ between two states.

use std::process::ExitCode;

use super::store::{StoreArgs, VerbError, change_json, change_line, exit, resolve};
use super::{OK, output};
use crate::store::Path;
use crate::store::diff::diff;

/// The command line of `rail diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The old state, a branch or a commit; alone, the commit whose own change is shown
    #[arg(value_name = "FROM", default_value = "main")]
    pub from: String,

    /// The new state, a branch or a commit
    #[arg(value_name = "TO")]
    pub to: Option<String>,

    /// Only what stands at or below this path
    #[arg(long, value_name = "PATH", default_value = "")]
    pub path: Path,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints a line for each value that differs.
pub fn run(args: &Args) -> ExitCode {
    exit(print(args))
}

fn print(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let store = desired.store();
    let (old, new) = match &args.to {
        Some(to) => (Some(resolve(&desired, &args.from)?), resolve(&desired, to)?),
        None => {
            let commit = resolve(&desired, &args.from)?;
            (store.commit(&commit)?.parents.first().copied(), commit)
        }
    };
    let view = store.at(&new)?;
    let old = match old {
        Some(old) => Some(store.commit(&old)?.tree),
        None => None,
    };
    let changes = diff(view.source(), &args.path, old, Some(view.id()?))?;
    if args.json {
        let list: Result<Vec<_>, _> = changes
            .iter()
            .map(|(path, change)| change_json(&view, path, change))
            .collect();
        output::result(&format!("{:#}", serde_json::Value::from(list?)));
    } else {
        for (path, change) in &changes {
            output::result(&change_line(&view, path, change)?);
        }
    }
    Ok(OK)
}
