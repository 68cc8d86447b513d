//! What is left to the real `git`: garbage collection, exchange with other repositories, names of
//! commits as people write them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::store::error::StoreError;
use crate::store::object::ObjectId;
use crate::store::path::BranchName;

/// Runs `git` on one repository.
#[derive(Clone, Debug)]
pub struct Git {
    directory: PathBuf,
}

impl Git {
    /// For the repository whose `objects` and `refs` are in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
        }
    }

    /// Runs a command; its standard output. A failure carries what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String, StoreError> {
        self.run_as(Command::new("git"), arguments)
    }

    /// Runs a command that is ended when it takes too long, as one may that talks to another machine.
    fn run_within(&self, time: Duration, arguments: &[&str]) -> Result<String, StoreError> {
        let mut command = Command::new("timeout");
        command.arg(time.as_secs().to_string()).arg("git");
        self.run_as(command, arguments)
    }

    fn run_as(&self, mut command: Command, arguments: &[&str]) -> Result<String, StoreError> {
        // Whatever repository or identity our own environment is about is not meant here.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null());
        command
            .arg("--git-dir")
            .arg(&self.directory)
            .args(["-c", "safe.directory=*"]);
        // As durable as what the store itself writes, whoever made the repository.
        command.args(["-c", "core.fsync=committed", "-c", "core.fsyncMethod=fsync"]);
        let output = command.args(arguments).output();
        let output = output.map_err(|error| StoreError::io("run", Path::new("git"), error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(StoreError::Git {
            command: arguments.join(" "),
            message: Arc::from(message),
        })
    }

    /// Deletes a branch if it stands at `expected`.
    pub fn delete(&self, branch: &BranchName, expected: &ObjectId) -> Result<(), StoreError> {
        let (name, expected) = (format!("refs/heads/{branch}"), expected.to_string());
        self.run(&["update-ref", "--no-deref", "-d", &name, &expected])
            .map(drop)
    }

    /// The commit people mean by `text`: an abbreviated id, a tag, `HEAD`, `main~3`.
    pub fn lookup(&self, text: &str) -> Option<ObjectId> {
        let commit = format!("{text}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        self.run(&arguments).ok()?.trim().parse().ok()
    }

    /// Repacks everything, and drops what no ref leads to and is older than `grace` seconds.
    pub fn collect_garbage(&self, grace: u64) -> Result<(), StoreError> {
        let prune = match grace {
            0 => "--prune=now".to_owned(),
            seconds => format!("--prune={seconds}.seconds.ago"),
        };
        self.run(&["gc", "--quiet", &prune]).map(drop)
    }

    /// Takes over the branches of another repository, as branches of remote `name`.
    pub fn fetch(&self, name: &str, url: &str) -> Result<(), StoreError> {
        self.fetch_within(Duration::from_secs(3600), name, url)
    }

    /// The same, if it takes no longer than this.
    pub fn fetch_within(&self, time: Duration, name: &str, url: &str) -> Result<(), StoreError> {
        let refs = format!("+refs/heads/*:refs/remotes/{name}/*");
        let arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--prune",
            "--update-shallow",
        ];
        let arguments = [
            arguments.as_slice(),
            &["--no-auto-maintenance", "--end-of-options", url, &refs],
        ];
        self.run_within(time, &arguments.concat()).map(drop)
    }

    /// The remotes this repository knows, with their addresses, by name.
    pub fn remotes(&self) -> Result<Vec<(String, String)>, StoreError> {
        // Without a match the exit code is 1, and nothing is said.
        let text = match self.run(&["config", "--local", "--get-regexp", r"^remote\..*\.url$"]) {
            Err(StoreError::Git { message, .. }) if message.is_empty() => String::new(),
            other => other?,
        };
        let mut remotes: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let (key, url) = line.split_once(' ')?;
                let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
                Some((name.to_owned(), url.to_owned()))
            })
            .collect();
        remotes.sort();
        Ok(remotes)
    }

    /// Offers a commit to another repository, known here as remote `name`, as its branch. Refused unless
    /// that only moves the branch forward.
    pub fn push(
        &self,
        name: &str,
        url: &str,
        commit: &ObjectId,
        branch: &BranchName,
    ) -> Result<(), StoreError> {
        let refs = format!("{commit}:refs/heads/{branch}");
        self.run(&["push", "--quiet", "--end-of-options", url, &refs])?;
        let known = format!("refs/remotes/{name}/{branch}");
        self.run(&["update-ref", &known, &commit.to_string()])
            .map(drop)
    }
}
