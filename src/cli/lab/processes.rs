//! The programs of a lab: rails, tunnel ends, web servers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::instance::admission;

/// How long a program may take until it answers: generous, since a loaded machine of one core runs
/// them all.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How many lines of its log are shown when a program fails.
const LOG_TAIL: usize = 15;

/// Why a program of the lab does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{who}: {source}")]
    Start { who: String, source: io::Error },
    #[error("{who} {what}; the end of its log:\n{log}")]
    Failed {
        who: String,
        what: String,
        log: String,
    },
}

/// The running programs, each known by host and program name.
#[derive(Debug, Default)]
pub struct Processes(BTreeMap<String, Process>);

#[derive(Debug)]
struct Process {
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// Starts a program with its output in `log`. It gets a process group of its own, so that
    /// Ctrl-C reaches the lab alone, which then ends them all.
    pub fn start(
        &mut self,
        host: &str,
        program: &str,
        mut command: Command,
        log: PathBuf,
    ) -> Result<(), ProcessError> {
        let who = who(host, program);
        let _admitted = admission();
        let started = File::create(&log).and_then(|stdout| {
            let stderr = stdout.try_clone()?;
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
            command.process_group(0).spawn()
        });
        match started {
            Ok(child) => self.0.insert(who, Process { child, log }),
            Err(source) => return Err(ProcessError::Start { who, source }),
        };
        Ok(())
    }

    /// Waits until `ready` says so, as long as the program lives.
    pub fn wait_until(
        &mut self,
        host: &str,
        program: &str,
        ready: impl Fn() -> bool,
    ) -> Result<(), ProcessError> {
        let deadline = Instant::now() + READY;
        while !ready() {
            let what = match self.ended(host, program) {
                Some(status) => format!("ended with {status}"),
                None if Instant::now() > deadline => {
                    format!("was not ready after {} s", READY.as_secs())
                }
                None => {
                    sleep(POLL);
                    continue;
                }
            };
            let (who, log) = (who(host, program), self.log_tail(host, program));
            return Err(ProcessError::Failed { who, what, log });
        }
        Ok(())
    }

    /// How a program ended, if it has.
    pub fn ended(&mut self, host: &str, program: &str) -> Option<ExitStatus> {
        let process = self.0.get_mut(&who(host, program))?;
        process.child.try_wait().ok().flatten()
    }

    /// Ends one program as its operator would: SIGTERM, and wait. `None` if it does not run.
    pub fn stop(&mut self, host: &str, program: &str) -> Option<ExitStatus> {
        let mut process = self.0.remove(&who(host, program))?;
        if let Ok(None) = process.child.try_wait() {
            let pid = i32::try_from(process.child.id()).ok()?;
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok()?;
        }
        process.child.wait().ok()
    }

    /// The end of a program's log, for messages.
    pub fn log_tail(&self, host: &str, program: &str) -> String {
        let process = self.0.get(&who(host, program));
        process.map_or_else(String::new, |process| tail(&process.log))
    }

    /// Takes note of the end of all programs, which somebody else has ended.
    pub fn reap(&mut self) {
        for process in self.0.values_mut() {
            // Nothing can be done about a process that cannot be waited for.
            let _ = process.child.wait();
        }
    }
}

fn who(host: &str, program: &str) -> String {
    format!("{program} on {host}")
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}
