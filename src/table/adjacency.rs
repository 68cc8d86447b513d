//! What forwarding a plain packet to a backend takes, in one cache line: the proof that the packet is for the
//! backend's service, and the rewrite. Routers call the like an adjacency.

use super::claim::Claim;
use super::snapshot::{Backend, BackendState, Delivery, PortIndex};
use super::template::gue_source_port;
use super::{BackendId, FlowHash};

/// Shortest headers of an adjacency: Ethernet and IPv4.
const SHORTEST: usize = 34;
/// Longest headers that are short: Ethernet, IPv4, and GRE.
const SHORT: usize = 38;
/// Shortest headers that are long: the words behind the first ones end within them.
const LONG: usize = HEAD + 8;
/// Longest headers of an adjacency: Ethernet, IPv4, and 12 bytes of tunnel.
const LONGEST: usize = 46;
/// What stands for headers that are not written here.
const OTHER: u8 = 1;
/// Bytes of the headers that are written word by word from the front.
const HEAD: usize = 32;
/// Where the outer IPv4 header starts, and what is behind it.
const L3: usize = 14;
const L4: usize = L3 + 20;
/// The negative of the link header's length as a one's complement number.
const NO_LINK: u32 = 0xffff - L3 as u32;

/// The way of plain packets to one backend.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Adjacency {
    /// What a packet has to claim to be for the backend's service; [`Claim::NONE`] if connections of the
    /// service have no entries of their own, or the backend keeps none.
    pub claim: Claim,
    /// The backend's id, 0 for none, and above [`PORT_SHIFT`] the port packets leave by: measured, cheaper in one word.
    to: u32,
    /// One's complement sum of the outer IPv4 header without DSCP and ECN, and with the frame's length still to be added
    /// instead of its own.
    sum: u16,
    /// What inner packets have fewer bytes than; negative if the headers are long, 0 if there are none.
    limit: i16,
    /// The first bytes of the headers in little-endian words; DSCP and ECN, length and checksum are zero.
    head: [u64; HEAD / 8],
    /// The next bytes of long headers: six at most. The seventh says how long the headers are ([`SHORTEST`] to
    /// [`LONGEST`]; [`OTHER`] if packets to the backend take more than that, 0 if there is no backend), the eighth that UDP
    /// and GUE stand in them.
    middle: u64,
    /// The last eight bytes.
    tail: u64,
}

/// See [`Adjacency::to`].
const PORT_SHIFT: u32 = 24;
const _: () = assert!(BackendId::MAX.get() < 1 << PORT_SHIFT);
/// See [`Adjacency::middle`].
const LEN_SHIFT: u32 = 48;
const GUE: u64 = 1 << 56;

// One line is asked for, and one is read.
const _: () = assert!(size_of::<Adjacency>() == 64);

impl Adjacency {
    /// No backend.
    pub const NONE: Adjacency = Adjacency {
        claim: Claim::NONE,
        to: 0,
        sum: 0,
        limit: 0,
        head: [0; HEAD / 8],
        middle: 0,
        tail: 0,
    };

    /// The adjacency of a backend that does not exist.
    pub fn missing(id: BackendId) -> Self {
        Adjacency {
            to: id.get(),
            ..Adjacency::NONE
        }
    }

    /// The adjacency of a backend whose service is claimed by `claim`.
    pub fn new(id: BackendId, backend: &Backend, claim: Claim) -> Self {
        // Packets that an entry is found for by a look alone start nothing, so a draining backend has them too.
        let claim = match backend.state {
            BackendState::Up | BackendState::Drain => claim,
            BackendState::Down => Claim::NONE,
        };
        let template = &backend.template;
        let bytes = template.bytes();
        let plain = backend.delivery == Delivery::Tunnel
            && template.is_plain()
            && !backend.detours
            && matches!(bytes.len(), SHORTEST..=SHORT | LONG..=LONGEST);
        match backend.egress.filter(|_| plain) {
            Some(port) => {
                let mut head = [0, 8, 16, 24].map(|at| word(&bytes[at..]));
                let mut middle = word(&bytes[HEAD..]) & ((1 << LEN_SHIFT) - 1);
                let mut tail = word(&bytes[bytes.len() - 8..]);
                // The template has its own length there.
                head[2] &= !0xffff;
                if template.gue {
                    // And there, in the UDP header.
                    tail &= !0xffff;
                    middle |= GUE;
                }
                // Nothing has more than 9,216 bytes.
                let room = backend.mtu.saturating_sub(template.overhead());
                let limit = room.min(i16::MAX as u16 - 1) as i16 + 1;
                Adjacency {
                    claim,
                    to: id.get() | u32::from(port.0) << PORT_SHIFT,
                    // The template's sum holds the headers' own length.
                    sum: fold(template.partial_sum - u32::from(template.overhead()) + NO_LINK),
                    limit: if bytes.len() > SHORT { -limit } else { limit },
                    head,
                    middle: middle | u64::from(template.len) << LEN_SHIFT,
                    tail,
                }
            }
            None => Adjacency {
                claim,
                middle: u64::from(OTHER) << LEN_SHIFT,
                ..Adjacency::missing(id)
            },
        }
    }

