//! `rail check FILE`: everything that is wrong with a configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{ERROR, OK, diagnostics, output};
use crate::pool::{Config, Environment, cpu_list, load_for};

/// The command line of `rail check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print the findings as a JSON array
    #[arg(long)]
    pub json: bool,

    /// Cores of the machine the file is for, as in 0-7,16 (default: those of this machine)
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    pub cpus: Option<Cpus>,
}

/// A list of cores; a type of its own, since `clap` takes a `Vec` for a repeated argument.
#[derive(Debug, Clone)]
pub struct Cpus(Vec<usize>);

/// Checks the file. Exits with [`OK`] when a rail would take it, warnings or not, with [`ERROR`]
/// when not.
pub fn run(args: &Args) -> ExitCode {
    let environment = match &args.cpus {
        Some(Cpus(cpus)) => Environment::with_cpus(cpus.iter().copied()),
        None => Environment::this_machine(),
    };
    let (config, found) = match load_for(&args.file, &environment) {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(found) => (None, found),
    };
    if args.json {
        output::result(&format!("{:#}", diagnostics::to_json(&found)));
    } else {
        diagnostics::show(&found);
        let file = args.file.display();
        match &config {
            Some(config) if found.is_empty() => {
                output::result(&format!("{file}: ok: {}", summary(config)));
            }
            Some(config) => {
                let count = diagnostics::count(&found);
                output::result(&format!("{file}: ok with {count}: {}", summary(config)));
            }
            None => output::message(&format!("{file}: {}", diagnostics::count(&found))),
        }
    }
    ExitCode::from(if config.is_some() { OK } else { ERROR })
}

/// What the file describes, in a few words.
fn summary(config: &Config) -> String {
    let number = |number: usize, what: &str| {
        let ending = if number == 1 { "" } else { "s" };
        format!("{number} {what}{ending}")
    };
    let services = &config.pool.services;
    [
        format!("rail {}", config.node.name),
        number(config.node.workers.len(), "worker"),
        number(config.ports.len(), "port"),
        number(services.len(), "service"),
        number(
            services.iter().map(|service| service.backends.len()).sum(),
            "backend",
        ),
    ]
    .join(", ")
}

fn cpus(text: &str) -> Result<Cpus, &'static str> {
    cpu_list(text)
        .map(Cpus)
        .ok_or("not a list of cores, as in 0-7,16")
}
