//! The sans-IO packet path: frames in, verdicts out.
