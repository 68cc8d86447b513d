//! What forwarding a plain packet to a backend takes, in one cache line: the proof that the packet is for the
//! backend's service, and the rewrite. Routers call the like an adjacency.

use super::FlowHash;
use super::claim::Claim;
use super::snapshot::{Backend, BackendState, Delivery, PortIndex};
use super::template::gue_source_port;

/// Shortest headers of an adjacency: Ethernet and IPv4.
const SHORTEST: usize = 34;
/// Longest headers of an adjacency: Ethernet, IPv4, and 14 bytes of tunnel.
const LONGEST: usize = 48;
/// What stands for headers that are not written here.
const OTHER: u8 = 1;
/// Bytes of the headers that are written word by word from the front, and those from the end.
const HEAD: usize = 32;
const TAIL: usize = 16;
/// Where the outer IPv4 header starts, and what is behind it.
const L3: usize = 14;
const L4: usize = L3 + 20;

/// The way of plain packets to one backend.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Adjacency {
    /// What a packet has to claim to be for the backend's service; [`Claim::NONE`] if connections of the
    /// service have no entries of their own, or the backend keeps none.
    pub claim: Claim,
    /// One's complement sum of the outer IPv4 header without length, DSCP and ECN.
    sum: u16,
    /// UDP and GUE stand in the tail.
    gue: bool,
    /// Largest outer packet the way carries, in bytes.
    mtu: u16,
    port: u8,
    /// Bytes of the headers, [`SHORTEST`] to [`LONGEST`]; [`OTHER`] if packets to the backend take more than
    /// that, 0 if there is no backend.
    len: u8,
    /// The first bytes of the headers in little-endian words; DSCP and ECN, length and checksum are zero.
    head: [u64; HEAD / 8],
    /// The last bytes of the headers, in the same way.
    tail: [u64; TAIL / 8],
}

// One line is asked for, and one is read.
const _: () = assert!(size_of::<Adjacency>() == 64);

impl Adjacency {
    /// No backend, or one that takes no packets.
    pub const NONE: Adjacency = Adjacency {
        claim: Claim::NONE,
        sum: 0,
        gue: false,
        mtu: 0,
        port: 0,
        len: 0,
        head: [0; HEAD / 8],
        tail: [0; TAIL / 8],
    };

    /// The adjacency of a backend whose service is claimed by `claim`.
    pub fn new(backend: &Backend, claim: Claim) -> Self {
        // Packets that an entry is found for by a look alone start nothing, so a draining backend has them too.
        let claim = match backend.state {
            BackendState::Up | BackendState::Drain => claim,
            BackendState::Down => Claim::NONE,
        };
        let template = &backend.template;
        let plain = backend.delivery == Delivery::Tunnel
            && template.is_plain()
            && !backend.detours
            && (SHORTEST..=LONGEST).contains(&template.bytes().len());
        let rewrite = Some(template.bytes()).filter(|_| plain);
        match (rewrite, backend.egress) {
            (Some(bytes), Some(port)) => {
                let (mut head, mut tail) =
                    (words(&bytes[..HEAD]), words(&bytes[bytes.len() - TAIL..]));
                // The template has its own length there.
                head[2] &= !0xffff;
                if template.gue {
                    // And there, in the UDP header.
                    tail[1] &= !0xffff;
                }
                Adjacency {
                    claim,
                    // The template's sum holds the headers' own length.
                    sum: fold(template.partial_sum - u32::from(template.overhead())),
                    gue: template.gue,
                    mtu: backend.mtu,
                    port: port.0,
                    len: template.len,
                    head,
                    tail,
                }
            }
            _ => Adjacency {
                claim,
                len: OTHER,
                ..Adjacency::NONE
            },
        }
    }

    /// Whether there is a backend.
    #[inline(always)]
    pub fn leads_somewhere(&self) -> bool {
        self.len != 0
    }

