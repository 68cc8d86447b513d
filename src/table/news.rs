//! What workers see on the wire and the control core wants to know.

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::wire::MacAddr;

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

/// Sightings on their way from the workers to the control core. When it is full, news is lost: the
/// control core asks again.
pub type News = Arc<ArrayQueue<Sighting>>;

/// Sightings that may wait: what one tick of the control core can miss in a busy moment.
pub const NEWS_WAITING: usize = 1024;
