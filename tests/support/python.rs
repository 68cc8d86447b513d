//! A Python for the checkers that are written in it.

use std::process::{Command, Stdio};

/// A command that runs `script` (a path below `tests/`) with the first Python that has `modules`: the
/// one in `PATH`, or the system's, where Debian's packages are.
pub fn python(script: &str, modules: &[&str]) -> Command {
    let imports = format!("import {}", modules.join(", "));
    let has_modules = |python: &&str| {
        Command::new(python)
            .args(["-c", &imports])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_modules);
    let mut command = Command::new(found.unwrap_or_else(|| panic!("no python3 has {modules:?}")));
    command.arg(format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}
