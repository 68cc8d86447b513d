//! The rail as a whole: its tables, next hops, health, and what it was built from.

use std::time::UNIX_EPOCH;

use crate::control::health::Health;
use crate::control::rail::Rail;

use super::super::views;
use super::{Page, Result};

/// The commit this binary was built from, where the build was told: `make release` does.
const COMMIT: &str = match option_env!("RUSTYRAIL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

pub(super) fn fill(page: &Page, rail: &Rail) -> Result<()> {
    tables(page, rail)?;
    process(page, rail)
}

fn tables(page: &Page, rail: &Rail) -> Result<()> {
    let builds = rail.builds();
    page.counter(
        "rustyrail_maglev_builds_total",
        "Maglev tables built.",
        builds.count,
    )?;
    page.time(
        "rustyrail_maglev_build_seconds_total",
        "Time spent on building Maglev tables.",
        builds.time.as_secs_f64(),
    )?;
    page.gauge(
        "rustyrail_small_paths",
        "Backends and other rails whose path is known to carry less than configured.",
        rail.small_paths() as i64,
    )?;
    page.gauge(
        "rustyrail_snapshot_generation",
        "Number of the tables in force; grows with every change.",
        rail.snapshot().generation as i64,
    )?;
    let applies = page.counters(
        "rustyrail_applies_total",
        "Configurations offered to the running rail.",
        &["outcome"],
    )?;
    let counted = rail.applies();
    applies.with_label_values(&["done"]).inc_by(counted.done);
    applies
        .with_label_values(&["refused"])
        .inc_by(counted.refused);
    let following = rail.following();
    page.gauge(
        "rustyrail_store_behind",
        "1 if the rail does not run the newest commit of its store's main, or cannot merge another rail's.",
        i64::from(following.is_some_and(|following| following.problem().is_some())),
    )?;
    page.gauge(
        "rustyrail_store_unconfirmed",
        "Changes that are undone unless somebody confirms them.",
        following.map_or(0, |following| following.unconfirmed().len()) as i64,
    )?;
    let neighbors = page.gauges("rustyrail_neighbors", "Next hops by state.", &["state"])?;
    for state in ["incomplete", "reachable", "refresh", "static"] {
        neighbors.with_label_values(&[state]).set(0);
    }
    for neighbor in views::neighbors(rail) {
        neighbors.with_label_values(&[neighbor.state]).inc();
    }
    Ok(())
}

fn process(page: &Page, rail: &Rail) -> Result<()> {
    let health = Health::of(rail);
    page.gauge(
        "rustyrail_healthy",
        "1 if `/healthz` answers 200.",
        i64::from(health.is_well()),
    )?;
    let started = rail.started_at().duration_since(UNIX_EPOCH);
    page.moment(
        "rustyrail_start_time_seconds",
        "When the rail started, in seconds since 1970.",
        started.unwrap_or_default().as_secs_f64(),
    )?;
    let build = page.gauges(
        "rustyrail_build_info",
        "Versions of the rail, of its source and of DPDK, as labels.",
        &["version", "commit", "dpdk"],
    )?;
    let driver = rail.driver();
    let dpdk = driver.strip_prefix("DPDK ").unwrap_or(&driver);
    build
        .with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT, dpdk])
        .set(1);
    Ok(())
}
