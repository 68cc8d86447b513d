//! What ports say of themselves.

use crate::control::rail::Rail;
use crate::table::port::PortReport;

use super::super::views;
use super::{Page, Result};

pub(super) fn fill(page: &Page, rail: &Rail) -> Result<()> {
    type Read = fn(&PortReport) -> u64;
    let counters: &[(&str, &str, Read)] = &[
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
    let ports = views::ports(rail);
    for (name, help, read) in counters {
        let family = page.counters(name, help, &["port"])?;
        for port in &ports {
            family
                .with_label_values(&[&port.name])
                .inc_by(read(&port.report));
        }
    }
    if let Some(host) = rail.host() {
        let refused = page.counters(
            "rustyrail_host_refused_total",
            "Frames between ports and host that were not passed on.",
            &["direction"],
        )?;
        for (direction, counter) in [
            ("to_host", &host.refused_by_host),
            ("from_host", &host.refused_from_host),
        ] {
            refused
                .with_label_values(&[direction])
                .inc_by(counter.get());
        }
    }
    let up = page.gauges("rustyrail_port_up", "1 if the link is up.", &["port"])?;
    for port in &ports {
        up.with_label_values(&[&port.name])
            .set(i64::from(port.report.up));
    }
    Ok(())
}
