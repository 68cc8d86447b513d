//! What was forwarded for services and to backends, and how backends are.

use crate::control::rail::Rail;

use super::super::views;
use super::{Page, Result};

pub(super) fn fill(page: &Page, rail: &Rail) -> Result<()> {
    services(page, rail)?;
    backends(page, rail)
}

fn services(page: &Page, rail: &Rail) -> Result<()> {
    let labels = &["service"];
    let packets = page.counters(
        "rustyrail_service_packets_total",
        "Packets forwarded for a service.",
        labels,
    )?;
    let bytes = page.counters(
        "rustyrail_service_bytes_total",
        "Bytes forwarded for a service, as they arrived, from the Ethernet header on.",
        labels,
    )?;
    let all = page.gauges(
        "rustyrail_service_backends",
        "Backends of a service.",
        labels,
    )?;
    let live = page.gauges(
        "rustyrail_service_backends_live",
        "Backends of a service that take new connections.",
        labels,
    )?;
    let digests = page.gauges(
        "rustyrail_table_info",
        "Digest of a Maglev table, as a label: `desired` by the pool, the same on all its rails, and `effective` here.",
        &["service", "table", "digest"],
    )?;
    for service in views::services(rail) {
        let name = service.name.as_str();
        packets
            .with_label_values(&[name])
            .inc_by(service.forwarded.packets);
        bytes
            .with_label_values(&[name])
            .inc_by(service.forwarded.bytes);
        all.with_label_values(&[name]).set(service.backends as i64);
        live.with_label_values(&[name]).set(service.live as i64);
        for (table, digest) in [
            ("desired", &service.desired),
            ("effective", &service.effective),
        ] {
            digests.with_label_values(&[name, table, digest]).set(1);
        }
    }
    Ok(())
}

fn backends(page: &Page, rail: &Rail) -> Result<()> {
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
