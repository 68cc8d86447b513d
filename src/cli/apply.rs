//! `rail apply FILE`: gives a running rail another configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hyper::StatusCode;

use super::socket::{SocketArgs, SocketError};
use super::store::{InfoArgs, VerbError, exit, report, resolve};
use super::{ERROR, OK, output, plan, socket};
use crate::api::client::{self, ClientError};
use crate::api::{APPLY_PATH, Applied, Offer};
use crate::control::desired::{Desired, confirm};
use crate::pool::{Diagnostic, describes_rail, parse_duration, read_text};

/// The command line of `rail apply`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file; where there is a store, one with nothing but a pool will do
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The rail's control socket (default: the one FILE names)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Put the pool into the store in this directory, whether a rail runs with it or not
    #[arg(long, value_name = "DIR", conflicts_with = "socket")]
    pub store: Option<PathBuf>,

    /// Only if the store's main is this commit, such as the one a plan was made for
    #[arg(long, value_name = "COMMIT")]
    pub expected: Option<String>,

    /// Undo the change after this time, as in 5m, unless "rail confirm" was said
    #[arg(long, value_name = "TIME", value_parser = deadline, conflicts_with = "store")]
    pub confirm: Option<Duration>,

    #[command(flatten)]
    pub info: InfoArgs,
}

fn deadline(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| format!("{error}, as in 5m"))?;
    if time < Duration::from_secs(1) || time > confirm::LONGEST {
        return Err("between 1s and 24h".to_owned());
    }
    Ok(time)
}

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Read(#[from] Box<Diagnostic>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the rail refuses: {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the rail's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Sends the file to the rail, which checks it and takes it over as a whole or not at all.
pub fn run(args: &Args) -> ExitCode {
    if let Some(directory) = &args.store {
        return exit(into_store(args, directory));
    }
    let applied = match offer(args) {
        Ok(applied) => applied,
        Err(error) => {
            output::message(&format!("error: {error}"));
            return ExitCode::from(ERROR);
        }
    };
    for finding in &applied.findings {
        output::message(finding);
    }
    if applied.applied {
        let file = args.file.display();
        let generation = applied.generation;
        let commit = applied.commit.as_ref().and_then(|id| id.get(..12));
        let commit = commit.map_or_else(String::new, |id| format!(", commit {id}"));
        output::result(&format!("{file}: applied, generation {generation}{commit}"));
        if let Some(within) = args.confirm {
            let within = within.as_secs();
            output::message(&format!(
                "undone in {within} s unless \"rail confirm\" is said"
            ));
        }
        return ExitCode::from(OK);
    }
    let why = applied.refused.map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    output::message(&format!("{}: nothing changed{why}", args.file.display()));
    ExitCode::from(ERROR)
}

/// Puts the file's pool into a store, of which a running rail takes notice by itself.
fn into_store(args: &Args, directory: &Path) -> Result<u8, VerbError> {
    let Some(pool) = plan::pool_of_file(&args.file)? else {
        return Ok(ERROR);
    };
    let desired = Desired::open(directory, false)?;
    let expected = args.expected.as_ref();
    let expected = expected.map(|text| resolve(&desired, text)).transpose()?;
    let info = args.info.info(&format!("apply {}", args.file.display()));
    let main = desired.main();
    report(
        main.name(),
        &desired.replace(&main, &pool, &info, expected)?,
    );
    Ok(OK)
}

fn offer(args: &Args) -> Result<Applied, ApplyError> {
    let text = read_text(&args.file)?;
    let socket = match &args.socket {
        Some(path) => path.clone(),
        None if describes_rail(&text) => socket::named_in(&text),
        None => SocketArgs::default().find()?,
    };
    let (author, email) = args.info.author();
    let offer = Offer {
        file: args.file.display().to_string(),
        text,
        author,
        email,
        message: args.info.message.clone(),
        expected: args.expected.clone(),
        confirm: args.confirm.map(|time| time.as_secs()),
    };
    let body = serde_json::to_string(&offer)?;
    let (status, answer) = client::post(&socket, APPLY_PATH, body)?;
    match status {
        StatusCode::OK | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            Ok(serde_json::from_slice(&answer)?)
        }
        _ => {
            let said = String::from_utf8_lossy(&answer).into_owned();
            Err(ApplyError::Refused(status, said))
        }
    }
}
