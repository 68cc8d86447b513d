//! `rail confirm`: a change made with `rail apply --confirm` stays.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::store::{InfoArgs, StoreArgs, VerbError, exit, head, resolve, short};
use super::{OK, output};
use crate::control::desired::confirm;

/// The command line of `rail confirm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change (default: the only one that waits)
    #[arg(value_name = "COMMIT")]
    pub commit: Option<String>,

    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Writes down that it stays.
pub fn run(args: &Args) -> ExitCode {
    exit(say(args))
}

fn say(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let store = desired.store();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (mut waiting, _) = confirm::scan(store, head(&desired.main())?, None, now)?;
    if let Some(text) = &args.commit {
        let commit = resolve(&desired, text)?;
        waiting.retain(|waiting| waiting.commit == commit);
    }
    let mut open = Vec::new();
    for change in waiting {
        if !confirm::is_confirmed(store, &change)? {
            open.push(change);
        }
    }
    let change = match open.as_slice() {
        [change] => change,
        [] => return Err(VerbError::text("no change waits for a confirmation")),
        several => {
            let ids: Vec<_> = several.iter().map(|change| short(&change.commit)).collect();
            return Err(VerbError::text(format!(
                "several changes wait: name one of {}",
                ids.join(", ")
            )));
        }
    };
    let id = short(&change.commit);
    let info = args.info.info(&format!("confirm {id}"));
    confirm::confirm(store, change, &info)?;
    output::result(&format!("{id} stays"));
    Ok(OK)
}