    /// Bytes of the headers, if the adjacency has them and a packet of `inner` bytes fits the way behind them.
    #[inline(always)]
    pub fn room_for(&self, inner: u32) -> Option<usize> {
        // Without headers the MTU is 0, and every packet is longer.
        let total = inner
            .wrapping_add(u32::from(self.len))
            .wrapping_sub(L3 as u32);
        (total <= u32::from(self.mtu)).then_some(usize::from(self.len))
    }

    /// The port packets leave by.
    #[inline(always)]
    pub fn port(&self) -> PortIndex {
        PortIndex(self.port)
    }

    /// Writes the headers to the front of `packet`, which has room for them before an inner packet with this
    /// DSCP and ECN and of this flow; returns the length of both. `None`, and the packet good for nothing, if it is
    /// too short to be one.
    ///
    /// In words, with what changes from packet to packet put into them before they are stored: measured, a third
    /// cheaper than a copy of the template that is corrected in place.
    #[inline(always)]
    #[must_use]
    pub fn write(&self, packet: &mut [u8], class: u8, hash: &FlowHash) -> Option<usize> {
        let len = packet.len();
        let out = packet.first_chunk_mut::<LONGEST>()?;
        // At least the length of what has just been found.
        let total = (len - L3) as u32;
        let sum = !fold(u32::from(self.sum) + total + u32::from(class));
        let [a, b, c, d] = self.head;
        put(out, 0, a)?;
        put(out, 8, b | u64::from(class) << 56)?;
        put(out, 16, c | u64::from((total as u16).swap_bytes()))?;
        put(out, 24, d | u64::from(sum.swap_bytes()))?;
        let end = usize::from(self.len);
        let [first, mut last] = self.tail;
        if end > HEAD + 8 {
            put(out, end.wrapping_sub(16), first)?;
            if self.gue {
                last |= gue(out, len, *hash);
            }
        }
        put(out, end.wrapping_sub(8), last)?;
        Some(len)
    }
}

/// Writes the source port of GUE; returns the word that has the length of the UDP packet. Cold so that its
/// registers are nothing to the packets that go by GRE.
#[cold]
fn gue(out: &mut [u8; LONGEST], len: usize, hash: FlowHash) -> u64 {
    out[L4..L4 + 2].copy_from_slice(&gue_source_port(hash).to_be_bytes());
    u64::from(((len - L4) as u16).swap_bytes())
}

/// Bytes as little-endian words; their number is that of the bytes.
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut whole = [0; 8];
        whole.copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
    words
}

/// Writes a word; `None` if it does not fit there.
#[inline(always)]
fn put(out: &mut [u8; LONGEST], at: usize, word: u64) -> Option<()> {
    let out = out.get_mut(at..)?.first_chunk_mut()?;
    *out = word.to_le_bytes();
    Some(())
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
            let adjacency = Adjacency::new(&backend, claim());
            let len = adjacency.room_for(inner.into()).expect("room");
            let mut packet = vec![0xee; len + usize::from(inner)];
            let hash = FlowHash(hash);
            prop_assert_eq!(adjacency.write(&mut packet, class, &hash), Some(packet.len()));
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
        let backend = backend(LINK, [198, 51, 100, 1], Tunnel::Ipip, BackendState::Up);
        let adjacency = Adjacency::new(&backend, claim());
        assert_eq!(adjacency.room_for(1480), Some(34));
        assert_eq!(adjacency.room_for(1481), None);
        assert_eq!(adjacency.port(), PortIndex(3));
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
            let adjacency = Adjacency::new(&backend, claim());
            assert_eq!(adjacency.room_for(28), None);
            assert!(adjacency.leads_somewhere());
            assert_eq!(
                adjacency.claim,
                claim(),
                "its connections are looked for all the same"
            );
        }
        assert_eq!(Adjacency::NONE.room_for(28), None);
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
            assert_eq!(Adjacency::new(&backend, claim()).claim, kept);
        }
    }
}
