//! The verbs of `rail`, one file each.
//!
//! A verb is a variant of [`Command`] that holds the verb's own `clap::Args`, and a function
//! `run(&args) -> ExitCode` beside them. Results go to standard output, everything about what went
//! wrong to standard error.

pub mod apply;
pub mod bench;
pub mod check;
pub mod diagnostics;
pub mod lab;
pub mod output;
pub mod replay;
pub mod run;
pub mod show;
pub mod socket;
pub mod table;
pub mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code: done, or nothing wrong.
pub const OK: u8 = 0;
/// Exit code: the verb failed, or what it looked at is wrong.
pub const ERROR: u8 = 1;
/// Exit code: the command line makes no sense; `clap` exits with this too.
pub const USAGE: u8 = 2;
/// Exit code of a comparison that cannot be made: `git bisect run` skips such a commit.
pub const CANNOT_TELL: u8 = 125;

/// The command line of `rail`.
#[derive(Debug, Parser)]
#[command(
    name = "rail",
    version,
    about = "A layer-4 load balancer",
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give a running rail another configuration
    Apply(apply::Args),
    /// Measure what the packet path costs on this machine; needs no NIC
    Bench(bench::Args),
    /// Check a configuration file
    Check(check::Args),
    /// Rails, a router, clients and backends in network namespaces on this machine
    Lab(lab::Args),
    /// Run a capture through the packet path, and write what would leave
    Replay(replay::Args),
    /// Run the rail
    Run(run::Args),
    /// Show the Maglev tables of a configuration
    Table(table::Args),
    /// Tell which backend a flow goes to, and why
    Trace(trace::Args),
    /// Show what a running rail has and does
    Show(show::Args),
}

/// Reads the command line and does what it says. Ends the process with [`USAGE`] if that makes no
/// sense, and after `--help` and `--version`.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Apply(args) => apply::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Show(args) => show::run(&args),
    }
}
