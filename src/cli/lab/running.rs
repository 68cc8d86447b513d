//! A lab that is up: its network, its backends, its rails.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::client;
use super::files::{self, FILES, METRICS, PORT, States};
use super::instance::{self, Instance, InstanceError, admission};
use super::netns::{Netns, NetnsError, run};
use super::network;
use super::topology::{Host, ROUTER, Topology, VIP};
use super::tunnel::{self, TunnelEnd};
use crate::cli::output;

/// How long a program of the lab may take until it answers: generous, since a loaded machine of one
/// core runs them all.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How many lines of its log are shown when a program fails.
const LOG_TAIL: usize = 15;

/// Why a lab could not be brought up or driven.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{program} on {host} could not be started: {source}")]
    Start {
        program: String,
        host: String,
        source: io::Error,
    },
    #[error("{program} on {host} {what}; the end of its log:\n{log}")]
    Program {
        program: String,
        host: String,
        what: String,
        log: String,
    },
}

/// What to bring up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's name; the first free `labN` by default.
    pub name: Option<String>,
    pub topology: Topology,
    /// The `rail` binary that the rails and the tunnel ends run.
    pub rail: PathBuf,
    /// Which tunnel end the backends get; by default the kernel's where it has one.
    pub tunnel: Option<TunnelEnd>,
}

/// A lab that is up. Dropped, it is taken away, unless [`Lab::keep`] was called.
#[derive(Debug)]
pub struct Lab {
    instance: Instance,
    pub topology: Topology,
    pub tunnel: TunnelEnd,
    rail: PathBuf,
    processes: BTreeMap<(String, String), Process>,
    kept: bool,
}

#[derive(Debug)]
struct Process {
    child: Child,
    log: PathBuf,
}

impl Lab {
    /// Builds the network and starts the backends; returns when they answer. Rails are started
    /// apart: see [`Lab::start_rails`].
    pub fn up(options: Options) -> Result<Self, LabError> {
        remove_leftovers()?;
        let instance = Instance::claim(options.name.as_deref())?;
        let mut lab = Self {
            instance,
            topology: options.topology,
            tunnel: options.tunnel.unwrap_or(TunnelEnd::Userspace),
            rail: options.rail,
            processes: BTreeMap::new(),
            kept: false,
        };
        let topology = lab.topology.clone();
        network::build(&lab.instance, &topology)?;
        lab.tunnel = match options.tunnel {
            Some(tunnel) => tunnel,
            None => TunnelEnd::of_this_kernel(&lab.netns(ROUTER))?,
        };
        for backend in &topology.backends {
            lab.start_backend(backend)?;
        }
        for backend in &topology.backends {
            lab.wait("nginx", &backend.name, |netns| {
                client::answers(netns, VIP, PORT)
            })?;
        }
        Ok(lab)
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        self.instance.name()
    }

    /// Whether it still exists: somebody else may have taken it away.
    pub fn is_there(&self) -> bool {
        self.instance.dir().exists()
    }

    /// The namespace of a host.
    pub fn netns(&self, host: &str) -> Netns {
        self.instance.netns(host)
    }

    /// Where a rail's configuration file is.
    pub fn rail_config(&self, rail: &str) -> PathBuf {
        self.instance.dir().join(format!("{rail}.toml"))
    }

    /// Where a rail's control socket is.
    pub fn rail_socket(&self, rail: &str) -> PathBuf {
        self.instance.dir().join(format!("{rail}.sock"))
    }

    /// A command of the `rail` binary itself.
    pub fn rail(&self) -> Command {
        Command::new(&self.rail)
    }

    /// Writes the configuration of every rail, with all backends `up` but those in `states`.
    pub fn write_configs(&self, states: &States) -> Result<(), LabError> {
        let mut cores: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .iter()
            .map(|core| core.id)
            .collect();
        if cores.is_empty() {
            cores.push(0);
        }
        for (index, rail) in self.topology.rails.iter().enumerate() {
            let socket = self.rail_socket(&rail.name);
            let text = files::rail_config(&self.topology, index, &cores, &socket, states);
            write(self.rail_config(&rail.name), &text)?;
        }
        Ok(())
    }

    /// Starts every rail with the configuration file written for it, and waits until it says that it is ready.
    pub fn start_rails(&mut self) -> Result<(), LabError> {
        let rails: Vec<String> = self
            .topology
            .rails
            .iter()
            .map(|rail| rail.name.clone())
            .collect();
        for rail in &rails {
            let mut command = self.netns(rail).command(&self.rail);
            command
                .args(["run", "--config"])
                .arg(self.rail_config(rail));
            self.start(rail, "rail", command)?;
        }
        for rail in &rails {
            self.wait("rail", rail, |netns| client::healthy(netns, METRICS))?;
        }
        Ok(())
    }

    /// Writes the configurations anew and has every rail take its own by `rail apply`; returns when all have.
    pub fn apply(&self, states: &States) -> Result<(), LabError> {
        self.write_configs(states)?;
        for rail in &self.topology.rails {
            let config = self.rail_config(&rail.name);
            run(Command::new(&self.rail).arg("apply").arg(config))?;
        }
        Ok(())
    }

