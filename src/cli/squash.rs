//! `rail squash`: forgets old history.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::store::{StoreArgs, VerbError, exit, short};
use super::{OK, output};
use crate::api::client;
use crate::pool::parse_duration;
use crate::store::git::Git;
use crate::store::squash::Retention;

/// The command line of `rail squash`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is kept keeps its commit ids. Nothing is dropped that a remote of the \
                        repository is not known to have."
)]
pub struct Args {
    /// Keep at least so many of the newest commits of each branch
    #[arg(long, value_name = "NUMBER")]
    pub keep: usize,

    /// Keep everything younger than this, as in 90d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub younger: Option<Duration>,

    /// Keep what no branch leads to for so long, for those who are just writing it
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    pub grace: Duration,

    #[command(flatten)]
    pub store: StoreArgs,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error}, as in 90d"))
}

/// Cuts history, and says how much.
pub fn run(args: &Args) -> ExitCode {
    exit(squash(args))
}

fn squash(args: &Args) -> Result<u8, VerbError> {
    if args.keep == 0 {
        return Err(VerbError::text("--keep: at least the newest commit stays"));
    }
    let desired = args.store.open()?;
    let since = args.younger.map(|younger| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        i64::try_from(now.saturating_sub(younger).as_secs()).unwrap_or(i64::MAX)
    });
    let retention = Retention {
        commits: args.keep,
        since,
        remotes: remotes(args)?,
        grace: args.grace,
    };
    let squashed = desired.store().squash(&retention)?;
    let begins: Vec<_> = squashed.boundary.iter().map(short).collect();
    output::result(&match (squashed.dropped, begins.as_slice()) {
        (0, _) => "nothing to forget".to_owned(),
        (dropped, begins) => {
            format!(
                "{dropped} commits forgotten; history begins with {}",
                begins.join(", ")
            )
        }
    });
    Ok(OK)
}

/// The remotes of the repository, whether they were ever fetched or not.
fn remotes(args: &Args) -> Result<Vec<String>, VerbError> {
    let directory = match &args.store.store {
        Some(directory) => directory.clone(),
        None => {
            let (_, answer) = client::get(&args.store.rail.find()?, "/v1/store")?;
            let rows: Value = serde_json::from_slice(&answer).map_err(|error| {
                VerbError::text(format!("the rail's answer makes no sense: {error}"))
            })?;
            let directory = rows[0]["directory"].as_str();
            PathBuf::from(directory.ok_or_else(|| VerbError::text("this rail has no store"))?)
        }
    };
    let dot_git = directory.join(".git");
    let git = Git::new(if dot_git.is_dir() {
        &dot_git
    } else {
        &directory
    });
    Ok(git.remotes()?.into_iter().map(|(name, _)| name).collect())
}
