//! What a rail observes, on a branch of its own: `node/<name>`, below `observed/`.
//!
//! `main` says what is wanted, and stays free of this. The branch is written only when something is other than
//! it was, and no more often than every five seconds: what comes and goes between is not in it. Other rails
//! fetch it with the rest, as `<remote>/node/<name>`.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::confirm::node_branch;
use crate::store::path::PathError;
use crate::store::{Branch, CommitError, Info, Leaf, Path, Store, StoreError};
use crate::table::Nanos;

/// The least time between two commits.
const PAUSE: Duration = Duration::from_secs(5);
/// The directory of the branch that holds this.
pub const ROOT: &str = "observed";

/// Everything a rail observes: values by their paths below [`ROOT`].
pub type Seen = BTreeMap<String, String>;

/// Writes the branch, on a thread of its own: a commit waits for the disk.
pub struct Diary {
    writer: SyncSender<Seen>,
    last: Seen,
    next: Nanos,
}

impl Diary {
    /// The diary of a rail.
    pub fn start(store: &Store, rail: &str) -> Result<Self, StoreError> {
        let branch = store.branch(&node_branch(rail)?);
        let rail = rail.to_owned();
        let (writer, entries) = sync_channel::<Seen>(1);
        let write = move || {
            for seen in entries {
                if let Err(error) = enter(&branch, &seen, &rail) {
                    tracing::warn!(%error, branch = %branch.name(), "cannot write down what is observed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("store-diary".to_owned());
        thread
            .spawn(write)
            .map_err(|error| StoreError::io("start", std::path::Path::new("store-diary"), error))?;
        Ok(Self {
            writer,
            last: Seen::new(),
            next: Nanos(0),
        })
    }

    /// Whether it is time to look; the next time follows.
    pub fn is_due(&mut self, now: Nanos) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + PAUSE;
        }
        due
    }

    /// Writes down what is observed now, if it is other than what was written last.
    pub fn note(&mut self, seen: Seen) {
        if seen == self.last {
            return;
        }
        match self.writer.try_send(seen.clone()) {
            Ok(()) => self.last = seen,
            // It is still writing: next time.
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => {
                tracing::warn!("what is observed is not written down any more");
            }
        }
    }
}

/// Makes the branch say this, in one commit that says what is new.
fn enter(branch: &Branch, seen: &Seen, rail: &str) -> Result<(), CommitError> {
    let root: Path = ROOT.parse().map_err(wrong)?;
    let mut wanted = BTreeMap::new();
    for (path, value) in seen {
        let at: Path = format!("{ROOT}/{path}").parse().map_err(wrong)?;
        wanted.insert(at, Leaf::plain(format!("{value}\n")));
    }
    let view = branch.view()?;
    let old: Vec<Path> = view
        .walk(&root)?
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let gone: Vec<Path> = old
        .into_iter()
        .filter(|path| !wanted.contains_key(path))
        .collect();
    let mut news = Vec::new();
    for (path, leaf) in &wanted {
        if view.get(path)?.as_ref() != Some(leaf) {
            news.push(path.clone());
        }
    }
    let message = match (news.as_slice(), gone.as_slice()) {
        ([], []) => return Ok(()),
        ([one], []) => format!("{} is {}", below(one), seen[below(one)]),
        ([], [one]) => format!("{} is gone", below(one)),
        (news, gone) => format!("{} observations are new", news.len() + gone.len()),
    };
    let info = Info::now(rail, "", message);
    branch.update(&info, |tree, source| {
        for path in &gone {
            tree.remove(source, path)?;
        }
        for (path, leaf) in &wanted {
            tree.set(source, path, leaf)?;
        }
        Ok(())
    })?;
    Ok(())
}

fn below(path: &Path) -> &str {
    path.as_str()
        .strip_prefix(ROOT)
        .map_or("", |rest| rest.trim_start_matches('/'))
}

fn wrong(error: PathError) -> StoreError {
    StoreError::value("observation", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(path, value)| (path.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_branch_says_what_is_seen_and_only_news_make_a_commit() {
        let store = Store::in_memory().unwrap();
        let branch = store.branch(&node_branch("rail-a").unwrap());
        let kept: Path = "confirmed/1234".parse().unwrap();
        let info = Info::now("Ada", "", "confirm");
        branch.set(&kept, &Leaf::plain("Ada\n"), &info).unwrap();
        let subjects = || {
            let log = branch.log(&Path::root()).unwrap().into_iter();
            let mut subjects: Vec<_> = log.map(|(_, commit)| commit.subject().to_owned()).collect();
            subjects.reverse();
            subjects[1..].to_vec()
        };
        enter(&branch, &seen("running=1 neighbors/fe80::1=aa"), "rail-a").unwrap();
        enter(&branch, &seen("running=1 neighbors/fe80::1=aa"), "rail-a").unwrap();
        enter(&branch, &seen("running=2 neighbors/fe80::1=aa"), "rail-a").unwrap();
        enter(&branch, &seen("running=2"), "rail-a").unwrap();
        let expected = [
            "2 observations are new",
            "running is 2",
            "neighbors/fe80::1 is gone",
        ];
        assert_eq!(subjects(), expected);
        let view = branch.view().unwrap();
        let all = view.walk(&Path::root()).unwrap().into_iter();
        let paths: Vec<_> = all.map(|(path, _)| path.as_str().to_owned()).collect();
        assert_eq!(paths, ["confirmed/1234", "observed/running"]);
    }

    #[test]
    fn it_looks_no_more_often_than_it_may() {
        let store = Store::in_memory().unwrap();
        let mut diary = Diary::start(&store, "rail-a").unwrap();
        let seconds: Vec<u64> = (0..12)
            .filter(|second| diary.is_due(Nanos::from_secs(*second)))
            .collect();
        assert_eq!(seconds, [0, 5, 10]);
    }
}
