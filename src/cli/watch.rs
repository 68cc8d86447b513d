//! `rail watch [PATH]`: tells every change as it happens.

use std::process::ExitCode;
use std::time::Duration;

use super::store::{BranchArgs, StoreArgs, VerbError, change_json, change_line, exit, short};
use super::{OK, output};
use crate::store::{Event, Path, Scope};

/// How long one wait is: the verb ends only when it is told to.
const WAIT: Duration = Duration::from_secs(3600);

/// The command line of `rail watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what stands at or below this path
    #[arg(value_name = "PATH", default_value = "")]
    pub path: Path,

    /// All branches instead of one
    #[arg(long, conflicts_with_all = ["branch", "path"])]
    pub all: bool,

    /// End after so many changes
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,

    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints a line for each value that changes. Says so when there may have been states in between.
pub fn run(args: &Args) -> ExitCode {
    exit(watch(args))
}

fn watch(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let store = desired.store();
    let scope = if args.all {
        Scope::All
    } else {
        Scope::Subtree(args.branch.branch.clone(), args.path.clone())
    };
    let mut watch = store.watch(scope)?;
    output::message("watching");
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let Some(event) = watch.next(WAIT)? else {
            continue;
        };
        seen += 1;
        let view = store.main().view()?;
        output::result(&if args.json {
            json(&event, change_json(&view, &event.path, &event.change)?)
        } else {
            let head = event
                .head
                .as_ref()
                .map_or_else(|| "deleted".to_owned(), short);
            let coalesced = if event.coalesced {
                " (several states in one)"
            } else {
                ""
            };
            let line = change_line(&view, &event.path, &event.change)?;
            format!("{} {head} {line}{coalesced}", event.branch)
        });
    }
    Ok(OK)
}

fn json(event: &Event, mut change: serde_json::Value) -> String {
    change["branch"] = event.branch.as_str().into();
    change["head"] = event.head.map(|head| head.to_string()).into();
    change["coalesced"] = event.coalesced.into();
    change.to_string()
}
