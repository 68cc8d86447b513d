//! A tree of paths to small values, branchable and mergeable, whose durable form is a Git repository.
//!
//! This module imports nothing else of the crate: it is a library of its own.

pub mod entries;
pub mod error;
pub mod merge;
pub mod object;
pub mod queue;
pub mod types;
pub mod value;

pub use error::StoreError;
pub use object::{Kind, MemoryObjects, Object, ObjectId, Objects};
