//! What workers see on the wire and the control core wants to know.

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::wire::MacAddr;
use crate::wire::probe::ProbeHeader;

/// What a station said about itself in ARP or ND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Protocol address.
    pub address: IpAddr,
    /// Link address.
    pub mac: MacAddr,
    /// It counts even against another link address that is known (RFC 4861's override flag; always in
    /// ARP).
    pub replaces: bool,
}

/// A probe of another rail, made with the pool's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: IpAddr,
    /// What it says.
    pub probe: ProbeHeader,
}

/// Probes on their way from the workers to the control core. When it is full, probes are lost.
pub type HeardProbes = Arc<ArrayQueue<Heard>>;

/// Probes that may wait.
pub const PROBES_WAITING: usize = 1024;

/// Sightings on their way from the workers to the control core. When it is full, news is lost: the
/// control core asks again.
pub type News = Arc<ArrayQueue<Sighting>>;

/// Sightings that may wait: what one tick of the control core can miss in a busy moment.
pub const NEWS_WAITING: usize = 1024;
