//! `rail table`: the Maglev tables of a configuration, for people and for whoever wants to check them.

use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::CellAlignment;
use serde_json::{Map, Value, json};

use super::{ERROR, OK, diagnostics, output};
use crate::control::compile::{CompileError, by_name, maglev};
use crate::pool::{Config, Environment, Service, load_for};
use crate::table::maglev::Maglev;

/// The command line of `rail table`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Only this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// Print everything, the slots included, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the tables.
pub fn run(args: &Args) -> ExitCode {
    let config = match load_for(&args.config, &Environment::any()) {
        // Warnings are `rail check`'s to show.
        Ok((config, _)) => config,
        Err(found) => {
            diagnostics::show(&found);
            return ExitCode::from(ERROR);
        }
    };
    match show(&config, args) {
        Ok(text) => {
            output::result(&text);
            ExitCode::from(OK)
        }
        Err(error) => {
            output::message(&format!("error: {error}"));
            ExitCode::from(ERROR)
        }
    }
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error("no service is called \"{wanted}\"; there {known}")]
    NoService { wanted: String, known: String },
    #[error(transparent)]
    Compile(#[from] CompileError),
}

fn show(config: &Config, args: &Args) -> Result<String, TableError> {
    let tables = wanted(config, args.service.as_deref())?
        .into_iter()
        .map(|service| Ok((service, maglev(&config.pool, service)?)))
        .collect::<Result<Vec<_>, TableError>>()?;
    if args.json {
        let services: Vec<_> = tables.iter().map(|(s, table)| to_json(s, table)).collect();
        return Ok(json!({ "services": services }).to_string());
    }
    if tables.is_empty() {
        return Ok("no services".to_owned());
    }
    let texts: Vec<_> = tables.iter().map(|(s, table)| to_text(s, table)).collect();
    Ok(texts.join("\n\n"))
}

fn wanted<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Service>, TableError> {
    let services = &config.pool.services;
    let Some(name) = name else {
        return Ok(services.iter().collect());
    };
    match services.iter().find(|s| s.name.as_str() == name) {
        Some(service) => Ok(vec![service]),
        None => Err(TableError::NoService {
            wanted: name.to_owned(),
            known: known(services),
        }),
    }
}

/// "are web and dns", for a message that begins with "there".
fn known(services: &[Service]) -> String {
    let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
    match names.as_slice() {
        [] => "are none".to_owned(),
        [one] => format!("is {one}"),
        [first @ .., last] => format!("are {} and {last}", first.join(", ")),
    }
}

/// `slots` are indices into `backends`, which is in name order, whatever the order of the file.
fn to_json(service: &Service, table: &Maglev) -> Value {
    let names: Vec<_> = by_name(service).iter().map(|b| b.name.as_str()).collect();
    let shares: Map<_, _> = names
        .iter()
        .zip(table.shares())
        .map(|(name, share)| ((*name).to_owned(), json!(share)))
        .collect();
    json!({
        "name": service.name.as_str(),
        "m": table.size().get(),
        "digest": table.digest().to_string(),
        "backends": names,
        "shares": shares,
        "slots": table.slots().iter().collect::<Vec<_>>(),
    })
}

fn to_text(service: &Service, table: &Maglev) -> String {
    let mut rows = output::table(&["backend", "weight", "state", "slots", "share"]);
    let size = f64::from(table.size().get());
    for (backend, &share) in by_name(service).into_iter().zip(table.shares()) {
        rows.add_row([
            backend.name.to_string(),
            backend.weight.get().to_string(),
            backend.state.as_str().to_owned(),
            share.to_string(),
            format!("{:.3} %", f64::from(share) * 100.0 / size),
        ]);
    }
    for index in [1, 3, 4] {
        if let Some(column) = rows.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let state = if table.is_empty() {
        ", empty: no backend takes new flows"
    } else {
        ""
    };
    let head = format!(
        "service {}: {} slots, digest {}{state}",
        service.name,
        table.size(),
        table.digest()
    );
    let lines = output::lines(&mut rows);
    [vec![head], lines].concat().join("\n")
}
