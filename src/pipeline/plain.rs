//! The frame that nearly every frame is, read without a branch on what is in it: TCP or UDP in IPv4
//! without options or IPv6 without extension headers, in one piece, in no tunnel, behind the link
//! header that its port expects.
//!
//! All checks of [`classify`](super::classify::classify) are made, but their outcomes are collected in
//! one word, so that a mix of protocols costs no mispredicted branch. A frame that fails one of them is
//! not wrong, just not plain: `classify` reads it again and finds out.

use crate::table::hash::{FlowBurst, FlowHash, V6FlowBurst};
use crate::table::peers::Origin;
use crate::table::service::Address;
use crate::table::snapshot::PortView;
use crate::wire::tcp::TcpFlags;
use crate::wire::{IpProtocol, TrafficClass};

use super::classify::{Kind, Parsed};

const TCP: u8 = IpProtocol::TCP.0;
const UDP: u8 = IpProtocol::UDP.0;
/// Bytes of the headers that are looked at, behind the link header: IP, and TCP's without options.
const V4_HEAD: usize = 20 + 20;
const V6_HEAD: usize = 40 + 20;
/// Link headers: Ethernet, and with one tag.
const BARE: usize = 14;
const TAGGED: usize = 18;

/// Reads a plain frame into `parsed` and enters its flow in `lane` of the burst to hash. `false` if the
/// frame is not plain; what `parsed` and the lane hold then means nothing.
#[inline(always)]
pub(super) fn plain(
    port: &PortView,
    frame: &[u8],
    parsed: &mut Parsed,
    (lane, v4, v6): (usize, &mut FlowBurst, &mut V6FlowBurst),
) -> bool {
    match port.vlan {
        None => {
            link::<BARE, { BARE + V4_HEAD }, { BARE + V6_HEAD }>(port, frame, parsed, lane, v4, v6)
        }
        Some(_) if port.outer_vlan.is_some() => false,
        Some(vlan) => {
            let tag = frame.get(12..16).is_some_and(|tag| {
                tag[..2] == [0x81, 0x00] && u16::from_be_bytes([tag[2], tag[3]]) & 0xfff == vlan
            });
            tag && link::<TAGGED, { TAGGED + V4_HEAD }, { TAGGED + V6_HEAD }>(
                port, frame, parsed, lane, v4, v6,
            )
        }
    }
}

#[inline(always)]
fn link<const L3: usize, const V4: usize, const V6: usize>(
    port: &PortView,
    frame: &[u8],
    parsed: &mut Parsed,
    lane: usize,
    v4: &mut FlowBurst,
    v6: &mut V6FlowBurst,
) -> bool {
    let Some(head) = frame.first_chunk::<V4>() else {
        return false;
    };
    if !port.filter.takes(frame) || frame.len() > usize::from(u16::MAX) {
        return false;
    }
    match be16(head, L3 - 2) {
        0x0800 => ipv4::<L3, V4>(head, frame.len(), parsed, lane, v4),
        0x86dd => frame
            .first_chunk::<V6>()
            .is_some_and(|head| ipv6::<L3, V6>(head, frame.len(), parsed, lane, v6)),
        _ => false,
    }
}

