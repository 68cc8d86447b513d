//! `rail branch`: lists branches, makes one, deletes one.

use std::process::ExitCode;

use super::store::{StoreArgs, VerbError, date, exit, head, resolve, short};
use super::{OK, output};
use crate::store::BranchName;

/// The command line of `rail branch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The branch to make; without one, all are listed
    #[arg(value_name = "NAME")]
    pub name: Option<BranchName>,

    /// Where it begins: a branch or a commit
    #[arg(value_name = "START", default_value = "main")]
    pub start: String,

    /// Delete the branch instead
    #[arg(short, long, requires = "name")]
    pub delete: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Lists, makes or deletes.
pub fn run(args: &Args) -> ExitCode {
    exit(branch(args))
}

fn branch(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let store = desired.store();
    let Some(name) = &args.name else {
        list(args, store)?;
        return Ok(OK);
    };
    let branch = store.branch(name);
    if args.delete {
        if *name == BranchName::main() {
            return Err(VerbError::text("main is the pool: it cannot be deleted"));
        }
        let at = head(&branch)?;
        if !branch.reset(Some(at), None)? {
            return Err(VerbError::text(format!(
                "{name} has just moved: look again"
            )));
        }
        output::result(&format!("{name}: deleted, was {}", short(&at)));
        return Ok(OK);
    }
    let start = resolve(&desired, &args.start)?;
    if !branch.reset(None, Some(start))? {
        return Err(VerbError::text(format!(
            "branch {name} exists: use \"rail merge {} --branch {name}\" to bring it forward",
            args.start
        )));
    }
    output::result(&format!("{name}: {}", short(&start)));
    Ok(OK)
}

fn list(args: &Args, store: &crate::store::Store) -> Result<(), VerbError> {
    let mut rows = output::table(&["branch", "commit", "date", "message"]);
    let mut list = Vec::new();
    for (name, id) in store.branches()? {
        let commit = store.commit(&id)?;
        let subject = commit.message.lines().next().unwrap_or_default().to_owned();
        list.push(serde_json::json!({"branch": name.as_str(), "commit": id.to_string()}));
        rows.add_row([
            name.to_string(),
            short(&id),
            date(commit.committer.seconds),
            subject,
        ]);
    }
    output::result(&if args.json {
        format!("{:#}", serde_json::Value::from(list))
    } else {
        output::lines(&mut rows).join("\n")
    });
    Ok(())
}
