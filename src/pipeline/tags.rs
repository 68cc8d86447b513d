//! VLAN tags that a packet keeps: on a port with `tags = "keep"`, what goes back out by the port it
//! came in through carries the tags it came with, priorities included, instead of the port's own.

use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::l2;

use super::Pipeline;
use super::classify::Parsed;
use super::frame::Frame;
use super::plain::BARE;
use super::verdict::Verdict;

/// Two link addresses.
const ADDRESSES: usize = 12;
/// Two tags of four bytes.
const MOST: usize = 8;

/// The tags of a frame, as they stand behind its addresses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tags {
    bytes: [u8; MOST],
    len: usize,
}

impl Tags {
    /// Those of the frame; none of one that cannot be read.
    pub(super) fn of(frame: &[u8]) -> Tags {
        let len = l2(frame).map_or(0, |link| usize::from(link.l3_offset).saturating_sub(BARE));
        let mut tags = Tags::default();
        let place = tags.bytes.get_mut(..len);
        if let Some((place, found)) = place.zip(frame.get(ADDRESSES..ADDRESSES + len)) {
            place.copy_from_slice(found);
            tags.len = len;
        }
        tags
    }

    /// Gives a frame these tags in place of its own. Without room for them it stays as it is.
    pub(super) fn put<F: Frame>(&self, frame: &mut F) {
        let Some(addresses) = frame.data().first_chunk::<ADDRESSES>().copied() else {
            return;
        };
        let present = Tags::of(frame.data()).len;
        let made = if self.len >= present {
            frame.prepend(self.len - present)
        } else {
            frame.trim_front(present - self.len)
        };
        if made && let Some(head) = frame.data_mut().get_mut(..ADDRESSES + self.len) {
            let (place, tags) = head.split_at_mut(ADDRESSES);
            place.copy_from_slice(&addresses);
            tags.copy_from_slice(&self.bytes[..self.len]);
        }
    }
}

/// Whether a packet that leaves by `port` keeps its tags.
pub(super) fn keeps(snapshot: &Snapshot, ingress: PortIndex, port: PortIndex) -> bool {
    let view = snapshot.ports.get(usize::from(port.0));
    port == ingress && view.is_some_and(|view| view.keep_tags)
}

impl Pipeline {
    /// As [`Pipeline::process`], with the tags put back where the port keeps them.
    pub(super) fn process_keeping<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        parsed: &Parsed,
        ingress: PortIndex,
    ) -> Verdict {
        if !snapshot.keeps_tags {
            return self.process(snapshot, frame, parsed, ingress);
        }
        let tags = Tags::of(frame.data());
        let verdict = self.process(snapshot, frame, parsed, ingress);
        if let Verdict::Forward(port) | Verdict::Reply(port) = verdict
            && keeps(snapshot, ingress, port)
        {
            tags.put(frame);
        }
        verdict
    }
}
