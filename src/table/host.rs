//! What passes between the rail's ports and the host, beside what workers count.

use super::counters::Counter;

/// What the bridge to the host counts; it alone writes.
#[derive(Debug, Default)]
pub struct HostStats {
    /// Frames of workers that the host's interface did not take.
    pub refused_by_host: Counter,
    /// Frames of the host that are not sent: too long, from another link address, or no room.
    pub refused_from_host: Counter,
}
