//! `rail lab`: rails, a router with an ECMP route, clients and backends in network namespaces on
//! one machine. No NIC and no hugepages are needed, only root.
//!
//! [`Lab`] is the same for programs: the end-to-end tests bring it up and look into it.

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::Subcommand;
use miette::{IntoDiagnostic as _, Result, WrapErr as _, miette};

pub mod client;
mod demo;
pub mod files;
mod instance;
mod interrupt;
pub mod load;
pub mod netns;
mod network;
pub mod probe;
mod processes;
mod running;
pub mod topology;
mod tunnel;

pub use running::{Lab, LabError, Options, remove_leftovers};
pub use topology::Topology;
pub use tunnel::TunnelEnd;

use super::output;
use instance::Owner;
use topology::MAX_HOSTS;

/// The exit code of a command that could not be run, as shells have it.
const NOT_RUN: u8 = 127;
/// How often `up` looks whether `down` took its lab away.
const POLL: Duration = Duration::from_millis(200);

/// `rail lab`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs of `rail lab`.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Brings a lab up and keeps it until interrupted
    Up {
        #[command(flatten)]
        size: Size,
        /// Leave it up and return; `rail lab down` removes it
        #[arg(long)]
        keep: bool,
    },
    /// Brings a lab up, shows what the rails do with real requests, and removes it
    Demo {
        #[command(flatten)]
        size: Size,
        /// Leave it up afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Removes a lab, or every lab that nobody is in front of
    Down {
        /// The lab to be removed, whoever is in front of it
        #[arg(long)]
        name: Option<String>,
    },
    /// Runs a command on a host of the lab
    Exec {
        /// The lab; not needed while there is only one
        #[arg(long)]
        name: Option<String>,
        /// client-1, router, rail-a, web-1 and so on
        host: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Decapsulates GRE and IPIP packets into a tun device
    #[command(hide = true)]
    TunnelEnd {
        /// The address they are sent to
        #[arg(long)]
        local: std::net::IpAddr,
    },
}

/// What a lab consists of.
#[derive(Debug, clap::Args)]
struct Size {
    /// The lab's name; the first free of lab1, lab2 and so on by default
    #[arg(long)]
    name: Option<String>,
    #[arg(long, default_value_t = 2, value_parser = count())]
    clients: u8,
    #[arg(long, default_value_t = 2, value_parser = count())]
    rails: u8,
    #[arg(long, default_value_t = 3, value_parser = count())]
    backends: u8,
    /// Who decapsulates on the backends; by default the kernel if it can
    #[arg(long)]
    tunnel: Option<TunnelEnd>,
}

/// How many hosts of one kind a lab may have.
fn count() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(1..=i64::from(MAX_HOSTS))
}

impl Size {
    fn options(&self) -> Result<Options> {
        Ok(Options {
            name: self.name.clone(),
            topology: Topology::new(self.clients, self.rails, self.backends),
            rail: std::env::current_exe()
                .into_diagnostic()
                .wrap_err("finding this program")?,
            tunnel: self.tunnel,
        })
    }
}

/// Runs a verb of `rail lab`.
pub fn run(args: &Args) -> ExitCode {
    dispatch(&args.verb).unwrap_or_else(|report| {
        output::message(&format!("{report:?}"));
        ExitCode::FAILURE
    })
}

fn dispatch(verb: &Verb) -> Result<ExitCode> {
    let tunnel_end = matches!(verb, Verb::TunnelEnd { .. });
    if !tunnel_end && !nix::unistd::geteuid().is_root() {
        return Err(miette!(
            help = "run it with sudo",
            "rail lab needs root: it makes network namespaces and interfaces"
        ));
    }
    match verb {
        Verb::Up { size, keep } => up(size.options()?, *keep),
        Verb::Demo { size, keep } => demo::run(size.options()?, *keep),
        Verb::Down { name } => down(name.as_deref()),
        Verb::Exec {
            name,
            host,
            command,
        } => exec(name.as_deref(), host, command),
        Verb::TunnelEnd { local } => {
            tunnel::run(*local)
                .into_diagnostic()
                .wrap_err("tunnel end")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(options: Options, keep: bool) -> Result<ExitCode> {
    interrupt::install().into_diagnostic()?;
    let mut lab = Lab::up(options).into_diagnostic()?;
    lab.write_configs(&files::States::new()).into_diagnostic()?;
    lab.start_rails().into_diagnostic()?;
    output::result(&format!("{}\n", lab.topology.drawing()));
    output::result(&format!(
        "lab {} is up; backends receive by {}",
        lab.name(),
        lab.tunnel
    ));
    output::result(&format!(
        "try: rail lab exec --name {} client-1 -- curl -s http://{}/",
        lab.name(),
        topology::VIP
    ));
    if keep {
        lab.keep().into_diagnostic()?;
        output::result(&format!("remove it: rail lab down --name {}", lab.name()));
        return Ok(ExitCode::SUCCESS);
    }
    output::result("Ctrl-C removes it");
    while lab.is_there() {
        sleep(POLL);
    }
    Ok(ExitCode::SUCCESS)
}

fn down(name: Option<&str>) -> Result<ExitCode> {
    let labs = instance::existing().into_diagnostic()?;
    let chosen: Vec<&str> = labs
        .iter()
        .filter(|(lab, owner)| match name {
            Some(name) => lab == name,
            None => *owner != Owner::Process,
        })
        .map(|(lab, _)| lab.as_str())
        .collect();
    if let (Some(name), []) = (name, chosen.as_slice()) {
        return Err(miette!(
            "{}",
            instance::InstanceError::Missing(name.to_owned())
        ));
    }
    for lab in chosen {
        instance::remove(lab).into_diagnostic()?;
        output::result(&format!("lab {lab} is removed"));
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(name: Option<&str>, host: &str, command: &[String]) -> Result<ExitCode> {
    let labs = instance::existing().into_diagnostic()?;
    let lab = match (name, labs.as_slice()) {
        (Some(name), _) => name,
        (None, [(only, _)]) => only,
        (None, []) => return Err(miette!(help = "rail lab up", "no lab is up")),
        (None, _) => {
            let names: Vec<&str> = labs.iter().map(|(lab, _)| lab.as_str()).collect();
            return Err(miette!("say which lab by --name: {}", names.join(", ")));
        }
    };
    let netns = instance::host(lab, host).into_diagnostic()?;
    let [program, arguments @ ..] = command else {
        return Err(miette!("no command is given"));
    };
    let error = netns.command(program).args(arguments).exec();
    output::message(&format!("ip netns exec: {error}"));
    Ok(ExitCode::from(NOT_RUN))
}
