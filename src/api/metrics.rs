//! `/metrics`: everything the rail counts, as Prometheus reads it.
//!
//! The registry is filled anew at every scrape from the counters the workers keep, so that nothing on
//! the packet path knows about it. Names are `rustyrail_*` in base units; per service and backend, or per
//! worker, never the product of both; a client's address never appears.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::control::rail::{Rail, WorkerView};
use crate::table::counters::{BURST_BUCKETS, DropReason};

use super::views;

/// Upper bounds of the burst-size histogram: the buckets of
/// [`Counters::bursts`](crate::table::counters::Counters::bursts).
const BURST_BOUNDS: [&str; BURST_BUCKETS - 1] = ["0", "1", "3", "7", "15", "31"];

/// The exposition text.
pub fn text(rail: &Rail) -> Result<String, prometheus::Error> {
    let page = Page(Registry::new());
    backends(&page, rail)?;
    workers(&page, rail)?;
    connections(&page, rail)?;
    tables(&page, rail)?;
    ports(&page, rail)?;
    let mut text = TextEncoder::new().encode_to_string(&page.0.gather())?;
    text += &bursts(rail);
    Ok(text)
}

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A registry that makes and registers a metric in one step.
struct Page(Registry);

impl Page {
    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<(), prometheus::Error> {
        self.add(IntCounter::new(name, help)?)?.inc_by(value);
        Ok(())
    }

    fn gauge(&self, name: &str, help: &str, value: i64) -> Result<(), prometheus::Error> {
        self.add(IntGauge::new(name, help)?)?.set(value);
        Ok(())
    }

    fn seconds(&self, name: &str, help: &str, value: f64) -> Result<(), prometheus::Error> {
        self.add(Gauge::new(name, help)?)?.set(value);
        Ok(())
    }
}

fn backends(page: &Page, rail: &Rail) -> Result<(), prometheus::Error> {
    let labels = &["service", "backend"];
    let packets = page.counters(
        "rustyrail_backend_packets_total",
        "Packets forwarded to a backend.",
        labels,
    )?;
    let bytes = page.counters(
        "rustyrail_backend_bytes_total",
        "Bytes forwarded to a backend, as they arrived, from the Ethernet header on.",
        labels,
    )?;
    let slots = page.gauges(
        "rustyrail_backend_slots",
        "Slots of the Maglev table that name the backend.",
        labels,
    )?;
    let state = page.gauges(
        "rustyrail_backend_state",
        "1 for the state the backend is in.",
        &["service", "backend", "state"],
    )?;
    for b in views::backends(rail) {
        let names = [b.service.as_str(), b.name.as_str()];
        packets
            .with_label_values(&names)
            .inc_by(b.forwarded.packets);
        bytes.with_label_values(&names).inc_by(b.forwarded.bytes);
        slots.with_label_values(&names).set(b.slots.into());
        for known in ["up", "drain", "down"] {
            let is = i64::from(known == b.state);
            state
                .with_label_values(&[names[0], names[1], known])
                .set(is);
        }
    }
    Ok(())
}

/// Reads one number of a worker.
type Read = fn(&WorkerView) -> u64;

fn workers(page: &Page, rail: &Rail) -> Result<(), prometheus::Error> {
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
            "Packets passed to the host.",
            |w| w.counters.to_host.get(),
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
    let seconds = |name: &str, help: &str| -> Result<GaugeVec, prometheus::Error> {
        page.add(GaugeVec::new(Opts::new(name, help), &["worker"])?)
    };
    let busy = seconds(
        "rustyrail_worker_busy_seconds",
        "Time in rounds of the loop that received packets.",
    )?;
    let all = seconds(
        "rustyrail_worker_running_seconds",
        "Time in all rounds of the loop.",
    )?;
    for (index, worker) in rail.workers().iter().enumerate() {
        let name = index.to_string();
        let name = name.as_str();
        let counters = &worker.counters;
        held.with_label_values(&[name])
            .set(counters.held.get() as i64);
        let hz = worker.tsc_hz.max(1) as f64;
        busy.with_label_values(&[name])
            .set(counters.busy_cycles.get() as f64 / hz);
        all.with_label_values(&[name])
            .set(counters.total_cycles.get() as f64 / hz);
        for &reason in DropReason::ALL {
            drops
                .with_label_values(&[name, reason.label()])
                .inc_by(counters.drops(reason));
        }
    }
    Ok(())
}

