//! `rail txn`: several reads and writes that happen at once, or not at all.

use std::io::{self, BufRead};
use std::process::ExitCode;

use super::store::{BranchArgs, InfoArgs, StoreArgs, VerbError, exit, report};
use super::{OK, output};
use crate::store::{CommitError, Leaf, Path, Transaction};

/// Exit code: others changed what the transaction read; begin again. That of `EX_TEMPFAIL` (sysexits.h).
const AGAIN: u8 = 75;

/// The command line of `rail txn`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Operations, one a line: read PATH | ls [PATH] | write PATH VALUE | rm PATH | \
                        expect PATH VALUE | expect PATH (that there is none)"
)]
pub struct Args {
    #[command(flatten)]
    pub info: InfoArgs,

    #[command(flatten)]
    pub branch: BranchArgs,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Reads operations from standard input, answers them in order, and commits at its end. Exits with 75 if others
/// changed meanwhile what was read here.
pub fn run(args: &Args) -> ExitCode {
    exit(transact(args))
}

fn transact(args: &Args) -> Result<u8, VerbError> {
    let desired = args.store.open()?;
    let branch = desired.store().branch(&args.branch.branch);
    let mut transaction = branch.begin()?;
    let mut changed = Vec::new();
    for (index, line) in io::stdin().lock().lines().enumerate() {
        let at =
            |what: String| VerbError::text(format!("standard input, line {}: {what}", index + 1));
        let line = line.map_err(|error| at(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let done = operate(&mut transaction, &line, &mut changed);
        done.map_err(|error| at(error.to_string()))?;
    }
    let info = args.info.info(&match changed.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    });
    match transaction.commit(&info) {
        Ok(done) => {
            report(branch.name(), &done);
            Ok(OK)
        }
        Err(CommitError::Conflict(conflict)) => {
            output::message(&format!(
                "conflict: {conflict}\nnothing was written: begin again"
            ));
            Ok(AGAIN)
        }
        Err(error) => Err(error.into()),
    }
}

fn operate(
    transaction: &mut Transaction,
    line: &str,
    changed: &mut Vec<String>,
) -> Result<(), VerbError> {
    let mut words = line.trim().splitn(3, ' ');
    let verb = words.next().unwrap_or_default();
    let path: Path = words.next().unwrap_or_default().parse()?;
    let value = words.next();
    let text = |leaf: Option<Leaf>| {
        let bytes = leaf.and_then(|leaf| leaf.bytes().map(<[u8]>::to_vec));
        bytes.map(|bytes| {
            String::from_utf8_lossy(&bytes)
                .trim_end_matches('\n')
                .to_owned()
        })
    };
    match (verb, value) {
        ("read", None) => match text(transaction.get(&path)?) {
            Some(text) => output::result(&text),
            None => return Err(VerbError::text(format!("{path}: there is no value"))),
        },
        ("ls", None) => {
            let items = transaction.list(&path)?.unwrap_or_default();
            let names = items.into_iter().map(|item| match item.tag {
                None => item.name + "/",
                Some(_) => item.name,
            });
            output::result(&names.collect::<Vec<_>>().join("\n"));
        }
        ("write", Some(value)) => {
            transaction.set(&path, &Leaf::plain(format!("{value}\n")))?;
            changed.push(format!("write {path}"));
        }
        ("rm", None) => {
            if !transaction.remove(&path)? {
                return Err(VerbError::text(format!("{path}: there is nothing")));
            }
            changed.push(format!("remove {path}"));
        }
        ("expect", expected) => {
            let found = text(transaction.get(&path)?);
            if found.as_deref() != expected {
                let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
                return Err(VerbError::text(format!(
                    "{path} is {found}: nothing was written"
                )));
            }
        }
        _ => {
            return Err(VerbError::text(
                "not read PATH, ls PATH, write PATH VALUE, rm PATH or expect PATH [VALUE]",
            ));
        }
    }
    Ok(())
}
