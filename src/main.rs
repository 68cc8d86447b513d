//! The `rail` binary: wiring only.

fn main() {}