fn connections(page: &Page, rail: &Rail) -> Result<(), prometheus::Error> {
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

fn fill_counters(
    page: &Page,
    rail: &Rail,
    counters: &[(&str, &str, Read)],
) -> Result<(), prometheus::Error> {
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

fn tables(page: &Page, rail: &Rail) -> Result<(), prometheus::Error> {
    let builds = rail.builds();
    page.counter(
        "rustyrail_maglev_builds_total",
        "Maglev tables built.",
        builds.count,
    )?;
    page.seconds(
        "rustyrail_maglev_build_seconds",
        "Time spent on building Maglev tables.",
        builds.time.as_secs_f64(),
    )?;
    page.gauge(
        "rustyrail_snapshot_generation",
        "Number of the tables in force; grows with every change.",
        rail.snapshot().generation as i64,
    )?;
    let digests = page.gauges(
        "rustyrail_table_info",
        "Digest of a service's Maglev table, as a label.",
        &["service", "digest"],
    )?;
    for service in views::services(rail) {
        digests
            .with_label_values(&[&service.name, &service.digest])
            .set(1);
    }
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
    let neighbors = page.gauges("rustyrail_neighbors", "Next hops by state.", &["state"])?;
    for state in ["incomplete", "reachable", "refresh", "static"] {
        neighbors.with_label_values(&[state]).set(0);
    }
    for neighbor in views::neighbors(rail) {
        neighbors.with_label_values(&[neighbor.state]).inc();
    }
    let build = page.gauges(
        "rustyrail_build_info",
        "Version of the rail, as a label.",
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

fn ports(page: &Page, rail: &Rail) -> Result<(), prometheus::Error> {
    type Port = crate::table::port::PortReport;
    type ReadPort = fn(&Port) -> u64;
    let counters: &[(&str, &str, ReadPort)] = &[
        (
            "rustyrail_port_rx_packets_total",
            "Packets received.",
            |p| p.rx_packets,
        ),
        ("rustyrail_port_rx_bytes_total", "Bytes received.", |p| {
            p.rx_bytes
        }),
        ("rustyrail_port_tx_packets_total", "Packets sent.", |p| {
            p.tx_packets
        }),
        ("rustyrail_port_tx_bytes_total", "Bytes sent.", |p| {
            p.tx_bytes
        }),
        (
            "rustyrail_port_rx_missed_total",
            "Packets dropped because no worker fetched them.",
            |p| p.rx_missed,
        ),
        (
            "rustyrail_port_rx_errors_total",
            "Packets received with errors.",
            |p| p.rx_errors,
        ),
        (
            "rustyrail_port_rx_no_mbuf_total",
            "Packets dropped for want of a buffer.",
            |p| p.rx_no_mbuf,
        ),
        (
            "rustyrail_port_tx_errors_total",
            "Packets that could not be sent.",
            |p| p.tx_errors,
        ),
    ];
    let ports = rail.ports();
    for (name, help, read) in counters {
        let family = page.counters(name, help, &["port"])?;
        for port in &ports {
            family.with_label_values(&[&port.name]).inc_by(read(port));
        }
    }
    let up = page.gauges("rustyrail_port_up", "1 if the link is up.", &["port"])?;
    for port in &ports {
        up.with_label_values(&[&port.name]).set(i64::from(port.up));
    }
    Ok(())
}

/// The histogram of burst sizes. The workers count into buckets already, which the crate's histogram,
/// made for single observations, cannot take over.
fn bursts(rail: &Rail) -> String {
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
