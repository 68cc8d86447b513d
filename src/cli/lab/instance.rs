//! One lab on this machine: its name, its state directory, and how it is taken away again.
//!
//! A lab is found by its name alone: every namespace starts with `rr-NAME.`, every process lives in
//! one of them, every file lies under `/run/rustyrail-lab/NAME`. So it can be removed completely
//! by another process, after a crash too, without trusting a list of process ids that may be stale.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::{self, Netns, NetnsError};

/// Where labs keep their files: gone after a reboot, as the namespaces are.
const STATE_DIR: &str = "/run/rustyrail-lab";
/// Held while labs are claimed or listed, so that none is seen half made.
const STATE_LOCK: &str = ".lock";
/// The file whose lock the process in front of a lab holds as long as it lives.
const OWNER: &str = "owner";
/// Present when a lab was started with `--keep`.
const KEPT: &str = "kept";
/// How long processes have to end by themselves before they are killed. A rail drains its ports
/// well within it.
const GRACE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);
/// A name becomes part of namespace names; 16 bytes keep listings readable.
const MAX_NAME: usize = 16;

/// Why a lab could not be claimed or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("`{0}` is no name for a lab: use 1 to {MAX_NAME} of a-z, 0-9 and -")]
    BadName(String),
    #[error("a lab named {0} exists already; `rail lab down --name {0}` removes it")]
    Exists(String),
    #[error("no lab named {0} exists")]
    Missing(String),
    #[error("lab {lab} has no host {host}; it has {known}")]
    NoHost {
        lab: String,
        host: String,
        known: String,
    },
    #[error("{path}: {source}")]
    State { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Who stands behind a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A living process, which removes the lab when it ends.
    Process,
    /// Nobody, as asked for by `--keep`.
    Kept,
    /// Nobody any more: the process was killed before it could clean up.
    Gone,
}

/// A lab this process owns: holds the lock that tells others so.
#[derive(Debug)]
pub struct Instance {
    name: String,
    _owner: File,
}

/// Closed by [`close_admission`], for good, when the process is about to take its labs away:
/// nothing new may appear in them from then on.
static ADMISSION: RwLock<()> = RwLock::new(());

/// The labs that are to be removed when this process ends.
static OWNED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Instance {
    /// Claims a name, or the first free one of `lab1`, `lab2` and so on.
    pub fn claim(name: Option<&str>) -> Result<Self, InstanceError> {
        if let Some(name) = name
            && !is_valid(name)
        {
            return Err(InstanceError::BadName(name.to_owned()));
        }
        let _admitted = admission();
        let _lock = state_lock()?;
        match name {
            Some(name) => Self::create(name)?.ok_or_else(|| InstanceError::Exists(name.to_owned())),
            None => {
                let mut numbers = 1..;
                loop {
                    let number: u32 = numbers.next().unwrap_or_default();
                    if let Some(instance) = Self::create(&format!("lab{number}"))? {
                        return Ok(instance);
                    }
                }
            }
        }
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the lab's files are.
    pub fn dir(&self) -> PathBuf {
        dir(&self.name)
    }

    /// The namespace of one host.
    pub fn netns(&self, host: &str) -> Netns {
        Netns::named(prefix(&self.name) + host)
    }

    /// Marks the lab as meant to outlive this process.
    pub fn keep(&self) -> Result<(), InstanceError> {
        at(self.dir().join(KEPT), |path| File::create(path).map(drop))?;
        owned().retain(|name| *name != self.name);
        Ok(())
    }

    /// `None` when the name is taken.
    fn create(name: &str) -> Result<Option<Self>, InstanceError> {
        let dir = dir(name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(InstanceError::State { path: dir, source }),
            Ok(()) => {}
        }
        let owner = at(dir.join(OWNER), |path| {
            let file = File::create(path)?;
            file.lock()?;
            Ok(file)
        })?;
        owned().push(name.to_owned());
        Ok(Some(Self {
            name: name.to_owned(),
            _owner: owner,
        }))
    }
}

/// Held while a namespace or a process is made; waits for ever once admission is closed.
pub fn admission() -> RwLockReadGuard<'static, ()> {
    ADMISSION.read().unwrap_or_else(PoisonError::into_inner)
}

/// Lets nothing new appear in any lab of this process, until it ends.
pub fn close_admission() {
    std::mem::forget(ADMISSION.write());
}

