//! The verbs of `rail`, one file each.
//!
//! A verb is a variant of [`Command`] that holds the verb's own `clap::Args`, and a function
//! `run(&args) -> ExitCode` beside them. Results go to standard output, everything about what went
//! wrong to standard error.

pub mod apply;
pub mod bench;
pub mod branch;
pub mod check;
pub mod check_push;
pub mod confirm;
pub mod diagnostics;
pub mod diff;
pub mod export;
pub mod import;
pub mod lab;
pub mod log;
pub mod ls;
pub mod merge;
pub mod output;
pub mod plan;
pub mod read;
pub mod replay;
pub mod revert;
pub mod rm;
pub mod run;
pub mod show;
pub mod socket;
pub mod squash;
pub mod store;
pub mod sync;
pub mod table;
pub mod trace;
pub mod txn;
pub mod watch;
pub mod write;

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
    /// List, make or delete branches of the store
    Branch(branch::Args),
    /// Which values differ between two states of the store
    Diff(diff::Args),
    /// What changed in the store: when, by whom, why
    Log(log::Args),
    /// Write a slice of the store's history into a file
    Export(export::Args),
    /// Take over a slice of history from a file
    Import(import::Args),
    /// List a directory of the store
    Ls(ls::Args),
    /// Merge a branch or a commit, and settle conflicts
    Merge(merge::Args),
    /// Read a value of the store
    Read(read::Args),
    /// Undo what a commit changed, keep everything since
    Revert(revert::Args),
    /// Remove a value or a directory from the store
    Rm(rm::Args),
    /// Forget old history
    Squash(squash::Args),
    /// Several reads and writes at once, or not at all
    Txn(txn::Args),
    /// Tell every change of the store as it happens
    Watch(watch::Args),
    /// Set a value of the store
    Write(write::Args),
    /// Keep a change that was made with `rail apply --confirm`
    Confirm(confirm::Args),
    /// What a change of the pool would do
    Plan(plan::Args),
    /// What a repository's hook asks about a push
    #[command(hide = true)]
    CheckPush,
    /// Bring in what other rails' stores have
    Sync(sync::Args),
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
        Command::Branch(args) => branch::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Revert(args) => revert::run(&args),
        Command::Rm(args) => rm::run(&args),
        Command::Squash(args) => squash::run(&args),
        Command::Txn(args) => txn::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Write(args) => write::run(&args),
        Command::Confirm(args) => confirm::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::CheckPush => check_push::run(),
        Command::Sync(args) => sync::run(&args),
        Command::Show(args) => show::run(&args),
    }
}
