//! Network namespaces: made and removed with iproute2, entered with `setns`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Where iproute2 keeps named namespaces.
const NETNS_DIR: &str = "/run/netns";

/// Why something could not be done to a namespace or in one.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("`{command}` failed: {message}")]
    Command { command: String, message: String },
    #[error("`{program}` could not be started: {source}; `make install-deps` installs it")]
    Start { program: String, source: io::Error },
    #[error("namespace {namespace}: {source}")]
    Enter {
        namespace: String,
        source: io::Error,
    },
    #[error("{path}: {source}")]
    Sysctl { path: PathBuf, source: io::Error },
}

/// A named network namespace; nothing is known about whether it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netns(String);

impl Netns {
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Makes the namespace.
    pub fn add(&self) -> Result<(), NetnsError> {
        run(Command::new("ip").args(["netns", "add", &self.0])).map(drop)
    }

    /// Removes the name. The namespace goes with its last process.
    pub fn delete(&self) -> Result<(), NetnsError> {
        run(Command::new("ip").args(["netns", "delete", &self.0])).map(drop)
    }

    /// The processes that live in the namespace now.
    pub fn pids(&self) -> Result<Vec<i32>, NetnsError> {
        let output = run(Command::new("ip").args(["netns", "pids", &self.0]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect())
    }

    /// Runs `work` on a thread of its own inside the namespace: sockets it opens and commands it
    /// starts belong there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.switch()?;
                Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into the namespace for good; for threads that end there.
    pub fn switch(&self) -> Result<(), NetnsError> {
        File::open(Path::new(NETNS_DIR).join(&self.0))
            .and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?))
            .map_err(|source| NetnsError::Enter {
                namespace: self.0.clone(),
                source,
            })
    }

    /// Runs one batch of `ip` commands in the namespace, a command per line.
    pub fn ip(&self, batch: &str) -> Result<(), NetnsError> {
        feed(
            Command::new("ip").args(["-n", &self.0, "-batch", "-"]),
            batch,
        )
    }

    /// A command to be run in the namespace, with the namespace's own view of /sys. Its process id
    /// is that of `program`, since `ip netns exec` replaces itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    /// Writes kernel settings under /proc/sys, each `net/...` path with its value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<(), NetnsError> {
        self.enter(|| {
            for (path, value) in settings {
                let path = Path::new("/proc/sys").join(path);
                std::fs::write(&path, value)
                    .map_err(|source| NetnsError::Sysctl { path, source })?;
            }
            Ok(())
        })?
    }
}

/// The namespaces whose names start with `prefix`.
pub fn list(prefix: &str) -> Vec<Netns> {
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    let mut found: Vec<Netns> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .map(Netns)
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Runs a command to its end; what it wrote to stderr becomes the error.
pub fn run(command: &mut Command) -> Result<Output, NetnsError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| start_error(command, source))?;
    check(command, output)
}

/// As [`run`], with `input` on its stdin.
pub fn feed(command: &mut Command, input: &str) -> Result<(), NetnsError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| start_error(command, source))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that stops reading says why by its exit status, looked at below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|source| start_error(command, source))?;
    check(command, output).map(drop)
}

fn check(command: &Command, output: Output) -> Result<Output, NetnsError> {
    if output.status.success() {
        return Ok(output);
    }
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let message = String::from_utf8_lossy(&output.stderr);
    Err(NetnsError::Command {
        command: words.join(" "),
        message: message.trim().lines().collect::<Vec<_>>().join("; "),
    })
}

fn start_error(command: &Command, source: io::Error) -> NetnsError {
    NetnsError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    }
}
