//! What a merge or a transaction answers when it cannot be done: a value that names the paths and
//! both sides, so that people and programs can decide.

use std::fmt;

use super::directory::{Slot, Source};
use super::error::StoreError;
use super::object::ObjectId;
use super::path::{BranchName, Path};
use super::tree::Tree;

/// One path that two sides changed in ways no rule reconciles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathConflict {
    pub path: Path,
    /// The same words for either order of the sides.
    pub reason: String,
    /// What stood there at the common ancestor; `None` if nothing did, or if there is no usable one.
    pub base: Option<Slot>,
    pub ours: Option<Slot>,
    pub theirs: Option<Slot>,
}

/// Why a tree is not a state its branch may be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, such as `one service per address and port`.
    pub rule: String,
    /// Where, and what about it.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// Decides which trees a branch may hold. Asked before any branch moves; its answer must depend on
/// the tree alone.
pub trait Validator: Send + Sync {
    /// The first rule the tree breaks.
    fn check(
        &self,
        source: &dyn Source,
        branch: &BranchName,
        tree: &Tree,
    ) -> Result<Option<Violation>, StoreError>;
}

/// Every tree is fine.
pub struct AnyTree;

impl Validator for AnyTree {
    fn check(
        &self,
        _: &dyn Source,
        _: &BranchName,
        _: &Tree,
    ) -> Result<Option<Violation>, StoreError> {
        Ok(None)
    }
}

/// Two states that cannot become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The commits, or in a transaction the trees, of the two sides.
    pub ours: ObjectId,
    pub theirs: ObjectId,
    /// In path order. Empty if the merge itself succeeded but its result breaks a rule.
    pub paths: Vec<PathConflict>,
    /// The rule the merged tree breaks.
    pub violation: Option<Violation>,
}

impl Conflict {
    /// The same conflict seen from the other side.
    #[must_use]
    pub fn swapped(mut self) -> Self {
        std::mem::swap(&mut self.ours, &mut self.theirs);
        for path in &mut self.paths {
            std::mem::swap(&mut path.ours, &mut path.theirs);
        }
        self
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {} conflict", self.ours, self.theirs)?;
        for conflict in &self.paths {
            write!(f, "\n{}: {}", conflict.path, conflict.reason)?;
            let sides = [
                ("base", &conflict.base),
                ("ours", &conflict.ours),
                ("theirs", &conflict.theirs),
            ];
            for (name, side) in sides {
                match side {
                    None => write!(f, "\n  {name}: nothing")?,
                    Some(Slot::Directory(id)) => write!(f, "\n  {name}: directory {id}")?,
                    Some(Slot::Value(value)) => {
                        write!(f, "\n  {name}: {} {}", value.tag, value.id)?
                    }
                }
            }
        }
        match &self.violation {
            Some(violation) => write!(f, "\nthe merged state breaks a rule: {violation}"),
            None => Ok(()),
        }
    }
}
