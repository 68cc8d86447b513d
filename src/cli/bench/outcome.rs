//! What a measurement found, for people and as JSON, and the words both are made of.

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::cli::output;
use crate::worker::bench::histogram::Histogram;

/// What a measurement found.
#[derive(Debug)]
pub struct Outcome {
    /// Lines for people.
    pub text: String,
    /// The same for programs.
    pub json: Value,
}

/// A table whose columns are numbers but for the first.
pub fn figures(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut table: Table = output::table(header);
    for row in rows {
        table.add_row(row);
    }
    for index in 1..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    output::lines(&mut table)
}

/// Microseconds of one number of ticks.
pub fn us(ticks: u64, tsc_hz: u64) -> f64 {
    ticks as f64 * 1e6 / tsc_hz.max(1) as f64
}

/// The quantiles that are reported, in microseconds: a half, 99 %, 99.9 %, all.
pub fn quantiles(times: &Histogram, tsc_hz: u64) -> [f64; 4] {
    let at = |share| us(times.quantile(share), tsc_hz);
    [at(0.5), at(0.99), at(0.999), us(times.longest(), tsc_hz)]
}

/// Quantiles as JSON.
pub fn quantiles_json(times: &Histogram, tsc_hz: u64) -> Value {
    let [p50, p99, p999, max] = quantiles(times, tsc_hz);
    json!({
        "count": times.count(),
        "p50_us": p50,
        "p99_us": p99,
        "p99_9_us": p999,
        "max_us": max,
    })
}
