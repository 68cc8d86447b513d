//! `rail log`: what changed, when, by whom and why.

use std::process::ExitCode;

use serde_json::json;

use super::store::{BranchArgs, StoreArgs, VerbError, date, exit, head, resolve, short};
use super::{OK, output};
use crate::store::Path;
use crate::store::history::Log;

/// The command line of `rail log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to begin: a branch or a commit (default: the branch's head)
    #[arg(value_name = "COMMIT")]
    pub from: Option<String>,

    /// Only commits that changed what stands at or below this path
    #[arg(long, value_name = "PATH", default_value = "")]
    pub path: Path,

    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<usize>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints the commits, latest first.
pub fn run(args: &Args) -> ExitCode {
    exit(print(args))
}

fn print(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let from = match &args.from {
        Some(text) => resolve(&desired, text)?,
        None => head(&desired.store().branch(&args.branch.branch))?,
    };
    let source = desired.store().overlay();
    let log = Log::of_path(&*source, [from], args.path.clone())?;
    let mut rows = output::table(&["commit", "date", "author", "message"]);
    let mut list = Vec::new();
    for item in log.take(args.count.unwrap_or(usize::MAX)) {
        let (id, commit) = item?;
        let (author, seconds) = (&commit.author, commit.committer.seconds);
        if args.json {
            let parents: Vec<_> = commit.parents.iter().map(ToString::to_string).collect();
            list.push(json!({
                "commit": id.to_string(),
                "parents": parents,
                "author": author.name(),
                "email": author.email(),
                "date": seconds,
                "message": commit.message,
            }));
        } else {
            let subject = commit.message.lines().next().unwrap_or_default();
            rows.add_row([
                short(&id),
                date(seconds),
                author.name().to_owned(),
                subject.to_owned(),
            ]);
        }
    }
    if args.json {
        output::result(&format!("{:#}", serde_json::Value::from(list)));
    } else {
        output::result(&output::lines(&mut rows).join("\n"));
    }
    Ok(OK)
}