    /// Bytes of the headers.
    #[inline(always)]
    fn len(&self) -> u8 {
        (self.middle >> LEN_SHIFT) as u8
    }

    /// Whether there is a backend.
    #[inline(always)]
    pub fn leads_somewhere(&self) -> bool {
        self.len() != 0
    }

    /// Bytes of the headers, if they are as `LONG` as asked for and a packet of `inner` bytes fits the way behind them.
    #[inline(always)]
    pub fn room_for<const LONG: bool>(&self, inner: u32) -> Option<usize> {
        let limit = i32::from(self.limit);
        let fits = (inner as i32) < if LONG { -limit } else { limit };
        fits.then_some(usize::from(self.len()))
    }

    /// The number of the backend, or 0.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        self.to & ((1 << PORT_SHIFT) - 1)
    }

    /// The port packets leave by.
    #[inline(always)]
    pub fn port(&self) -> PortIndex {
        PortIndex((self.to >> PORT_SHIFT) as u8)
    }

    /// A number whose bits differ from those of others as its port does, for [`Adjacency::is_one_port`].
    #[inline(always)]
    pub fn exit(&self) -> u32 {
        self.to
    }

    /// Whether ways leave by one port, by all `differences` of their exits.
    #[inline(always)]
    pub fn is_one_port(differences: u32) -> bool {
        differences >> PORT_SHIFT == 0
    }

    /// Writes the headers to the front of `packet`, which has room for them before an inner packet with this
    /// DSCP and ECN and of this flow; returns the length of both. `None`, and the packet good for nothing, if it is
    /// too short to be one.
    ///
    /// In words, with what changes from packet to packet put into them before they are stored: measured, a third
    /// cheaper than a copy of the template that is corrected in place.
    #[inline(always)]
    #[must_use]
    pub fn write<const LONG: bool>(
        &self,
        packet: &mut [u8],
        (head, class): (usize, u8),
        hash: &FlowHash,
    ) -> Option<usize> {
        let len = packet.len();
        let (out, _) = packet.split_at_mut_checked(head)?;
        let front = out.first_chunk_mut::<HEAD>()?.as_chunks_mut().0;
        let total = (len - L3) as u16;
        let sum = !fold(u32::from(self.sum) + len as u32 + u32::from(class));
        let [a, b, c, d] = self.head;
        let words = [
            a,
            b | u64::from(class) << 56,
            c | u64::from(total.swap_bytes()),
            d | u64::from(sum.swap_bytes()),
        ];
        for (place, word) in front.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        let mut tail = self.tail;
        if LONG {
            // With two bytes that are not the headers'. The tail covers them.
            *out[HEAD..].first_chunk_mut()? = self.middle.to_le_bytes();
            if self.middle & GUE != 0 {
                tail |= gue(out, len, *hash);
            }
        }
        *out.last_chunk_mut()? = tail.to_le_bytes();
        Some(len)
    }
}

/// Writes the source port of GUE; returns the word that has the length of the UDP packet.
fn gue(out: &mut [u8], len: usize, hash: FlowHash) -> u64 {
    out[L4..L4 + 2].copy_from_slice(&gue_source_port(hash).to_be_bytes());
    u64::from(((len - L4) as u16).swap_bytes())
}

/// The first eight bytes as a little-endian word, with zeros for those that are not there.
fn word(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    whole
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, byte)| *to = *byte);
    u64::from_le_bytes(whole)
}

