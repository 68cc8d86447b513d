//! What workers count: their loops, drops, connection tables, sizes of bursts.

use crate::control::rail::{Rail, WorkerView};
use crate::table::counters::{BURST_BUCKETS, DropReason};

use super::{Page, Result};

/// Upper bounds of the burst-size histogram: the buckets of
/// [`Counters::bursts`](crate::table::counters::Counters::bursts).
const BURST_BOUNDS: [&str; BURST_BUCKETS - 1] = ["0", "1", "3", "7", "15", "31"];

pub(super) fn fill(page: &Page, rail: &Rail) -> Result<()> {
    loops(page, rail)?;
    connections(page, rail)
}

/// The histogram of burst sizes. The workers count into buckets already, which the crate's histogram,
/// made for single observations, cannot take over.
pub(super) fn bursts(rail: &Rail) -> String {
    const NAME: &str = "rustyrail_worker_burst_packets";
    let mut text = format!(
        "# HELP {NAME} Packets received in one round of the loop from all ports.\n# TYPE {NAME} histogram\n"
    );
    for (index, worker) in rail.workers().iter().enumerate() {
        let mut sum = 0;
        for (bucket, bound) in BURST_BOUNDS.iter().enumerate() {
            sum += worker.counters.bursts[bucket].get();
            text += &format!("{NAME}_bucket{{worker=\"{index}\",le=\"{bound}\"}} {sum}\n");
        }
        sum += worker.counters.bursts[BURST_BUCKETS - 1].get();
        let packets = worker.counters.rx.packets.get();
        text += &format!(
            "{NAME}_bucket{{worker=\"{index}\",le=\"+Inf\"}} {sum}\n\
             {NAME}_sum{{worker=\"{index}\"}} {packets}\n\
             {NAME}_count{{worker=\"{index}\"}} {sum}\n"
        );
    }
    text
}

/// Reads one number of a worker.
type Read = fn(&WorkerView) -> u64;

fn loops(page: &Page, rail: &Rail) -> Result<()> {
    let counters: &[(&str, &str, Read)] = &[
        (
            "rustyrail_worker_rx_packets_total",
            "Packets received.",
            |w| w.counters.rx.packets.get(),
        ),
        ("rustyrail_worker_rx_bytes_total", "Bytes received.", |w| {
            w.counters.rx.bytes.get()
        }),
        ("rustyrail_worker_tx_packets_total", "Packets sent.", |w| {
            w.counters.tx.packets.get()
        }),
        ("rustyrail_worker_tx_bytes_total", "Bytes sent.", |w| {
            w.counters.tx.bytes.get()
        }),
        (
            "rustyrail_worker_generated_total",
            "Frames the rail made itself.",
            |w| w.counters.generated.get(),
        ),
        (
            "rustyrail_worker_to_host_total",
            "Packets passed to the host, and probes of other rails.",
            |w| w.counters.to_host.get(),
        ),
        (
            "rustyrail_worker_from_host_total",
            "Packets sent for the host.",
            |w| w.counters.from_host.get(),
        ),
        (
            "rustyrail_worker_replies_total",
            "ARP, ND and echo requests answered in place.",
            |w| w.counters.replies.get(),
        ),
        (
            "rustyrail_worker_held_total",
            "Packets that waited for a next hop or a first fragment.",
            |w| w.counters.held_total.get(),
        ),
        (
            "rustyrail_worker_unpinned_total",
            "New flows sent by hashing alone, without a table entry.",
            |w| w.counters.unpinned.get(),
        ),
        (
            "rustyrail_worker_to_peers_total",
            "Fragments sent to the peer that owns them.",
            |w| w.counters.to_peers.get(),
        ),
        (
            "rustyrail_worker_from_peers_total",
            "Fragments that a peer sent here, but for those that waited in vain.",
            |w| w.counters.from_peers.get(),
        ),
        (
            "rustyrail_worker_kept_total",
            "Fragments from a peer that, as this rail sees it, another one owns: kept, never sent on.",
            |w| w.counters.kept.get(),
        ),
        (
            "rustyrail_worker_to_remotes_total",
            "Packets sent to a rail elsewhere for want of a live backend.",
            |w| w.counters.to_remotes.get(),
        ),
        (
            "rustyrail_worker_rounds_total",
            "Rounds of the worker's loop.",
            |w| w.counters.rounds.get(),
        ),
    ];
    fill_counters(page, rail, counters)?;
    let held = page.gauges(
        "rustyrail_worker_held",
        "Packets that wait now.",
        &["worker"],
    )?;
    let drops = page.counters(
        "rustyrail_drops_total",
        "Packets dropped, by worker and reason.",
        &["worker", "reason"],
    )?;
    let busy = page.times(
        "rustyrail_worker_busy_seconds_total",
        "Time in rounds of the loop that received packets.",
        &["worker"],
    )?;
    let all = page.times(
        "rustyrail_worker_running_seconds_total",
        "Time in all rounds of the loop, sleeps between them included.",
        &["worker"],
    )?;
    for (index, worker) in rail.workers().iter().enumerate() {
        let name = index.to_string();
        let name = name.as_str();
        let counters = &worker.counters;
        held.with_label_values(&[name])
            .set(counters.held.get() as i64);
        let hz = worker.tsc_hz.max(1) as f64;
        busy.with_label_values(&[name])
            .inc_by(counters.busy_cycles.get() as f64 / hz);
        all.with_label_values(&[name])
            .inc_by(counters.total_cycles.get() as f64 / hz);
        for &reason in DropReason::ALL {
            drops
                .with_label_values(&[name, reason.label()])
                .inc_by(counters.drops(reason));
        }
    }
    Ok(())
}

