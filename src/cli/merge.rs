//! `rail merge`: brings what happened on one branch into another, and settles what no rule decides.

use std::process::ExitCode;

use super::OK;
use super::store::{BranchArgs, InfoArgs, StoreArgs, VerbError, exit, report, resolve, short};
use crate::store::conflict::PathConflict;
use crate::store::directory::Slot;
use crate::store::reader::Overlay;
use crate::store::{CommitError, Leaf, Path, StoreError, Tree};

/// The command line of `rail merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to merge: a branch or a commit
    #[arg(value_name = "COMMIT")]
    pub theirs: String,

    /// Where both sides changed this path or something below it, take the branch's side
    #[arg(long, value_name = "PATH")]
    pub ours: Vec<Path>,

    /// The same, but take the other side
    #[arg(long, value_name = "PATH")]
    pub theirs_at: Vec<Path>,

    /// Set this value in the merged state
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    pub set: Vec<(Path, String)>,

    /// Remove this path from the merged state
    #[arg(long, value_name = "PATH")]
    pub rm: Vec<Path>,

    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

fn assignment(text: &str) -> Result<(Path, String), String> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE")?;
    let path = path.parse::<Path>().map_err(|error| error.to_string())?;
    Ok((path, value.to_owned()))
}

/// Merges, or says what conflicts and how to settle it.
pub fn run(args: &Args) -> ExitCode {
    exit(merge(args))
}

fn merge(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let theirs = resolve(&desired, &args.theirs)?;
    let branch = desired.store().branch(&args.branch.branch);
    let message = format!(
        "merge {} ({}) into {}",
        args.theirs,
        short(&theirs),
        branch.name()
    );
    let info = args.info.info(&message);
    let done = branch.merge_settled(&theirs, &info, |tree, source, conflicts| {
        settle(args, tree, source, conflicts)
    });
    match done {
        Ok(done) => {
            report(branch.name(), &done);
            Ok(OK)
        }
        Err(CommitError::Conflict(conflict)) => Err(VerbError::text(format!(
            "{conflict}\nsettle it with --ours PATH, --theirs-at PATH, --set PATH=VALUE or --rm PATH"
        ))),
        Err(CommitError::Refused(violation)) => Err(VerbError::text(format!(
            "the merged state breaks a rule: {violation}\nsettle it with --set PATH=VALUE or --rm PATH"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Puts what was chosen into the merged tree; returns what was not decided.
fn settle(
    args: &Args,
    tree: &mut Tree,
    source: &Overlay,
    conflicts: &[PathConflict],
) -> Result<Vec<PathConflict>, StoreError> {
    let mut left = Vec::new();
    for conflict in conflicts {
        let path = &conflict.path;
        let chosen = |paths: &[Path]| paths.iter().any(|chosen| chosen.contains(path));
        let set = args.set.iter().any(|(set, _)| set == path);
        let side = if set || chosen(&args.rm) {
            &None
        } else if chosen(&args.ours) {
            &conflict.ours
        } else if chosen(&args.theirs_at) {
            &conflict.theirs
        } else {
            left.push(conflict.clone());
            continue;
        };
        match side {
            None => {}
            Some(Slot::Value(value)) => tree.set_id(source, path, value.clone())?,
            Some(Slot::Directory(id)) => tree.set_tree_id(source, path, *id)?,
        }
    }
    for path in &args.rm {
        tree.remove(source, path)?;
    }
    for (path, value) in &args.set {
        tree.set(source, path, &Leaf::plain(format!("{value}\n")))?;
    }
    Ok(left)
}
