//! The one error type of the store. Conflicts are not errors: they are values of
//! [`merge`](super::merge), because a caller is expected to handle them.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::object::{Kind, ObjectId};
use super::path::{BranchName, Path};
use super::types::TypeTag;

/// Why the store could not do what it was asked to. Cheap to clone, because one failed flush is
/// reported to every writer that shared it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// An object that another one, or a branch, refers to is not there.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// An object does not have the encoding its kind demands, or is of another kind.
    #[error("object {id} is not a well-formed {expected}: {detail}")]
    Malformed {
        id: ObjectId,
        expected: Kind,
        detail: String,
    },
    /// A value's bytes do not have the encoding its type demands.
    #[error("not a well-formed {type_name}: {detail}")]
    Value { type_name: String, detail: String },
    /// A value stands where the path needs a directory.
    #[error("{0} is a value, not a directory")]
    NotADirectory(Path),
    /// A directory stands where a value was to be written.
    #[error("{0} is a directory: remove it first")]
    IsADirectory(Path),
    /// The value is there, but of another type than the one asked for.
    #[error("{path} is of type {found}, not {expected}")]
    OtherType {
        path: Path,
        expected: TypeTag,
        found: TypeTag,
    },
    /// A commit to be reverted has several parents, or not the one named.
    #[error("{0} is a merge: name the parent to go back to")]
    WhichParent(ObjectId),
    /// A repository is not as it should be.
    #[error("{}: {detail}", path.display())]
    Repository { path: PathBuf, detail: String },
    /// A bundle is damaged, or does not fit here.
    #[error("cannot import the bundle: {0}")]
    Bundle(String),
    /// The process that has the store could not, would not, or does not answer.
    #[error("{0}")]
    Remote(Arc<str>),
    /// The real Git could not do what it was asked to.
    #[error("git {command}: {message}")]
    Git { command: String, message: Arc<str> },
    /// Somebody else holds the lock on a branch for too long.
    #[error("branch {branch} is locked: remove {} if no other process is using it", path.display())]
    Locked {
        branch: BranchName,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    /// A branch kept moving under this change, pushed by other processes.
    #[error("branch {0} moves too fast")]
    Contended(BranchName),
    /// The branch was moved on disk, but whether a power cut would undo that is unknown.
    #[error("branch {branch} was moved to {id}, but that is not known to be durable: {source}")]
    Unsure {
        branch: BranchName,
        id: ObjectId,
        source: Arc<io::Error>,
    },
    /// An operation on a file failed. Nothing that was acknowledged earlier is affected.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
}

impl StoreError {
    /// An I/O error with the operation and the file it happened on.
    pub fn io(operation: &'static str, path: &FilePath, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// A value of type `type_name` could not be decoded.
    pub fn value(type_name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Value {
            type_name: type_name.into(),
            detail: detail.into(),
        }
    }
}