#[inline(always)]
fn ipv4<const L3: usize, const N: usize>(
    head: &[u8; N],
    len: usize,
    parsed: &mut Parsed,
    lane: usize,
    burst: &mut FlowBurst,
) -> bool {
    const FRAGMENT: u16 = 0x3fff;
    const DONT_FRAGMENT: u16 = 0x4000;
    let l4 = L3 + 20;
    let protocol = head[L3 + 9];
    let fragment = be16(head, L3 + 6);
    let end = L3 + usize::from(be16(head, L3 + 2));
    let (source, destination) = (le32(head, L3 + 12), le32(head, L3 + 16));
    let (flags, fits) = transport(head, l4, protocol, end);
    let ok = (head[L3] == 0x45)
        & (fragment & FRAGMENT == 0)
        & (head[L3 + 8] != 0)
        & (end <= len)
        & fits
        & (header_sum(head, L3) == 0xffff);
    let ports = le32(head, l4);
    burst.set_wire(lane, protocol, source, destination, ports);
    *parsed = Parsed {
        kind: Kind::Ip,
        l3: L3 as u16,
        l4: l4 as u16,
        end: end as u16,
        decapsulated: false,
        origin: Origin::Network,
        protocol: IpProtocol(protocol),
        flags: TcpFlags(flags),
        class: TrafficClass(head[L3 + 1]),
        dont_fragment: fragment & DONT_FRAGMENT != 0,
        fragment: None,
        source: Address::V4(source.swap_bytes()),
        destination: Address::V4(destination.swap_bytes()),
        ports: (be16(head, l4), be16(head, l4 + 2)),
        hash: FlowHash(0),
    };
    ok
}

#[inline(always)]
fn ipv6<const L3: usize, const N: usize>(
    head: &[u8; N],
    len: usize,
    parsed: &mut Parsed,
    lane: usize,
    burst: &mut V6FlowBurst,
) -> bool {
    let l4 = L3 + 40;
    let protocol = head[L3 + 6];
    let end = l4 + usize::from(be16(head, L3 + 4));
    let (source, destination) = (le128(head, L3 + 8), le128(head, L3 + 24));
    let (flags, fits) = transport(head, l4, protocol, end);
    let ok = (head[L3] >> 4 == 6) & (head[L3 + 7] != 0) & (end <= len) & fits;
    burst.set_wire(lane, protocol, source, destination, le32(head, l4));
    *parsed = Parsed {
        kind: Kind::Ip,
        l3: L3 as u16,
        l4: l4 as u16,
        end: end as u16,
        decapsulated: false,
        origin: Origin::Network,
        protocol: IpProtocol(protocol),
        flags: TcpFlags(flags),
        class: TrafficClass(head[L3] << 4 | head[L3 + 1] >> 4),
        dont_fragment: true,
        fragment: None,
        source: Address::V6(source.swap_bytes()),
        destination: Address::V6(destination.swap_bytes()),
        ports: (be16(head, l4), be16(head, l4 + 2)),
        hash: FlowHash(0),
    };
    ok
}

/// TCP's flags, and whether it is TCP or UDP with a header that says the truth about its length. Both
/// are worked out whatever it is.
#[inline(always)]
fn transport<const N: usize>(head: &[u8; N], l4: usize, protocol: u8, end: usize) -> (u8, bool) {
    let (is_tcp, is_udp) = (protocol == TCP, protocol == UDP);
    let tcp_len = usize::from(head[l4 + 12] >> 4) * 4;
    let udp_len = usize::from(be16(head, l4 + 4));
    let fits_tcp = is_tcp & (tcp_len >= 20) & (l4 + tcp_len <= end);
    let fits_udp = is_udp & (udp_len >= 8) & (l4 + udp_len <= end);
    let flags = head[l4 + 13] & 0u8.wrapping_sub(u8::from(is_tcp));
    (flags, fits_tcp | fits_udp)
}

/// The one's complement sum of an IPv4 header without options; all ones if its checksum is right (RFC
/// 1071: in whatever byte order).
#[inline(always)]
fn header_sum<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    const LOW: u64 = 0xffff_ffff;
    let (a, b) = (le64(head, at), le64(head, at + 8));
    let sum = (a & LOW) + (a >> 32) + (b & LOW) + (b >> 32) + u64::from(le32(head, at + 16));
    let sum = (sum & LOW) as u32 as u64 + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[inline(always)]
fn be16<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}

