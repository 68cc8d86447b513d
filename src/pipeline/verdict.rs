//! What becomes of a packet: a closed list.

use crate::table::BackendId;
pub use crate::table::counters::DropReason;
use crate::table::snapshot::{HopIndex, PortIndex};

/// The decision about one frame. The frame has already been rewritten for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it out of the port: it is on its way to a backend.
    Forward(PortIndex),
    /// Send it out of the port: the rail answered it in place.
    Reply(PortIndex),
    /// Keep it, unchanged, until the next hop's link address is known, and decide again then.
    Hold(HopIndex),
    /// Keep it, unchanged, until the first fragment of its datagram has come.
    Await,
    /// Send it to the backend, or without one to another rail, in pieces, which
    /// [`Pipeline::split`](super::Pipeline::split) makes of the frame; it is unchanged.
    Split(Option<BackendId>),
    /// Pass it to the host behind this port.
    Host(PortIndex),
    /// It was for the rail itself, which has read it: a probe of another rail.
    Heard,
    /// Free it and count the reason.
    Drop(DropReason),
}
