//! What the verbs of the store share: which store, which branch, who says what.

use std::path::PathBuf;
use std::process::ExitCode;

use super::socket::{SocketArgs, SocketError};
use super::{ERROR, output};
use crate::control::desired::{Desired, ReplaceError};
use crate::store::diff::Change;
use crate::store::directory::ValueId;
use crate::store::merge::Content;
use crate::store::merge::Value as _;
use crate::store::path::PathError;
use crate::store::queue::Queue;
use crate::store::rest::{Address, RestBackend};
use crate::store::rope::Rope;
use crate::store::value::Millis;
use crate::store::{
    Branch, BranchName, CommitError, Committed, How, Info, ObjectId, Path, StoreError, View,
};

/// Which store a verb is about.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// The store's directory, whether a rail runs with it or not (default: the store of the running rail)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["socket", "config"])]
    pub store: Option<PathBuf>,

    /// The running rail whose store it is
    #[command(flatten)]
    pub rail: SocketArgs,
}

/// Which branch a verb reads or changes.
#[derive(Debug, clap::Args)]
pub struct BranchArgs {
    /// The branch
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub branch: BranchName,
}

/// Who makes a change, and why.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// Who makes the change, as in "Ada <ada@example.net>" (default: the user of this machine)
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,

    /// Why the change is made
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// Why a verb of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Client(#[from] crate::api::client::ClientError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{0}")]
    Text(String),
}

impl VerbError {
    /// An error in a person's words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl StoreArgs {
    /// The store, opened directly or through the rail that has it.
    pub fn open(&self) -> Result<Desired, VerbError> {
        if let Some(directory) = &self.store {
            return Ok(Desired::open(directory, false)?);
        }
        let backend = RestBackend::connect(Address::Unix(self.rail.find()?))?;
        Ok(Desired::over(std::sync::Arc::new(backend))?)
    }
}

impl InfoArgs {
    /// Author and message; without one, `message`.
    pub fn info(&self, message: &str) -> Info {
        let (name, email) = self.author();
        let message = self.message.clone().unwrap_or_else(|| message.to_owned());
        Info::now(&name, &email, message)
    }

    /// Name and address of who makes the change.
    pub fn author(&self) -> (String, String) {
        let of = |variable: &str| std::env::var(variable).ok().filter(|text| !text.is_empty());
        let Some(author) = self.author.clone().or_else(|| of("RAIL_AUTHOR")) else {
            let user = of("SUDO_USER")
                .or_else(|| of("USER"))
                .or_else(|| of("LOGNAME"));
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = host.trim();
            let user = user.unwrap_or_else(|| "unknown".to_owned());
            let email = format!("{user}@{host}");
            return (user, email);
        };
        match author
            .trim_end()
            .strip_suffix('>')
            .and_then(|author| author.split_once('<'))
        {
            Some((name, email)) => (name.trim().to_owned(), email.to_owned()),
            None => (author, String::new()),
        }
    }
}

/// Runs a verb; a failure is one message, and exit code [`ERROR`].
pub fn exit(done: Result<u8, VerbError>) -> ExitCode {
    done.map_or_else(
        |error| {
            output::message(&format!("error: {error}"));
            ExitCode::from(ERROR)
        },
        ExitCode::from,
    )
}

/// The commit people mean.
pub fn resolve(desired: &Desired, text: &str) -> Result<ObjectId, VerbError> {
    let found = desired.store().resolve(text)?;
    found.ok_or_else(|| VerbError::text(format!("{text}: no such branch or commit")))
}

/// The head of a branch that must exist.
pub fn head(branch: &Branch) -> Result<ObjectId, VerbError> {
    let head = branch.head()?;
    head.ok_or_else(|| VerbError::text(format!("branch {} does not exist", branch.name())))
}

/// The state a verb reads: at a commit, or the newest of a branch.
pub fn view(desired: &Desired, at: Option<&str>, branch: &BranchName) -> Result<View, VerbError> {
    let commit = match at {
        Some(text) => resolve(desired, text)?,
        None => head(&desired.store().branch(branch))?,
    };
    Ok(desired.store().at(&commit)?)
}