/// The namespace of a host of any lab on this machine.
pub fn host(lab: &str, host: &str) -> Result<Netns, InstanceError> {
    let prefix = prefix(lab);
    let namespaces = netns::list(&prefix);
    let wanted = format!("{prefix}{host}");
    if namespaces.is_empty() {
        return Err(InstanceError::Missing(lab.to_owned()));
    }
    namespaces
        .iter()
        .find(|netns| netns.name() == wanted)
        .cloned()
        .ok_or_else(|| {
            let known: Vec<&str> = namespaces
                .iter()
                .filter_map(|netns| netns.name().strip_prefix(&prefix))
                .collect();
            InstanceError::NoHost {
                lab: lab.to_owned(),
                host: host.to_owned(),
                known: known.join(", "),
            }
        })
}

/// Removes every lab this process owns and has not kept.
pub fn remove_owned() -> Result<(), InstanceError> {
    let names = owned().clone();
    names.iter().try_for_each(|name| remove(name))
}

/// The labs on this machine, by name, and who is behind them.
pub fn existing() -> Result<Vec<(String, Owner)>, InstanceError> {
    let _lock = state_lock()?;
    let entries = at(PathBuf::from(STATE_DIR), |path| fs::read_dir(path))?;
    let mut labs: Vec<(String, Owner)> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_valid(name))
        .map(|name| {
            let owner = owner(&dir(&name));
            (name, owner)
        })
        .collect();
    labs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(labs)
}

/// Ends every process of a lab, removes its namespaces and its files. Works on what is there, so a
/// lab half made or half removed is fine; goes on after an error and returns the first.
pub fn remove(name: &str) -> Result<(), InstanceError> {
    let namespaces = netns::list(&prefix(name));
    end_processes(&namespaces);
    let mut first_error = None;
    for namespace in &namespaces {
        if let Err(error) = namespace.delete() {
            first_error.get_or_insert(error);
        }
    }
    match fs::remove_dir_all(dir(name)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(InstanceError::State {
                path: dir(name),
                source,
            });
        }
        _ => {}
    }
    first_error.map_or(Ok(()), |error| Err(error.into()))
}

/// Asks every process in the namespaces to end, and kills those that have not after [`GRACE`].
///
/// Looks twice at least: a process that is just being started enters its namespace a moment after
/// it exists.
fn end_processes(namespaces: &[Netns]) {
    let deadline = Instant::now() + GRACE;
    let mut signal = Signal::SIGTERM;
    let mut asked = Vec::new();
    let mut seen_empty = false;
    loop {
        // A namespace that is gone, since somebody else removes this lab too, has no processes.
        let alive: Vec<i32> = namespaces
            .iter()
            .flat_map(|namespace| namespace.pids().unwrap_or_default())
            .collect();
        // What a kill does not end hangs in the kernel; its namespace can be removed all the same.
        let hopeless = Instant::now() > deadline + GRACE;
        if hopeless || alive.is_empty() && seen_empty {
            return;
        }
        seen_empty = alive.is_empty();
        if Instant::now() > deadline && signal != Signal::SIGKILL {
            signal = Signal::SIGKILL;
            asked.clear();
        }
        for pid in alive {
            if !asked.contains(&pid) {
                // It may have ended since it was listed, which is all we want.
                let _ = kill(Pid::from_raw(pid), signal);
                asked.push(pid);
            }
        }
        sleep(POLL);
    }
}

fn owned() -> MutexGuard<'static, Vec<String>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owner(dir: &Path) -> Owner {
    let locked = File::open(dir.join(OWNER)).is_ok_and(|file| file.try_lock_shared().is_err());
    match (locked, dir.join(KEPT).exists()) {
        (true, _) => Owner::Process,
        (false, true) => Owner::Kept,
        (false, false) => Owner::Gone,
    }
}

fn state_lock() -> Result<File, InstanceError> {
    at(PathBuf::from(STATE_DIR), |path| fs::create_dir_all(path))?;
    at(Path::new(STATE_DIR).join(STATE_LOCK), |path| {
        let file = File::create(path)?;
        file.lock()?;
        Ok(file)
    })
}

fn is_valid(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What the names of a lab's namespaces start with. It ends in a byte that names cannot contain, so
/// that no lab's prefix covers the namespaces of another.
fn prefix(name: &str) -> String {
    format!("rr-{name}.")
}

fn dir(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}

fn at<T>(path: PathBuf, work: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, InstanceError> {
    work(&path).map_err(|source| InstanceError::State { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("lab1", true),
            ("a-b", true),
            ("", false),
            ("../etc", false),
            ("a.b", false),
            ("Upper", false),
            ("abcdefghijklmnopq", false),
        ] {
            assert_eq!(is_valid(name), expected, "{name:?}");
        }
    }

    #[test]
    fn no_lab_is_a_prefix_of_another() {
        assert!(!prefix("a-b").starts_with(&prefix("a")));
        assert!(!prefix("lab10").starts_with(&prefix("lab1")));
    }
}
