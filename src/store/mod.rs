//! A tree of paths to small values, branchable and mergeable, whose durable form is a Git repository.
