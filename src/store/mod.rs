//! A tree of paths to small values, branchable and mergeable, whose durable form is a Git repository.
//!
//! This module imports nothing else of the crate: it is a library of its own.

pub mod commit;
pub mod commit_merge;
pub mod conflict;
pub mod diff;
pub mod directory;
pub mod entries;
pub mod error;
pub mod history;
pub mod merge;
pub mod object;
pub mod queue;
pub mod path;
pub mod tree;
pub mod tree_merge;
pub mod types;
pub mod value;

pub use commit::{Commit, Info, Signature};
pub use error::StoreError;
pub use object::{Kind, MemoryObjects, Object, ObjectId, Objects};
pub use path::{BranchName, Path};
pub use tree::{Item, Leaf, Tree};
pub use types::{Registry, TypeTag};