#[inline(always)]
fn le32<const N: usize>(head: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[inline(always)]
fn le64<const N: usize>(head: &[u8; N], at: usize) -> u64 {
    u64::from(le32(head, at)) | u64::from(le32(head, at + 4)) << 32
}

#[inline(always)]
fn le128<const N: usize>(head: &[u8; N], at: usize) -> u128 {
    u128::from(le64(head, at)) | u128::from(le64(head, at + 8)) << 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::classify::classify;
    use crate::table::hash::{BURST, flow_hash_v4_burst, flow_hash_v6_burst};
    use crate::table::snapshot::PortIndex;
    use crate::testkit::Rail;
    use crate::testkit::traffic::{kinds, pools, repair_ipv4};

    /// What `plain` makes of a frame, with its hash; `None` if it leaves the frame to `classify`.
    fn read(rail: &Rail, frame: &[u8]) -> Option<Parsed> {
        let snapshot = rail.snapshot();
        let (mut v4, mut v6) = (FlowBurst::new(), V6FlowBurst::new());
        let mut parsed = Parsed::EMPTY;
        let lanes = (3, &mut v4, &mut v6);
        if !plain(&snapshot.ports[0], frame, &mut parsed, lanes) {
            return None;
        }
        let mut hashes = [FlowHash(0); BURST];
        match parsed.destination {
            Address::V4(_) => flow_hash_v4_burst(&snapshot.hash_key, &v4, &mut hashes),
            Address::V6(_) => flow_hash_v6_burst(&snapshot.hash_key, &v6, &mut hashes),
        }
        parsed.hash = hashes[3];
        Some(parsed)
    }

    fn classified(rail: &Rail, frame: &[u8]) -> Parsed {
        let snapshot = rail.snapshot();
        let mut parsed = classify(snapshot, PortIndex(0), frame);
        parsed.hash = crate::pipeline::flow_hash(snapshot, &parsed);
        parsed
    }

    /// Ports without a tag, with one, and with two.
    fn rails() -> [Rail; 3] {
        let [pool, ..] = pools();
        let tagged = pool.replace("mtu = 1600", "mtu = 1600\n    vlan = 10");
        let twice = tagged.replace("vlan = 10", "vlan = 10\n    outer_vlan = 20");
        [&pool, &tagged, &twice].map(|pool| Rail::new(pool))
    }

    #[test]
    fn ordinary_packets_are_plain() {
        let [rail, tagged, twice] = rails();
        let tcp = |packet: crate::testkit::PacketBuilder| {
            packet
                .ipv4("198.51.100.7", "203.0.113.10")
                .tcp(1, 443)
                .syn()
        };
        let frame = tcp(crate::testkit::ether()).build();
        assert!(read(&rail, &frame).is_some() && read(&tagged, &frame).is_none());
        let frame = tcp(crate::testkit::ether().vlan(10)).build();
        assert!(read(&rail, &frame).is_none() && read(&tagged, &frame).is_some());
        // Two tags are rare enough to be read the long way.
        assert!(read(&twice, &frame).is_none());
        let plain = kinds()
            .iter()
            .filter(|frame| read(&rail, frame).is_some())
            .count();
        assert!(plain >= 4, "{plain} of all kinds");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        /// What is read as plain is what `classify` reads, field by field.
        #[test]
        fn plain_reads_what_classify_reads(
            which in any::<prop::sample::Index>(),
            damage in prop::collection::vec((0..80usize, any::<u8>()), 0..3),
            cut in prop::option::of(0..90usize),
            repair: bool,
        ) {
            let kinds = kinds();
            let mut frame = kinds[which.index(kinds.len())].clone();
            for (at, value) in damage {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if let Some(cut) = cut {
                frame.truncate(cut);
            }
            if repair {
                repair_ipv4(&mut frame);
            }
            for rail in rails() {
                if let Some(parsed) = read(&rail, &frame) {
                    let expected = classified(&rail, &frame);
                    prop_assert_eq!(format!("{parsed:?}"), format!("{expected:?}"));
                }
            }
        }
    }
}
