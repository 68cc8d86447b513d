//! A running rail with a store, and the real Git on it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{Running, Setup, stderr};

/// A rail with a store.
pub fn with_store() -> Setup {
    Setup {
        store: true,
        ..Setup::default()
    }
}

/// Runs the real Git on a repository.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a program wrote to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The backends as `name:state:weight`.
pub fn backends(running: &Running) -> Vec<String> {
    let body = running.get("/v1/backends").body;
    let rows: Value = serde_json::from_str(&body).unwrap();
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        format!("{}:{}:{}", text("name"), text("state"), row["weight"])
    })
    .collect()
}
