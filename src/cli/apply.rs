//! `rail apply FILE`: gives a running rail another configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::StatusCode;

use super::{ERROR, OK, output, socket};
use crate::api::client::{self, ClientError};
use crate::api::{APPLY_PATH, Applied, Offer};
use crate::pool::{Diagnostic, read_text};

/// The command line of `rail apply`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The rail's control socket (default: the one FILE names)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Read(#[from] Box<Diagnostic>),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the rail refuses: {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the rail's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Sends the file to the rail, which checks it and takes it over as a whole or not at all.
pub fn run(args: &Args) -> ExitCode {
    let applied = match offer(&args.file, args.socket.as_deref()) {
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
        output::result(&format!(
            "{file}: applied, generation {}",
            applied.generation
        ));
        return ExitCode::from(OK);
    }
    let why = applied.refused.map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    output::message(&format!("{}: nothing changed{why}", args.file.display()));
    ExitCode::from(ERROR)
}

fn offer(file: &Path, socket: Option<&Path>) -> Result<Applied, ApplyError> {
    let text = read_text(file)?;
    let socket = match socket {
        Some(path) => path.to_owned(),
        None => socket::named_in(&text),
    };
    let offer = Offer {
        file: file.display().to_string(),
        text,
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
