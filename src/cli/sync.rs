//! `rail sync`: brings in what other rails have, now.

use std::path::PathBuf;
use std::process::ExitCode;

use hyper::StatusCode;

use super::socket::SocketArgs;
use super::store::{VerbError, exit};
use super::{ERROR, OK, output};
use crate::api::{SYNC_PATH, client};
use crate::control::desired::Desired;
use crate::control::desired::sync::{Outcome, Synced, Syncer};

/// The command line of `rail sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The remotes are those of the repository: \
                        git -C DIR remote add rail-b http://192.0.2.11:9464/store.git")]
pub struct Args {
    /// The store's directory (default: the store of the running rail)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["socket", "config"])]
    pub store: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// The running rail whose store it is
    #[command(flatten)]
    pub rail: SocketArgs,
}

/// Prints a line for each remote. Exits with 1 if one cannot be reached or merged.
pub fn run(args: &Args) -> ExitCode {
    exit(sync(args))
}

fn sync(args: &Args) -> Result<u8, VerbError> {
    let synced = match &args.store {
        Some(directory) => Syncer::new(Desired::open(directory, false)?, directory).round()?,
        None => of_running(args)?,
    };
    let well =
        |synced: &Synced| !matches!(synced.outcome, Outcome::Conflict | Outcome::Unreachable);
    if args.json {
        let json =
            serde_json::to_value(&synced).map_err(|error| VerbError::text(error.to_string()))?;
        output::result(&format!("{json:#}"));
    } else if synced.is_empty() {
        output::result("no remotes: add one with \"git -C DIR remote add NAME URL\"");
    } else {
        for Synced {
            remote,
            outcome,
            head,
            problem,
        } in &synced
        {
            let head = head
                .as_ref()
                .and_then(|id| id.get(..12))
                .unwrap_or("nothing");
            output::result(&format!("{remote}: {}, main is {head}", outcome.as_str()));
            if let Some(problem) = problem {
                output::message(problem);
            }
        }
    }
    Ok(if synced.iter().all(well) { OK } else { ERROR })
}

fn of_running(args: &Args) -> Result<Vec<Synced>, VerbError> {
    let (status, answer) = client::post(&args.rail.find()?, SYNC_PATH, String::new())?;
    if status != StatusCode::OK {
        return Err(VerbError::text(String::from_utf8_lossy(&answer).trim()));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| VerbError::text(format!("the rail's answer makes no sense: {error}")))
}