    /// Ends one program of a host, as its operator would: SIGTERM, and wait.
    pub fn stop(&mut self, host: &str, program: &str) -> Result<(), LabError> {
        let key = (host.to_owned(), program.to_owned());
        if let Some(mut process) = self.processes.remove(&key) {
            terminate(&mut process.child).map_err(|source| LabError::Start {
                program: key.1,
                host: key.0,
                source,
            })?;
        }
        Ok(())
    }

    /// The end of a program's log, for messages.
    pub fn log_tail(&self, host: &str, program: &str) -> String {
        self.processes
            .get(&(host.to_owned(), program.to_owned()))
            .map_or_else(String::new, |process| tail(&process.log))
    }

    /// Leaves the lab up when this value is dropped and when the process ends.
    pub fn keep(&mut self) -> Result<(), LabError> {
        self.instance.keep()?;
        self.kept = true;
        Ok(())
    }

    /// Takes the lab away now, and says when that failed.
    pub fn down(mut self) -> Result<(), LabError> {
        self.kept = true;
        Ok(self.remove()?)
    }

    fn remove(&mut self) -> Result<(), InstanceError> {
        // Waits here for ever if the process is on its way out: whoever closed admission removes the lab.
        let _admitted = admission();
        let result = instance::remove(self.name());
        for process in self.processes.values_mut() {
            let _ = process.child.wait();
        }
        result
    }

    fn start_backend(&mut self, backend: &Host) -> Result<(), LabError> {
        let netns = self.netns(&backend.name);
        if let Some(command) = tunnel::set_up(self.tunnel, &netns, backend.address, &self.rail)? {
            self.start(&backend.name, "tunnel-end", command)?;
        }
        let dir = self.instance.dir().join(&backend.name);
        let files = dir.join(FILES).join("files");
        fs::create_dir_all(&files).map_err(|source| LabError::File {
            path: files,
            source,
        })?;
        let large = files::large_file(&dir);
        File::create(&large)
            .and_then(|file| file.set_len(files::LARGE_FILE_SIZE))
            .map_err(|source| LabError::File {
                path: large,
                source,
            })?;
        let config = dir.join("nginx.conf");
        write(config.clone(), &files::nginx_config(&backend.name))?;
        let mut command = netns.command("nginx");
        command
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr"]);
        self.start(&backend.name, "nginx", command)
    }

    /// Starts a program of the lab, with its output in a log file. It gets a process group of its
    /// own, so that Ctrl-C reaches the lab alone, which then ends them in order.
    fn start(&mut self, host: &str, program: &str, mut command: Command) -> Result<(), LabError> {
        let log = self.instance.dir().join(format!("{host}.{program}.log"));
        let file = File::create(&log).map_err(|source| LabError::File {
            path: log.clone(),
            source,
        })?;
        let _admitted = admission();
        let child = file
            .try_clone()
            .and_then(|stderr| {
                command
                    .stdin(Stdio::null())
                    .stdout(file)
                    .stderr(stderr)
                    .process_group(0)
                    .spawn()
            })
            .map_err(|source| LabError::Start {
                program: program.to_owned(),
                host: host.to_owned(),
                source,
            })?;
        self.processes.insert(
            (host.to_owned(), program.to_owned()),
            Process { child, log },
        );
        Ok(())
    }

    /// Waits until `ready` says so of the host's namespace, as long as the program lives.
    fn wait(
        &mut self,
        program: &str,
        host: &str,
        ready: impl Fn(&Netns) -> bool,
    ) -> Result<(), LabError> {
        let netns = self.netns(host);
        let deadline = Instant::now() + READY;
        let key = (host.to_owned(), program.to_owned());
        while !ready(&netns) {
            let process = self.processes.get_mut(&key);
            let ended = process.and_then(|process| process.child.try_wait().ok().flatten());
            let what = match ended {
                Some(status) => format!("ended with {status}"),
                None if Instant::now() > deadline => {
                    format!("was not ready after {} s", READY.as_secs())
                }
                None => {
                    sleep(POLL);
                    continue;
                }
            };
            let log = self.log_tail(host, program);
            return Err(LabError::Program {
                program: key.1,
                host: key.0,
                what,
                log,
            });
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.remove()
        {
            output::message(&format!(
                "lab {} is not completely removed: {error}",
                self.name()
            ));
        }
    }
}

/// Removes the labs whose process was killed before it could do so.
pub fn remove_leftovers() -> Result<(), InstanceError> {
    for (name, owner) in instance::existing()? {
        if owner == instance::Owner::Gone {
            instance::remove(&name)?;
        }
    }
    Ok(())
}

fn terminate(child: &mut Child) -> io::Result<()> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    if child.try_wait()?.is_none() {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        child.wait()?;
    }
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<(), LabError> {
    fs::write(&path, text).map_err(|source| LabError::File { path, source })
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}
