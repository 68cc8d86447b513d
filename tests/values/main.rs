//! The types of values: laws that hold for every type, and models for queue and rope.

mod queue;
mod rope;
mod rope_merge;
mod support;
mod text;
