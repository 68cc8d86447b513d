//! Other rails: who is alive, what their probes say, and who owns how much.

use crate::control::rail::Rail;

use super::super::views;
use super::{Page, Result};

pub(super) fn fill(page: &Page, rail: &Rail) -> Result<()> {
    let labels = &["rail"];
    let alive = page.gauges(
        "rustyrail_peer_alive",
        "1 if packets may be sent to the other rail.",
        labels,
    )?;
    let mismatch = page.gauges(
        "rustyrail_peer_table_mismatch",
        "1 if the peer's pool wants other Maglev tables than this rail's.",
        labels,
    )?;
    let slots = page.gauges(
        "rustyrail_peer_slots",
        "Slots of the table that deals fragments to the rails of the pool, this one among them.",
        labels,
    )?;
    let sent = page.counters(
        "rustyrail_peer_probes_sent_total",
        "Probes sent to the other rail.",
        labels,
    )?;
    let heard = page.counters(
        "rustyrail_peer_probes_heard_total",
        "Probes of the other rail that counted.",
        labels,
    )?;
    let stale = page.counters(
        "rustyrail_peer_probes_stale_total",
        "Probes of the other rail that are old or no answer to what stands.",
        labels,
    )?;
    let deaths = page.counters(
        "rustyrail_peer_deaths_total",
        "How often the other rail missed three probes.",
        labels,
    )?;
    for view in views::peers(rail) {
        let name = [view.name.as_str()];
        if let Some(own) = view.slots {
            slots.with_label_values(&name).set(own.into());
        }
        if view.relation == "self" {
            continue;
        }
        alive
            .with_label_values(&name)
            .set(i64::from(view.state != "dead"));
        mismatch
            .with_label_values(&name)
            .set(i64::from(view.tables == Some("other")));
        sent.with_label_values(&name).inc_by(view.probes_sent);
        heard.with_label_values(&name).inc_by(view.probes_heard);
        stale.with_label_values(&name).inc_by(view.probes_stale);
        deaths.with_label_values(&name).inc_by(view.deaths);
    }
    Ok(())
}
