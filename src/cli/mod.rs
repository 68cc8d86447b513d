//! The verbs of `rail`, one file each.