fn connections(page: &Page, rail: &Rail) -> Result<()> {
    let counters: &[(&str, &str, Read)] = &[
        (
            "rustyrail_connection_hits_total",
            "Packets whose flow had an entry.",
            |w| w.conns.stats().hits,
        ),
        (
            "rustyrail_connection_misses_total",
            "Packets whose flow had none.",
            |w| w.conns.stats().misses,
        ),
        ("rustyrail_connection_inserts_total", "New entries.", |w| {
            w.conns.stats().inserts
        }),
        (
            "rustyrail_connection_evictions_total",
            "Live entries that made room for new ones.",
            |w| w.conns.stats().evictions,
        ),
        (
            "rustyrail_connection_expired_total",
            "Entries that reached their timeout.",
            |w| w.conns.stats().expired,
        ),
        (
            "rustyrail_connection_repins_total",
            "Entries moved to another backend.",
            |w| w.conns.stats().repins,
        ),
        (
            "rustyrail_connection_full_total",
            "Flows not entered because their bucket was full.",
            |w| w.conns.stats().full,
        ),
        (
            "rustyrail_connection_limited_total",
            "Flows not entered because of the limit of new pins.",
            |w| w.conns.stats().limited,
        ),
    ];
    fill_counters(page, rail, counters)?;
    let entries = page.gauges(
        "rustyrail_connection_entries",
        "Entries in the connection table.",
        &["worker"],
    )?;
    let capacity = page.gauges(
        "rustyrail_connection_capacity",
        "Entries there is room for.",
        &["worker"],
    )?;
    for (index, worker) in rail.workers().iter().enumerate() {
        let name = index.to_string();
        let occupancy = worker.conns.stats().occupancy as i64;
        entries.with_label_values(&[&name]).set(occupancy);
        let room = worker.conns.capacity() as i64;
        capacity.with_label_values(&[&name]).set(room);
    }
    Ok(())
}

fn fill_counters(page: &Page, rail: &Rail, counters: &[(&str, &str, Read)]) -> Result<()> {
    for (name, help, read) in counters {
        let family = page.counters(name, help, &["worker"])?;
        for (index, worker) in rail.workers().iter().enumerate() {
            family
                .with_label_values(&[index.to_string().as_str()])
                .inc_by(read(worker));
        }
    }
    Ok(())
}
