//! `rail ls [PATH]`: what is in a directory of the store.

use std::process::ExitCode;

use super::store::{BranchArgs, StoreArgs, VerbError, exit, view};
use super::{OK, output};
use crate::store::Path;

/// The command line of `rail ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory
    #[arg(value_name = "PATH", default_value = "")]
    pub path: Path,

    /// Every value below, with its whole path
    #[arg(short, long)]
    pub recursive: bool,

    /// The state to list: a branch or a commit
    #[arg(long, value_name = "COMMIT")]
    pub at: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints a line for each entry: directories end in a slash, values that are not plain have their type.
pub fn run(args: &Args) -> ExitCode {
    exit(list(args))
}

fn list(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let view = view(&desired, args.at.as_deref(), &args.branch.branch)?;
    let entries: Vec<(String, Option<String>)> = if args.recursive {
        let values = view.walk(&args.path)?.into_iter();
        values
            .map(|(path, value)| (path.to_string(), Some(value.tag.to_string())))
            .collect()
    } else {
        let items = view.list(&args.path)?;
        let items =
            items.ok_or_else(|| VerbError::text(format!("{} is no directory", args.path)))?;
        let items = items.into_iter();
        items
            .map(|item| (item.name, item.tag.map(|tag| tag.to_string())))
            .collect()
    };
    if args.json {
        let list: Vec<_> = entries
            .iter()
            .map(|(name, tag)| serde_json::json!({"name": name, "type": tag}))
            .collect();
        output::result(&format!("{:#}", serde_json::Value::from(list)));
        return Ok(OK);
    }
    let lines = entries.iter().map(|(name, tag)| match tag.as_deref() {
        None => format!("{name}/"),
        Some("plain") => name.clone(),
        Some(tag) => format!("{name}  {tag}"),
    });
    output::result(&lines.collect::<Vec<_>>().join("\n"));
    Ok(OK)
}
