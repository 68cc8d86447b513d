//! A lab that is up: its network, its backends, its rails.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client;
use super::files::{self, FILES, METRICS, PORT, States};
use super::instance::{self, Instance, InstanceError, admission};
use super::netns::{Netns, NetnsError, run};
use super::network;
use super::processes::{ProcessError, Processes};
use super::topology::{Host, ROUTER, Role, Topology, VIP};
use super::tunnel::{self, TunnelEnd};
use crate::cli::output;

/// Why a lab could not be brought up or driven.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Process(#[from] ProcessError),
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
    processes: Processes,
    kept: bool,
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
            processes: Processes::default(),
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
            let netns = lab.netns(&backend.name);
            let ready = || client::answers(&netns, VIP, PORT);
            lab.processes.wait_until(&backend.name, "nginx", ready)?;
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

    /// Starts every rail with the configuration file written for it, and waits until it says that
    /// it is ready.
    pub fn start_rails(&mut self) -> Result<(), LabError> {
        let rails: Vec<String> = self
            .topology
            .rails
            .iter()
            .map(|rail| rail.name.clone())
            .collect();
        for rail in &rails {
            self.launch_rail(rail)?;
        }
        rails.iter().try_for_each(|rail| self.await_rail(rail))
    }

    /// Starts one rail again that has ended, and waits until it says that it is ready.
    pub fn start_rail(&mut self, rail: &str) -> Result<(), LabError> {
        self.launch_rail(rail)?;
        self.await_rail(rail)
    }

    fn launch_rail(&mut self, rail: &str) -> Result<(), LabError> {
        let mut command = self.netns(rail).command(&self.rail);
        command
            .args(["run", "--config"])
            .arg(self.rail_config(rail));
        Ok(self.start(rail, "rail", command)?)
    }

    fn await_rail(&mut self, rail: &str) -> Result<(), LabError> {
        let netns = self.netns(rail);
        let ready = || client::healthy(&netns, METRICS);
        self.processes.wait_until(rail, "rail", ready)?;
        // Through the host's interface, whose own subnet is the rails'.
        let gateway = Role::Rail.gateway();
        netns.ip(&format!("route replace default via {gateway} dev rail0\n"))?;
        Ok(())
    }

    /// Ends a rail as a crash would: SIGKILL, and wait.
    pub fn kill_rail(&mut self, rail: &str) -> Result<(), LabError> {
        for pid in self.netns(rail).pids()? {
            // It may have ended since it was listed.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.processes.stop(rail, "rail");
        Ok(())
    }

    /// Writes the configurations anew and has every rail take its own by `rail apply`; returns when
    /// all have.
    pub fn apply(&self, states: &States) -> Result<(), LabError> {
        self.write_configs(states)?;
        for rail in &self.topology.rails {
            let config = self.rail_config(&rail.name);
            run(Command::new(&self.rail).arg("apply").arg(config))?;
        }
        Ok(())
    }

    /// Ends one program of a host (`rail`, `nginx` or `tunnel-end`) as its operator would: SIGTERM,
    /// and wait. `None` if it does not run.
    pub fn stop(&mut self, host: &str, program: &str) -> Option<ExitStatus> {
        self.processes.stop(host, program)
    }

    /// The end of a program's log, for messages.
    pub fn log_tail(&self, host: &str, program: &str) -> String {
        self.processes.log_tail(host, program)
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
        // Waits here for ever if the process is on its way out: whoever closed admission removes
        // the lab.
        let _admitted = admission();
        let result = instance::remove(self.name());
        self.processes.reap();
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
        Ok(self.start(&backend.name, "nginx", command)?)
    }

    fn start(&mut self, host: &str, program: &str, command: Command) -> Result<(), ProcessError> {
        let log = self.instance.dir().join(format!("{host}.{program}.log"));
        self.processes.start(host, program, command, log)
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

fn write(path: PathBuf, text: &str) -> Result<(), LabError> {
    fs::write(&path, text).map_err(|source| LabError::File { path, source })
}
