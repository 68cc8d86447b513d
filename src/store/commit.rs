//! Commits: a tree, the commits it was made from, who made it, when, and why.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::StoreError;
use super::object::{Kind, ObjectId, Objects};

/// Who and when. The text goes into Git's `author` and `committer` lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    email: String,
    /// Seconds since 1970, UTC; never negative.
    pub seconds: i64,
    /// The author's own clock, minutes east of UTC.
    pub offset: i16,
}

impl Signature {
    /// A signature in UTC. What Git cannot have in a name or an address (`<`, `>`, control
    /// characters) is replaced by `-`; an empty name becomes `unknown`.
    pub fn new(name: &str, email: &str, seconds: i64) -> Self {
        let clean = |text: &str| {
            let bad = |c: char| c == '<' || c == '>' || c.is_control();
            text.replace(bad, "-").trim().to_owned()
        };
        let name = Some(clean(name)).filter(|name| !name.is_empty());
        Self {
            name: name.unwrap_or_else(|| "unknown".to_owned()),
            email: clean(email),
            seconds: seconds.max(0),
            offset: 0,
        }
    }

    /// The author's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The author's address, possibly empty.
    pub fn email(&self) -> &str {
        &self.email
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('<')?;
        let (email, time) = rest.split_once('>')?;
        let (seconds, offset) = time.trim().split_once(' ')?;
        let offset: i16 = offset.parse().ok()?;
        Some(Self {
            name: name.trim().to_owned(),
            email: email.to_owned(),
            seconds: seconds.parse().ok()?,
            offset: offset / 100 * 60 + offset % 100,
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (
            self.offset.unsigned_abs() / 60,
            self.offset.unsigned_abs() % 60,
        );
        write!(
            f,
            "{} <{}> {} {sign}{hours:02}{minutes:02}",
            self.name, self.email, self.seconds
        )
    }
}

/// What a caller says about a change: who, when, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub author: Signature,
    pub message: String,
}

impl Info {
    /// A change made now, by the system's clock.
    pub fn now(author: &str, email: &str, message: impl Into<String>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        Self {
            author: Signature::new(author, email, seconds),
            message: message.into(),
        }
    }
}

/// One state of a tree and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
    pub author: Signature,
    pub committer: Signature,
    /// Ends in a line feed when written by the store.
    pub message: String,
}

impl Commit {
    /// A commit as the store writes it: author and committer are one.
    pub fn new(tree: ObjectId, parents: Vec<ObjectId>, info: &Info) -> Self {
        let mut message = info.message.replace('\0', "").trim_end().to_owned();
        message.push('\n');
        let author = info.author.clone();
        Self {
            tree,
            parents,
            committer: author.clone(),
            author,
            message,
        }
    }

    /// The first line of the message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// Reads a commit object.
    pub fn load(objects: &dyn Objects, id: &ObjectId) -> Result<Self, StoreError> {
        Self::decode_object(id, &objects.expect(id, Kind::Commit)?)
    }

    /// The commit in the bytes of the commit object `id`.
    pub fn decode_object(id: &ObjectId, data: &[u8]) -> Result<Self, StoreError> {
        Self::decode(data).ok_or_else(|| StoreError::Malformed {
            id: *id,
            expected: Kind::Commit,
            detail: "a header line is missing or malformed".to_owned(),
        })
    }

    /// Writes it as a commit object.
    pub fn store(&self, objects: &dyn Objects) -> Result<ObjectId, StoreError> {
        objects.put(Kind::Commit, &self.encode())
    }

    /// Git's canonical bytes; they depend on the fields alone.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        text.push_str(&format!(
            "author {}\ncommitter {}\n\n",
            self.author, self.committer
        ));
        text.push_str(&self.message);
        text.into_bytes()
    }

    /// Headers the store has no use for (signatures, encodings) are passed over, and text that is not
    /// UTF-8 is read with replacement characters: such a commit is read, never written again.
    fn decode(data: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(data);
        let (headers, message) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let (mut tree, mut author, mut committer) = (None, None, None);
        let mut parents = Vec::new();
        for line in headers.lines() {
            match line.split_once(' ')? {
                ("tree", id) if tree.is_none() => tree = Some(id.parse().ok()?),
                ("parent", id) => parents.push(id.parse().ok()?),
                ("author", text) => author = Some(Signature::parse(text)?),
                ("committer", text) => committer = Some(Signature::parse(text)?),
                _ => (),
            }
        }
        Some(Self {
            tree: tree?,
            parents,
            author: author?,
            committer: committer?,
            message: message.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::EMPTY_TREE;

    #[test]
    fn a_commit_reads_back_as_written() {
        let info = Info {
            author: Signature::new("Ada <x>\n", "ada@example.net", 1_700_000_000),
            message: "web: drain web-1".to_owned(),
        };
        let parents = vec![
            ObjectId::of(Kind::Blob, b"1"),
            ObjectId::of(Kind::Blob, b"2"),
        ];
        let commit = Commit::new(EMPTY_TREE, parents, &info);
        assert_eq!(
            commit.author.to_string(),
            "Ada -x-- <ada@example.net> 1700000000 +0000"
        );
        assert_eq!(Commit::decode(&commit.encode()), Some(commit.clone()));
        assert_eq!(commit.subject(), "web: drain web-1");
    }

    /// The id `git commit-tree` prints for the same fields.
    #[test]
    fn ids_are_those_of_git() {
        let info = Info {
            author: Signature::new("A", "a@b", 0),
            message: "m".to_owned(),
        };
        let commit = Commit::new(EMPTY_TREE, Vec::new(), &info);
        let id = ObjectId::of(Kind::Commit, &commit.encode());
        assert_eq!(id.to_string(), "09c9dfe00ddfa1db2b5ba1953e2536a5e84b21da");
    }

    #[test]
    fn foreign_commits_are_understood() {
        let tree = EMPTY_TREE;
        let text = format!(
            "tree {tree}\nauthor A B <a@b> 5 -0330\ncommitter C <> 6 +0100\n\
             gpgsig -----BEGIN\n tree of lines\n -----END\nencoding latin-1\n\nline\n\nmore\n"
        );
        let commit = Commit::decode(text.as_bytes()).unwrap();
        assert_eq!(commit.author.to_string(), "A B <a@b> 5 -0330");
        assert_eq!(commit.committer.to_string(), "C <> 6 +0100");
        assert_eq!(commit.message, "line\n\nmore\n");
        for bad in ["", "tree x\n\n", "author A <a> 1 +0000\n\n", "tree\n\n"] {
            assert_eq!(Commit::decode(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
