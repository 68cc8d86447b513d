//! The `rail` binary: wiring only.

use std::process::ExitCode;

fn main() -> ExitCode {
    rustyrail::cli::run()
}
