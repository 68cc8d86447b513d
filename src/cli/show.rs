//! `rail show`: what a running rail has and does.

use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::socket::SocketArgs;
use super::{ERROR, OK, output};
use crate::api::client;

/// The command line of `rail show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show
    pub what: What,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Which rail
    #[command(flatten)]
    pub socket: SocketArgs,
}

/// The things a rail shows.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum What {
    /// Services, their backends in numbers, their traffic
    Services,
    /// Backends, their state, slots and traffic
    Backends,
    /// Workers, their counters and connection tables
    Workers,
    /// Next hops
    Neighbors,
    /// Ports and their counters
    Ports,
    /// The rails of the pool and those elsewhere
    Peers,
    /// The store, and which of its commits runs
    Store,
}

impl What {
    fn path(self) -> &'static str {
        match self {
            What::Services => "/v1/services",
            What::Backends => "/v1/backends",
            What::Workers => "/v1/workers",
            What::Neighbors => "/v1/neighbors",
            What::Ports => "/v1/ports",
            What::Peers => "/v1/peers",
            What::Store => "/v1/store",
        }
    }
}

/// Asks the rail and prints its answer.
pub fn run(args: &Args) -> ExitCode {
    match answer(args) {
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

fn answer(args: &Args) -> Result<String, Box<dyn std::error::Error>> {
    let socket = args.socket.find()?;
    let (status, body) = client::get(&socket, args.what.path())?;
    if !status.is_success() {
        let said = String::from_utf8_lossy(&body);
        return Err(format!("the rail answers {status}: {said}").into());
    }
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&body)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&rows)?);
    }
    Ok(table(&rows).to_string())
}

/// A column for every field; numbers to the right.
fn table(rows: &[Map<String, Value>]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let Some(first) = rows.first() else {
        return table;
    };
    table.set_header(first.keys().map(|k| k.to_uppercase().replace('_', " ")));
    for row in rows {
        table.add_row(row.values().map(cell));
    }
    for (index, value) in first.values().enumerate() {
        if let Some(column) = table.column_mut(index)
            && value.is_number()
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Number(n) if n.is_f64() => format!("{:.3}", n.as_f64().unwrap_or_default()),
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{k} {}", cell(v)))
                .collect();
            pairs.join(", ")
        }
        other => other.to_string(),
    }
}