/// Folds a one's complement sum: with its halves exchanged added to it, the upper one holds the sum of both
/// and the carry.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::service::ServiceIndex;
    use crate::table::snapshot::HopIndex;
    use crate::table::template::{LinkHeader, Template, Tunnel};
    use crate::wire::checksum;

    const LINK: LinkHeader = LinkHeader {
        destination: [2, 0, 0, 0, 0, 1],
        source: [2, 0, 0, 0, 0, 2],
        vlan: None,
        outer_vlan: None,
    };

    fn backend(link: LinkHeader, to: [u8; 4], tunnel: Tunnel, state: BackendState) -> Backend {
        let source = [192, 0, 2, 10].into();
        Backend {
            service: ServiceIndex(0),
            mtu: 1500,
            hop: HopIndex(0),
            egress: Some(PortIndex(3)),
            state,
            detours: false,
            template: Template::new(link, source, to.into(), tunnel, false).expect("one family"),
            delivery: Delivery::Tunnel,
        }
    }

    const ID: BackendId = BackendId::MAX;

    /// The bytes of short headers, and those of long ones.
    fn room_for(adjacency: &Adjacency, inner: u32) -> (Option<usize>, Option<usize>) {
        let (short, long) = (
            adjacency.room_for::<false>(inner),
            adjacency.room_for::<true>(inner),
        );
        (short, long)
    }

    fn claim() -> Claim {
        Claim::of_service(ServiceIndex(0))
    }

    proptest! {
        /// The headers are the template's, and the checksum is right for every length and class.
        #[test]
        fn headers_are_the_templates(
            to: [u8; 4],
            class: u8,
            inner in 28u16..1400,
            hash: u64,
            tunnel in prop::sample::select(vec![
                Tunnel::Gre { key: None },
                Tunnel::Gre { key: Some(7) },
                Tunnel::Ipip,
                Tunnel::Gue { port: 6080 },
            ]),
        ) {
            let backend = backend(LINK, to, tunnel, BackendState::Up);
            let adjacency = Adjacency::new(ID, &backend, claim());
            let (short, long) = room_for(&adjacency, inner.into());
            prop_assert_ne!(short.is_some(), long.is_some());
            let len = short.or(long).expect("room");
            let mut packet = vec![0xee; len + usize::from(inner)];
            let hash = FlowHash(hash);
            let written = match short {
                Some(_) => adjacency.write::<false>(&mut packet, (len, class), &hash),
                None => adjacency.write::<true>(&mut packet, (len, class), &hash),
            };
            prop_assert_eq!(written, Some(packet.len()));
            prop_assert!(checksum::is_valid(&packet[L3..L3 + 20]));
            let mut expected = backend.template.bytes().to_vec();
            prop_assert_eq!(expected.len(), len);
            expected[L3 + 1] = class;
            expected[L3 + 2..L3 + 4].copy_from_slice(&((len - L3) as u16 + inner).to_be_bytes());
            let sum = backend.template.checksum_of(inner, class, 0);
            expected[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
            if tunnel == (Tunnel::Gue { port: 6080 }) {
                expected[L4..L4 + 2].copy_from_slice(&gue_source_port(hash).to_be_bytes());
                expected[L4 + 4..L4 + 6].copy_from_slice(&(8 + 4 + inner).to_be_bytes());
            }
            prop_assert_eq!(&packet[..len], expected);
            prop_assert!(packet[len..].iter().all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn what_does_not_fit_the_way_has_no_room() {
        let gue = Tunnel::Gue { port: 6080 };
        let long = backend(LINK, [198, 51, 100, 1], gue, BackendState::Up);
        let long = Adjacency::new(ID, &long, claim());
        assert_eq!(room_for(&long, 1468), (None, Some(46)));
        assert_eq!(room_for(&long, 1469), (None, None));
        let backend = backend(LINK, [198, 51, 100, 1], Tunnel::Ipip, BackendState::Up);
        let adjacency = Adjacency::new(ID, &backend, claim());
        assert_eq!(room_for(&adjacency, 1480), (Some(34), None));
        assert_eq!(room_for(&adjacency, 1481), (None, None));
        assert_eq!((adjacency.port(), adjacency.id()), (PortIndex(3), ID.get()));
    }

    #[test]
    fn headers_that_are_not_plain_are_not_written() {
        let gre = Tunnel::Gre { key: None };
        let up = |link, tunnel| backend(link, [198, 51, 100, 1], tunnel, BackendState::Up);
        let tagged = LinkHeader {
            vlan: Some(5),
            ..LINK
        };
        let held = Backend {
            egress: None,
            ..up(LINK, gre)
        };
        let mut spread = up(LINK, gre);
        spread.template.entropy_bits = 8;
        for backend in [up(tagged, gre), spread, held] {
            let adjacency = Adjacency::new(ID, &backend, claim());
            assert_eq!(room_for(&adjacency, 28), (None, None));
            assert!(adjacency.leads_somewhere());
            assert_eq!(adjacency.id(), ID.get());
            assert_eq!(
                adjacency.claim,
                claim(),
                "its connections are looked for all the same"
            );
        }
        assert_eq!(room_for(&Adjacency::NONE, 28), (None, None));
        assert_eq!(room_for(&Adjacency::NONE, 0), (None, None));
        assert!(!Adjacency::NONE.leads_somewhere());
    }

    #[test]
    fn a_dead_backend_is_claimed_by_nobody() {
        let gre = Tunnel::Gre { key: None };
        for (state, kept) in [
            (BackendState::Up, claim()),
            (BackendState::Drain, claim()),
            (BackendState::Down, Claim::NONE),
        ] {
            let backend = backend(LINK, [198, 51, 100, 1], gre, state);
            assert_eq!(Adjacency::new(ID, &backend, claim()).claim, kept);
        }
    }
}