/// A value as people read it. Text is as it is; queues and ropes, which are trees of their own, are unrolled.
pub fn value_text(view: &View, value: &ValueId) -> Result<String, VerbError> {
    let source = view.source();
    let content = Content::load(source, value.mode, &value.id)?;
    match value.tag.name() {
        "rope" => {
            let rope = Rope::read(source, &content)?;
            return Ok(rope.slice(source, 0..rope.len())?);
        }
        "queue" => {
            let queue = Queue::read(source, &content)?;
            let mut lines = String::new();
            for element in queue.iter(source) {
                let element = element?;
                let payload = String::from_utf8_lossy(&element.payload);
                lines += &format!("{} {payload}\n", element.stamp);
            }
            return Ok(lines);
        }
        _ => {}
    }
    match content.as_blob() {
        Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        None => Err(VerbError::text(format!(
            "a {} cannot be shown as text",
            value.tag
        ))),
    }
}

/// What a change to a value is, on one line: `+path value`, `-path value`, `~path old -> new`.
pub fn change_line(view: &View, path: &Path, change: &Change) -> Result<String, VerbError> {
    let text = |value: &ValueId| value_text(view, value).map(|text| one_line(&text));
    Ok(match change {
        Change::Added(new) => format!("+ {path} {}", text(new)?),
        Change::Removed(old) => format!("- {path} {}", text(old)?),
        Change::Updated { old, new } => format!("~ {path} {} -> {}", text(old)?, text(new)?),
    })
}

/// The same for `--json`.
pub fn change_json(
    view: &View,
    path: &Path,
    change: &Change,
) -> Result<serde_json::Value, VerbError> {
    let text = |value: &ValueId| {
        value_text(view, value).map(|text| text.trim_end_matches('\n').to_owned())
    };
    let (old, new) = match change {
        Change::Added(new) => (None, Some(new)),
        Change::Removed(old) => (Some(old), None),
        Change::Updated { old, new } => (Some(old), Some(new)),
    };
    Ok(serde_json::json!({
        "path": path.as_str(),
        "old": old.map(text).transpose()?,
        "new": new.map(text).transpose()?,
    }))
}

/// A text on one line, shortened.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = text.trim_end_matches('\n').replace('\n', "\\n");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The first digits of an id, as many as Git shows.
pub fn short(id: &ObjectId) -> String {
    format!("{id:.12}")
}

/// A date as people read it: `2026-05-26 10:00:00Z`.
pub fn date(seconds: i64) -> String {
    let millis = u64::try_from(seconds)
        .ok()
        .and_then(|seconds| Millis::new(seconds.checked_mul(1000)?));
    let text = millis.map(|millis| millis.to_string()).unwrap_or_default();
    match text.as_bytes() {
        [_, _, _, _, _, _, _, _, b'T', ..] => format!(
            "{}-{}-{} {}:{}:{}Z",
            &text[..4],
            &text[4..6],
            &text[6..8],
            &text[9..11],
            &text[11..13],
            &text[13..15]
        ),
        _ => seconds.to_string(),
    }
}

/// Says what a change came to.
pub fn report(branch: &BranchName, done: &Committed) {
    let head = done
        .head
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), short);
    output::result(&match done.how {
        How::Unchanged => format!("{branch}: nothing to do, still {head}"),
        How::Forward => format!("{branch}: {head}"),
        How::Merged => format!("{branch}: {head}, merged with what others changed"),
        How::Replayed => format!("{branch}: {head}, made again on what others changed"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_authors() {
        assert_eq!(date(0), "1970-01-01 00:00:00Z");
        assert_eq!(date(1_779_789_600), "2026-05-26 10:00:00Z");
        assert_eq!(date(-1), "-1");
        let author = |text: &str| {
            let args = InfoArgs {
                author: Some(text.to_owned()),
                message: None,
            };
            args.author()
        };
        let pair = |name: &str, email: &str| (name.to_owned(), email.to_owned());
        assert_eq!(
            author("Ada <ada@example.net>"),
            pair("Ada", "ada@example.net")
        );
        assert_eq!(author("Ada"), pair("Ada", ""));
    }
}
