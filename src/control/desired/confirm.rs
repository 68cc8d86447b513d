//! Changes that are undone unless somebody confirms them.
//!
//! A change says so itself, in the last line of its commit's message: `Confirm-within: 300s rail-a`. The rail it
//! names reverts it that long after the commit's date, unless the branch `node/<rail>` has a value
//! `confirmed/<commit>` by then. So a change and its deadline are durable together, a rail that was restarted
//! knows both, and the log shows what was meant.

use std::time::Duration;

use crate::pool::Name;
use crate::store::history::Log;
use crate::store::{
    BranchName, Commit, CommitError, Committed, Info, Leaf, ObjectId, Path, Store, StoreError,
};

const TRAILER: &str = "Confirm-within: ";
/// The longest time to wait for a confirmation: what is older need not be looked at after a restart.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The most commits looked at in one go: a rail that is started must not read years of history.
const MOST_COMMITS: usize = 20_000;

/// A change that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The change.
    pub commit: ObjectId,
    /// When it is undone, in seconds since 1970.
    pub deadline: i64,
    /// The rail that undoes it.
    pub rail: String,
}

/// The message of a change that must be confirmed.
pub fn message(message: &str, within: Duration, rail: &Name) -> String {
    let message = message.trim_end();
    format!("{message}\n\n{TRAILER}{}s {rail}\n", within.as_secs())
}

/// The message of a commit that undoes another.
pub fn revert_message(commit: &ObjectId, undone: &Commit, why: &str) -> String {
    let subject = undone.message.lines().next().unwrap_or_default();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!("{why}\n\n")
    };
    format!("Revert \"{subject}\"\n\n{why}This reverts commit {commit}.\n")
}

fn demand(id: &ObjectId, commit: &Commit) -> Option<Unconfirmed> {
    let line = commit.message.trim_end().lines().next_back()?;
    let (within, rail) = line.strip_prefix(TRAILER)?.split_once(' ')?;
    let seconds: i64 = within.strip_suffix('s')?.parse().ok()?;
    let longest = LONGEST.as_secs() as i64;
    Some(Unconfirmed {
        commit: *id,
        deadline: commit
            .committer
            .seconds
            .saturating_add(seconds.clamp(0, longest)),
        rail: rail.to_owned(),
    })
}

/// The branch of what a rail observes.
pub fn node_branch(rail: &str) -> Result<BranchName, StoreError> {
    let name = format!("node/{rail}").parse();
    name.map_err(|_| {
        StoreError::value(
            "rail name",
            format!("{rail:?} cannot be part of a branch name"),
        )
    })
}

fn record(commit: &ObjectId) -> Result<Path, StoreError> {
    let path = format!("confirmed/{commit}").parse();
    path.map_err(|_| StoreError::value("commit", commit.to_string()))
}

/// Says that a change stays.
pub fn confirm(
    store: &Store,
    waiting: &Unconfirmed,
    info: &Info,
) -> Result<Committed, CommitError> {
    let branch = store.branch(&node_branch(&waiting.rail)?);
    let who = Leaf::plain(format!("{}\n", info.author));
    branch.set(&record(&waiting.commit)?, &who, info)
}

/// Whether somebody said that a change stays.
pub fn is_confirmed(store: &Store, waiting: &Unconfirmed) -> Result<bool, StoreError> {
    let branch = store.branch(&node_branch(&waiting.rail)?);
    Ok(branch.get(&record(&waiting.commit)?)?.is_some())
}

/// What waits for a confirmation among the commits that lead to `head`, back to `known` or, without it, as far as
/// somebody may still be waiting. Also the commits that were undone there.
pub fn scan(
    store: &Store,
    head: ObjectId,
    known: Option<ObjectId>,
    now: i64,
) -> Result<(Vec<Unconfirmed>, Vec<ObjectId>), StoreError> {
    let source = store.overlay();
    let (mut waiting, mut undone) = (Vec::new(), Vec::new());
    let oldest = now - 2 * LONGEST.as_secs() as i64;
    for item in Log::new(&*source, [head])?.take(MOST_COMMITS) {
        let (id, commit) = item?;
        if Some(id) == known || commit.committer.seconds < oldest {
            break;
        }
        waiting.extend(demand(&id, &commit));
        let lines = commit.message.lines();
        undone.extend(lines.filter_map(|line| {
            let id = line
                .strip_prefix("This reverts commit ")?
                .strip_suffix('.')?;
            id.parse::<ObjectId>().ok()
        }));
    }
    waiting.retain(|waiting| !undone.contains(&waiting.commit));
    Ok((waiting, undone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_until_when_it_waits_and_is_found_again() {
        let store = Store::in_memory().unwrap();
        let main = store.main();
        let path: Path = "a".parse().unwrap();
        let set = |text: &str, message: String| {
            let author = crate::store::Signature::new("Ada", "", 1_000_000);
            let info = Info { author, message };
            main.set(&path, &Leaf::plain(text), &info)
                .unwrap()
                .head
                .unwrap()
        };
        let first = set("1", "first".to_owned());
        let rail = Name::new("rail-a").unwrap();
        let second = set("2", message("second", Duration::from_secs(300), &rail));
        let expected = Unconfirmed {
            commit: second,
            deadline: 1_000_300,
            rail: "rail-a".to_owned(),
        };
        let scan = |head, known| scan(&store, head, known, 1_000_100).unwrap();
        assert_eq!(scan(second, None).0, std::slice::from_ref(&expected));
        assert_eq!(scan(second, Some(first)).0, std::slice::from_ref(&expected));
        assert_eq!(scan(second, Some(second)).0, []);

        assert!(!is_confirmed(&store, &expected).unwrap());
        let info = Info::now("Ada", "", "confirm");
        confirm(&store, &expected, &info).unwrap();
        assert!(is_confirmed(&store, &expected).unwrap());

        let undone = store.commit(&second).unwrap();
        let third = set("1", revert_message(&second, &undone, "nobody confirmed it"));
        assert_eq!(scan(third, None), (vec![], vec![second]));
    }
}
