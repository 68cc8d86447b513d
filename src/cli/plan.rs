//! `rail plan`: what a change would do, before it is made.

use std::fmt::Write as _;
use std::path::Path as FilePath;
use std::process::ExitCode;

use hyper::StatusCode;

use super::store::{StoreArgs, VerbError, exit, head, resolve, short};
use super::{ERROR, OK, diagnostics, output};
use crate::api::{PLAN_PATH, POOL_PATH, Proposal, client};
use crate::control::desired::Desired;
use crate::control::plan::{Plan, ServicePlan};
use crate::pool::{Environment, Pool, describes_rail, parse, parse_pool, read_text, to_toml};

/// Exit code under `--detailed-exitcode`: there is something to do.
const CHANGES: u8 = 2;

/// The command line of `rail plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the pool would become: a configuration file, or a branch or commit of the store
    #[arg(value_name = "FILE|COMMIT")]
    pub to: String,

    /// What it would be changed from: a branch or a commit (default: what runs, or with --store main)
    #[arg(long, value_name = "COMMIT")]
    pub from: Option<String>,

    /// Exit with 0 if there is nothing to do, with 2 if there is
    #[arg(long)]
    pub detailed_exitcode: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub store: StoreArgs,
}

/// Prints the plan.
pub fn run(args: &Args) -> ExitCode {
    exit(plan(args))
}

fn plan(args: &Args) -> Result<u8, VerbError> {
    let file = FilePath::new(&args.to);
    let (is_file, has_store) = (file.is_file(), args.store.store.is_some());
    // A rail without a store can still be asked about a file.
    let desired = match args.store.open() {
        Ok(desired) => Some(desired),
        Err(error) if has_store || !is_file || args.from.is_some() => return Err(error),
        Err(_) => None,
    };
    let new = if is_file {
        match pool_of_file(file)? {
            Some(pool) => pool,
            None => return Ok(ERROR),
        }
    } else {
        let desired = desired
            .as_ref()
            .ok_or_else(|| VerbError::text("there is no store"))?;
        pool_at(desired, &args.to)?
    };
    let plan = match (&args.from, &desired) {
        (Some(from), Some(desired)) => between(&pool_at(desired, from)?, &new)?,
        (None, Some(desired)) if has_store => {
            let main = head(&desired.main())?;
            output::message(&format!("from main at {}", short(&main)));
            between(&pool_at(desired, "main")?, &new)?
        }
        _ => of_running(args, &new)?,
    };
    if args.json {
        let json =
            serde_json::to_value(&plan).map_err(|error| VerbError::text(error.to_string()))?;
        output::result(&format!("{json:#}"));
    } else {
        output::result(&text(&plan));
    }
    Ok(match plan.is_empty() {
        false if args.detailed_exitcode => CHANGES,
        _ => OK,
    })
}

fn between(old: &Pool, new: &Pool) -> Result<Plan, VerbError> {
    Plan::new(old, new).map_err(|error| VerbError::text(error.to_string()))
}

/// The pool of a file; `None` if there is something wrong with it, which has been said.
pub(super) fn pool_of_file(file: &FilePath) -> Result<Option<Pool>, VerbError> {
    let text = read_text(file).map_err(|found| VerbError::text(found.to_string()))?;
    let name = file.display().to_string();
    let parsed = if describes_rail(&text) {
        parse(&text, &name, &Environment::any()).map(|(config, warnings)| (config.pool, warnings))
    } else {
        parse_pool(&text, &name)
    };
    match parsed {
        Ok((pool, warnings)) => {
            diagnostics::show(&warnings);
            Ok(Some(pool))
        }
        Err(found) => {
            diagnostics::show(&found);
            Ok(None)
        }
    }
}

fn pool_at(desired: &Desired, text: &str) -> Result<Pool, VerbError> {
    let commit = resolve(desired, text)?;
    let pool = desired.pool(&commit)?;
    let pool = pool.map_err(|fault| {
        VerbError::text(format!(
            "{text} ({}): {}: {fault}",
            short(&commit),
            fault.message
        ))
    })?;
    Ok(Pool::clone(&pool))
}

/// The plan as the running rail makes it, which knows its connections.
fn of_running(args: &Args, new: &Pool) -> Result<Plan, VerbError> {
    let socket = args.store.rail.find()?;
    let proposal = Proposal {
        file: args.to.clone(),
        text: to_toml(new),
    };
    let body =
        serde_json::to_string(&proposal).map_err(|error| VerbError::text(error.to_string()))?;
    let (status, answer) = client::post(&socket, PLAN_PATH, body)?;
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(&answer);
        return Err(VerbError::text(format!(
            "the rail answers {status} to {PLAN_PATH}: {said}"
        )));
    }
    serde_json::from_slice(&answer).map_err(|error| {
        VerbError::text(format!(
            "the rail's answer makes no sense ({POOL_PATH} shows its pool): {error}"
        ))
    })
}

fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nothing to do".to_owned();
    }
    let mut out = String::new();
    for service in &plan.services {
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{} service {}: {}",
            service.fate.sign(),
            service.name,
            effect(service)
        );
        for backend in &service.backends {
            let _ = writeln!(out, "    {} backend {}", backend.fate.sign(), backend.name);
        }
    }
    for setting in &plan.settings {
        let _ = match (&setting.old, &setting.new) {
            (Some(old), Some(new)) => writeln!(out, "~ {} {old} -> {new}", setting.path),
            (None, Some(new)) => writeln!(out, "+ {} {new}", setting.path),
            (old, None) => writeln!(
                out,
                "- {} {}",
                setting.path,
                old.clone().unwrap_or_default()
            ),
        };
    }
    out
}

/// How much of a service moves.
fn effect(service: &ServicePlan) -> String {
    let percent = 100.0 * service.moved;
    let mut text = match service.moved_slots {
        Some(moved) => format!("{moved} of {} slots move ({percent:.2} %)", service.slots),
        None => format!("{percent:.2} % of the flows move"),
    };
    if let Some(connections) = &service.connections {
        let (live, elsewhere) = (connections.live, connections.pinned_elsewhere);
        let share = |part: u64| 100.0 * part as f64 / live.max(1) as f64;
        let _ = write!(
            text,
            "; of {live} connections {elsewhere} stay pinned elsewhere ({:.2} %), {} are steered anew ({:.2} %)",
            share(elsewhere),
            connections.cut,
            share(connections.cut),
        );
    }
    text
}
