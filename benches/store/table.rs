//! All results of one run in one table.

use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::values::SIZES;

/// Where results are written.
pub const RESULTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../criterion");

static SIZE: OnceLock<(u64, usize)> = OnceLock::new();

/// Bytes on disk and packs of the long history.
pub fn note_size(bytes: u64, packs: usize) {
    // There is one long history in a run.
    let _ = SIZE.set((bytes, packs));
}

/// The median time of a benchmark, in seconds, if it was made since `begun`.
fn median(name: &str, begun: SystemTime) -> Option<f64> {
    let file = Path::new(RESULTS).join(name).join("new/estimates.json");
    let made = file.metadata().and_then(|data| data.modified()).ok()?;
    let text = (made >= begun).then(|| std::fs::read(file).ok())??;
    let estimates: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some(estimates["median"]["point_estimate"].as_f64()? / 1e9)
}

/// Prints what was measured since `begun`; commits by many were measured in bursts.
pub fn print(begun: SystemTime, burst: u64) {
    let mut rows: Vec<[String; 3]> = Vec::new();
    let mut row = |what: &str, figure: Option<String>, bar: &str| {
        rows.extend(figure.map(|figure| [what.to_owned(), figure, bar.to_owned()]));
    };
    let median = |name: &str| median(name, begun);
    let rate = |count: f64, name: &str| median(name).map(|time| format!("{:.0}/s", count / time));
    let time = |name: &str| median(name).map(duration);

    let bar = "at least 200,000/s";
    row("read of a view", rate(1.0, "read/value of a view"), bar);
    row(
        "read of a branch's newest state",
        rate(1.0, "read/value of a branch"),
        bar,
    );
    let (burst, bar) = (burst as f64, "at least 4,000/s");
    let name = "commit/64 writers, updates";
    row("durable commits, 64 writers", rate(burst, name), bar);
    let name = "commit/64 writers, transactions";
    row("durable transactions, 64 writers", rate(burst, name), bar);
    let name = "commit/64 writers, updates, nothing flushed";
    row("the same without any flush", rate(burst, name), "");
    let (alone, bare) = (
        "commit/alone",
        "commit/bare writes and flushes of one commit",
    );
    row("one durable commit alone", time(alone), "");
    row("the same writes and flushes, bare", time(bare), "");
    let ratio = median(alone).zip(median(bare));
    let ratio = ratio.map(|(alone, bare)| format!("{:.2}", alone / bare));
    row("alone to bare", ratio, "at most 1.5");
    let name = "commit/one file of 1 kB written and flushed";
    row("one file written and flushed", time(name), "");
    let name = "merge_100 edits a side of 100k paths";
    row(
        "merge, 100 edits a side, 100k paths",
        time(name),
        "at most 3 ms",
    );
    for (what, name) in [
        ("queue: merge of two sides, 100 pushes each", "queue/merge"),
        ("queue: push and pop", "queue/push and pop"),
        ("rope: insertion", "rope/insert"),
        ("rope: merge of two sides, one insertion each", "rope/merge"),
    ] {
        for size in SIZES {
            let what = format!("{what}, size {size}");
            row(&what, time(&format!("{name}/{size}")), "as log n");
        }
    }
    let size = SIZE.get().map(|(bytes, packs)| {
        let megabytes = *bytes as f64 / 1e6;
        format!("{megabytes:.1} MB, {packs} packs")
    });
    row("10,000 commits on 100k paths", size, "at most 120 MB");
    let name = "open_10k commits on 100k paths, and read one value";
    row("opening that, and one read", time(name), "at most 200 ms");
    for [what, figure, bar] in rows {
        println!("| {what:<60} | {figure:>20} | {bar:<18} |");
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}
