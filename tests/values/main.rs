//! The types of values: laws that hold for every type, and models for queue and rope.

mod laws;
mod queue;
mod rope;
mod rope_merge;
mod support;
mod text;
mod trees;
