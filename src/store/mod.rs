//! A tree of paths to small values, branchable and mergeable, whose durable form is a Git repository.
//!
//! This module imports nothing else of the crate: it is a library of its own.

mod accept;
pub mod backend;
pub mod branch;
pub mod cache;
pub mod commit;
pub mod commit_merge;
pub mod committer;
pub mod conflict;
pub mod diff;
pub mod directory;
pub mod entries;
pub mod error;
pub mod facade;
pub mod git;
pub mod history;
pub mod hub;
pub mod merge;
pub mod object;
pub mod path;
pub mod queue;
pub mod reachable;
pub mod reader;
pub mod rest;
pub mod rope;
pub mod squash;
pub mod transaction;
pub mod tree;
pub mod tree_merge;
pub mod types;
pub mod value;
pub mod view;
pub mod watch;

pub use branch::Branch;
pub use commit::{Commit, Info, Signature};
pub use error::StoreError;
pub use facade::{Options, Store};
pub use object::{Kind, MemoryObjects, Object, ObjectId, Objects};
pub use path::{BranchName, Path};
pub use transaction::{CommitError, Committed, How, Transaction};
pub use tree::{Item, Leaf, Tree};
pub use types::{Registry, TypeTag};
pub use view::View;
pub use watch::{Event, Scope, Watch};
