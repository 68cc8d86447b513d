//! The run-to-completion loop: one pinned worker per core, one queue pair of every port each.
