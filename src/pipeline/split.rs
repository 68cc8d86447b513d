//! An IPv4 packet that is too large for the way to its backend or to another rail, and may be fragmented, goes there in
//! pieces (RFC 791, section 3.2), each in headers of its own, so that no receiver of a tunnel has to
//! put the outer packets together.

use crate::table::BackendId;
use crate::table::snapshot::{PortIndex, Snapshot};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::{Fragment, view, view_mut};

use super::classify::Parsed;
use super::frame::Frame;
use super::stage::read;
use super::tags::{self, Tags};
use super::verdict::{DropReason, Verdict};
use super::{Pipeline, rewrite};

/// Bytes of an Ethernet header; a piece has no tags until it is sent.
const LINK: usize = 14;
/// The unit of a fragment's offset, bytes.
const UNIT: usize = 8;
/// The longest IPv4 header.
const LONGEST_HEADER: usize = 60;
/// Options: end of list, no operation, and the bit of those that every fragment carries.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const COPIED: u8 = 0x80;

/// A packet to be cut, and where it goes.
struct Whole<'f> {
    frame: &'f [u8],
    parsed: Parsed,
    id: Option<BackendId>,
}

/// A header as the pieces of a packet have it.
struct Head {
    bytes: [u8; LONGEST_HEADER],
    len: usize,
}

impl Pipeline {
    /// Cuts a packet for which the verdict was [`Verdict::Split`] and hands the pieces to `sink`, in
    /// order, with a verdict each. `make` gives a frame that holds the bytes it gets, with room in front
    /// of them. Without frames or room the rest is dropped: a receiver without all of it has nothing.
    #[cold]
    pub fn split<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        whole: &F,
        id: Option<BackendId>,
        mut make: impl FnMut(&[u8]) -> Option<F>,
        mut sink: impl FnMut(F, Verdict),
    ) {
        let frame = whole.data();
        let parsed = read(snapshot, ingress, whole);
        let mut pieces = 0;
        let mut counted = |piece, verdict| {
            pieces += 1;
            sink(piece, verdict);
        };
        let whole = Whole { frame, parsed, id };
        let done = self.pieces(snapshot, ingress, &whole, &mut make, &mut counted);
        // One frame came in: what is sent beyond it was made here, and what could not be made is lost.
        match done {
            Some(()) => {
                match id {
                    Some(id) => self.counters.forward(id, frame.len()),
                    None => self.count_handed(snapshot, &whole.parsed, pieces),
                }
                self.counters.generated.add(u64::max(pieces, 1) - 1);
            }
            None => {
                self.counters.generated.add(pieces);
                self.counters.count_drop(DropReason::TooBig);
            }
        }
    }

    fn pieces<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        whole: &Whole<'_>,
        make: &mut impl FnMut(&[u8]) -> Option<F>,
        sink: &mut impl FnMut(F, Verdict),
    ) -> Option<()> {
        let Whole { frame, parsed, id } = whole;
        let backend = match id {
            Some(id) => snapshot.backend(*id)?,
            None => {
                let rail = self.rail_for(snapshot, frame, parsed)?;
                rail.ways.of(parsed.is_v6())?
            }
        };
        let room = usize::from(rewrite::room(snapshot, backend, ingress));
        let packet = frame.get(usize::from(parsed.l3)..usize::from(parsed.end))?;
        let header_len = usize::from(parsed.l4 - parsed.l3);
        let (header, payload) = packet.split_at_checked(header_len)?;
        let original = *view::<Ipv4Header>(header)?;
        let first = Head::first(header)?;
        let later = Head::later(header)?;
        // What fits a piece behind the longer of the headers.
        let most = room.checked_sub(first.len)? / UNIT * UNIT;
        if most == 0 {
            return None;
        }
        let base = usize::from(original.fragment_offset());
        let pieces = payload.chunks(most);
        let mut left = pieces.len();
        for (index, piece) in pieces.enumerate() {
            left -= 1;
            let head = if index == 0 { &first } else { &later };
            let fragment = Fragment {
                offset: u16::try_from(base + index * most).ok()?,
                more: left > 0 || original.more_fragments(),
                id: original.identification.get().into(),
            };
            let mut made = make(piece)?;
            let parsed = head.write(&mut made, parsed, fragment)?;
            let verdict =
                rewrite::forward(snapshot, &mut made, &(&parsed).into(), ingress, backend);
            match verdict {
                Verdict::Forward(_) => {}
                Verdict::Drop(reason) => self.counters.count_drop(reason),
                // The whole was not cut before its next hop was known.
                _ => self.counters.count_drop(DropReason::Neighbor),
            }
            if let Verdict::Forward(port) = verdict
                && tags::keeps(snapshot, ingress, port)
            {
                Tags::of(frame).put(&mut made);
            }
            sink(made, verdict);
        }
        Some(())
    }
}

impl Head {
    /// The packet's own header, for the piece at its front.
    fn first(header: &[u8]) -> Option<Head> {
        let mut bytes = [0; LONGEST_HEADER];
        bytes.get_mut(..header.len())?.copy_from_slice(header);
        Some(Head {
            bytes,
            len: header.len(),
        })
    }

    /// The header of every other piece: with those options alone that are copied.
    fn later(header: &[u8]) -> Option<Head> {
        let (fixed, mut options) = header.split_at_checked(Ipv4Header::LEN)?;
        let mut head = Head::first(fixed)?;
        while let Some((&kind, rest)) = options.split_first() {
            let len = match kind {
                END_OF_OPTIONS => break,
                NO_OPERATION => 1,
                _ => usize::from(*rest.first()?).max(2),
            };
            let option = options.get(..len)?;
            options = options.get(len..)?;
            if kind & COPIED != 0 {
                head.bytes
                    .get_mut(head.len..head.len + len)?
                    .copy_from_slice(option);
                head.len += len;
            }
        }
        head.len = head.len.next_multiple_of(4);
        Some(head)
    }

    /// Puts the header in front of a piece, behind a link header to be written over, and says what a
    /// parser would say of it.
    fn write<F: Frame>(&self, frame: &mut F, whole: &Parsed, fragment: Fragment) -> Option<Parsed> {
        let payload = frame.data().len();
        if !frame.prepend(LINK + self.len) {
            return None;
        }
        let data = frame.data_mut();
        let packet = data.get_mut(LINK..)?;
        packet
            .get_mut(..self.len)?
            .copy_from_slice(self.bytes.get(..self.len)?);
        let (fixed, rest) = packet.split_at_mut_checked(Ipv4Header::LEN)?;
        let ip = view_mut::<Ipv4Header>(fixed)?;
        let total = self.len + payload;
        ip.version_ihl = 4 << 4 | (self.len / 4) as u8;
        ip.total_length.set(u16::try_from(total).ok()?);
        ip.set_fragment(false, fragment.more, fragment.offset);
        ip.fill_checksum(rest.get(..self.len - Ipv4Header::LEN)?);
        Some(Parsed {
            l3: LINK as u16,
            l4: (LINK + self.len) as u16,
            end: (LINK + total) as u16,
            fragment: Some(fragment),
            ..*whole
        })
    }
}
