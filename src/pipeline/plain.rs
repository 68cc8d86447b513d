//! The frame that nearly every frame is, read without a branch on what is in it: TCP or UDP in IPv4
//! without options or IPv6 without extension headers, in one piece, in no tunnel, behind the link
//! header that its port expects.
//!
//! The headers of a burst are copied into an array per field, and checked and taken apart in plain loops
//! over those arrays, which the compiler turns into vector code: some ten instructions per packet. All
//! checks of [`classify`](super::classify::classify) are made, and a mix of protocols costs no mispredicted
//! branch. A frame that fails one of them is not wrong, just not plain: `classify` reads it again and finds
//! out.

use crate::hw;
use crate::table::hash::{BURST, V4Flows, V6Flows};
use crate::table::snapshot::PortView;
use crate::wire::IpProtocol;

use super::frame::Frame;

const TCP: u32 = IpProtocol::TCP.0 as u32;
const UDP: u32 = IpProtocol::UDP.0 as u32;
/// Bytes of the headers that are looked at, behind the link header: IP, and TCP's without options.
const V4_HEAD: usize = 20 + 20;
const V6_HEAD: usize = 40 + 20;
/// Link headers: Ethernet, and with one tag.
const BARE: usize = 14;
const TAGGED: usize = 18;

/// EtherTypes, as they stand in the bytes of a frame.
const V4_KIND: u16 = u16::from_le_bytes([0x08, 0x00]);
const V6_KIND: u16 = u16::from_le_bytes([0x86, 0xdd]);

/// The headers of a burst, read as little-endian numbers from the bytes of the frames.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The tuples to hash.
    pub(super) v4: V4Flows,
    /// As for IPv4.
    pub(super) v6: V6Flows,
    /// Bytes 0 to 3 and 2 to 5 of the frame: where it goes.
    station: [[u32; BURST]; 2],
    /// Bytes 12 to 15: the tag, where there is one.
    tag: [u32; BURST],
    /// Bytes of the frame.
    len: [u32; BURST],
    /// The first three words of an IPv4 header, the first two of an IPv6 one.
    ip: [[u32; BURST]; 3],
    /// The second and the fourth word of the transport header.
    transport: [[u32; BURST]; 2],
}

/// What plain packets are, as arrays.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// Where the packet ends (16 bits), DSCP and ECN (8), protocol (8).
    pub(super) shape: [u32; BURST],
    /// What it says about its connection: TCP flags FIN to ACK, and 32 for TCP.
    pub(super) says: [u32; BURST],
    /// Where the IP headers start.
    pub(super) l3: u16,
}

/// Lanes of plain frames, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// IPv4.
    pub(super) v4: u32,
    /// IPv6.
    pub(super) v6: u32,
}

/// Reads the plain frames of a burst; what the other lanes hold means nothing.
pub(super) fn read<F: Frame>(
    port: &PortView,
    frames: &[F],
    fields: &mut Fields,
    plain: &mut Plain,
) -> Read {
    match port.vlan {
        None => {
            let read = gather::<F, BARE, { BARE + V4_HEAD }, { BARE + V6_HEAD }>(frames, fields);
            check::<BARE>(port, (0, 0), read, fields, plain)
        }
        Some(_) if port.outer_vlan.is_some() => Read::default(),
        Some(vlan) => {
            let read =
                gather::<F, TAGGED, { TAGGED + V4_HEAD }, { TAGGED + V6_HEAD }>(frames, fields);
            let [id_high, id_low] = vlan.to_be_bytes();
            let tag = |[a, b]: [u8; 2], high, low| u32::from_le_bytes([a, b, high, low]);
            let tag = (
                tag([0xff; 2], 0x0f, 0xff),
                tag([0x81, 0x00], id_high, id_low),
            );
            check::<TAGGED>(port, tag, read, fields, plain)
        }
    }
}

/// Copies the headers of the frames that may be plain by their length and EtherType.
#[inline(always)]
fn gather<F: Frame, const L3: usize, const V4: usize, const V6: usize>(
    frames: &[F],
    fields: &mut Fields,
) -> Read {
    let mut kinds = [0; BURST];
    for (frame, lane) in frames.iter().zip(0..BURST) {
        frame.prefetch_headroom();
        let frame = frame.data();
        let Some(head) = frame.first_chunk::<V4>() else {
            continue;
        };
        fields.station[0][lane] = le32(head, 0);
        fields.station[1][lane] = le32(head, 2);
        fields.len[lane] = frame.len() as u32;
        if L3 == TAGGED {
            fields.tag[lane] = le32(head, 12);
        }
        let kind = u16::from_le_bytes([head[L3 - 2], head[L3 - 1]]);
        if kind == V4_KIND {
            kinds[lane] = V4_KIND;
            gather_v4::<L3, V4>(head, lane, fields);
        } else if kind == V6_KIND
            && let Some(head) = frame.first_chunk::<V6>()
        {
            kinds[lane] = V6_KIND;
            gather_v6::<L3, V6>(head, lane, fields);
        }
    }
    let lanes_of = |kind| bits(&kinds.map(|k| u32::from(k == kind)));
    Read {
        v4: lanes_of(V4_KIND),
        v6: lanes_of(V6_KIND),
    }
}

#[inline(always)]
fn gather_v4<const L3: usize, const N: usize>(head: &[u8; N], lane: usize, fields: &mut Fields) {
    for (at, word) in fields.ip.iter_mut().enumerate() {
        word[lane] = le32(head, L3 + 4 * at);
    }
    fields.v4.source[lane] = le32(head, L3 + 12);
    fields.v4.destination[lane] = le32(head, L3 + 16);
    fields.v4.ports[lane] = le32(head, L3 + 20);
    fields.transport[0][lane] = le32(head, L3 + 24);
    fields.transport[1][lane] = le32(head, L3 + 32);
}

#[inline(always)]
fn gather_v6<const L3: usize, const N: usize>(head: &[u8; N], lane: usize, fields: &mut Fields) {
    for at in 0..2 {
        fields.ip[at][lane] = le32(head, L3 + 4 * at);
        fields.v6.source[at][lane] = le64(head, L3 + 8 + 8 * at);
        fields.v6.destination[at][lane] = le64(head, L3 + 24 + 8 * at);
    }
    fields.v6.ports[lane] = le32(head, L3 + 40);
    fields.transport[0][lane] = le32(head, L3 + 44);
    fields.transport[1][lane] = le32(head, L3 + 52);
}

/// Leaves those of the lanes that are plain, and takes them apart.
#[inline(always)]
fn check<const L3: usize>(
    port: &PortView,
    tag: (u32, u32),
    read: Read,
    fields: &mut Fields,
    plain: &mut Plain,
) -> Read {
    plain.l3 = L3 as u16;
    let here = if read.v4 | read.v6 == 0 {
        0
    } else {
        for_us(port, tag, fields)
    };
    let mut checked = Read::default();
    if read.v4 != 0 {
        checked.v4 = read.v4 & here & check_v4::<L3>(fields, read.v4, plain);
    }
    if read.v6 != 0 {
        checked.v6 = read.v6 & here & check_v6::<L3>(fields, read.v6, plain);
    }
    checked
}

/// The lanes of frames to this port, with its tag.
#[inline(always)]
fn for_us(port: &PortView, (tag_mask, tag): (u32, u32), fields: &Fields) -> u32 {
    let [first, second] = port.filter.halves();
    let mut here = [0; BURST];
    hw::vectorised(
        #[inline(always)]
        || {
            for (lane, here) in here.iter_mut().enumerate() {
                let wrong = fields.station[0][lane] & first.0 ^ first.1
                    | fields.station[1][lane] & second.0 ^ second.1
                    | fields.tag[lane] & tag_mask ^ tag;
                *here = u32::from(wrong == 0) & u32::from(fields.len[lane] <= u16::MAX.into());
            }
        },
    );
    bits(&here)
}

#[inline(always)]
fn check_v4<const L3: usize>(fields: &mut Fields, lanes: u32, plain: &mut Plain) -> u32 {
    /// Offset and "more fragments" of the second word.
    const FRAGMENT: u32 = 0xff3f_0000;
    let mut ok = [0; BURST];
    let Fields {
        v4,
        len,
        ip,
        transport,
        ..
    } = fields;
    hw::vectorised(
        #[inline(always)]
        || {
            for (lane, ok) in ok.iter_mut().enumerate() {
                let [a, b, c] = [ip[0][lane], ip[1][lane], ip[2][lane]];
                let protocol = c >> 8 & 0xff;
                let end = L3 as u32 + swap16(a >> 16);
                let (says, fits) = flow(
                    protocol,
                    [transport[0][lane], transport[1][lane]],
                    L3 as u32 + 20,
                    end,
                );
                // RFC 1071: in whatever byte order; all ones if the checksum is right.
                let sum = halves(a) + halves(b) + halves(c);
                let sum = sum + halves(v4.source[lane]) + halves(v4.destination[lane]);
                let sum = halves(halves(sum));
                *ok = u32::from(a & 0xff == 0x45)
                    & u32::from(b & FRAGMENT == 0)
                    & u32::from(c & 0xff != 0)
                    & u32::from(sum == 0xffff)
                    & u32::from(end <= len[lane])
                    & fits;
                v4.protocol[lane] = protocol;
                let read = 0u32.wrapping_sub(lanes >> lane & 1);
                plain.shape[lane] = end << 16 | a & 0xff00 | protocol;
                plain.says[lane] = says & read;
            }
        },
    );
    bits(&ok)
}

#[inline(always)]
fn check_v6<const L3: usize>(fields: &mut Fields, lanes: u32, plain: &mut Plain) -> u32 {
    let mut ok = [0; BURST];
    let Fields {
        v6,
        len,
        ip,
        transport,
        ..
    } = fields;
    hw::vectorised(
        #[inline(always)]
        || {
            for (lane, ok) in ok.iter_mut().enumerate() {
                let [a, b] = [ip[0][lane], ip[1][lane]];
                let protocol = b >> 16 & 0xff;
                let end = L3 as u32 + 40 + swap16(b);
                let (says, fits) = flow(
                    protocol,
                    [transport[0][lane], transport[1][lane]],
                    L3 as u32 + 40,
                    end,
                );
                *ok = u32::from(a & 0xf0 == 0x60)
                    & u32::from(b >> 24 != 0)
                    & u32::from(end <= len[lane])
                    & fits;
                v6.protocol[lane] = protocol;
                // The class stands in the second half of the first byte and the first of the second.
                let class = a << 4 & 0xf0 | a >> 12 & 0x0f;
                let shape = end << 16 | class << 8 | protocol;
                let read = 0u32.wrapping_sub(lanes >> lane & 1);
                plain.shape[lane] = shape & read | plain.shape[lane] & !read;
                plain.says[lane] = says & read | plain.says[lane] & !read;
            }
        },
    );
    bits(&ok)
}

/// What a transport header says about its connection, and whether it is TCP's or UDP's and tells the
/// truth about its length. Both are worked out whatever it is.
#[inline(always)]
fn flow(protocol: u32, transport: [u32; 2], l4: u32, end: u32) -> (u32, u32) {
    let (is_tcp, is_udp) = (u32::from(protocol == TCP), u32::from(protocol == UDP));
    let tcp_len = (transport[1] & 0xf0) >> 2;
    let udp_len = swap16(transport[0]);
    let fits_tcp = is_tcp & u32::from(tcp_len >= 20) & u32::from(l4 + tcp_len <= end);
    let fits_udp = is_udp & u32::from(udp_len >= 8) & u32::from(l4 + udp_len <= end);
    let flags = transport[1] >> 8 & 0x1f | 0x20;
    (flags & 0u32.wrapping_sub(is_tcp), fits_tcp | fits_udp)
}

/// The first two bytes as a number in network order.
#[inline(always)]
fn swap16(word: u32) -> u32 {
    (word & 0xff) << 8 | word >> 8 & 0xff
}

/// The sum of both halves.
#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The lanes that are not zero but one, as bits.
#[inline(always)]
fn bits(lanes: &[u32; BURST]) -> u32 {
    let shifted = lanes.iter().enumerate().map(|(lane, bit)| bit << lane);
    shifted.fold(0, |bits, bit| bits | bit)
}

#[inline(always)]
fn le32<const N: usize>(head: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[inline(always)]
fn le64<const N: usize>(head: &[u8; N], at: usize) -> u64 {
    u64::from(le32(head, at)) | u64::from(le32(head, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::Packet;
    use super::super::stage::{Lanes, Stage, read};
    use crate::pipeline::classify::Kind;
    use crate::table::service::ServiceIndex;
    use crate::table::snapshot::PortIndex;
    use crate::testkit::traffic::{kinds, pools, repair_ipv4};
    use crate::testkit::{Frame, Rail};

    /// What is read of a frame in a burst of its own, with its service; `None` if it is not plain.
    fn plain(rail: &Rail, frame: &[u8]) -> Option<(Packet, Option<ServiceIndex>)> {
        let snapshot = rail.snapshot();
        let mut lanes = Lanes::default();
        let mut stage = Stage::new();
        // Whatever was in the lane before.
        let frames = [kinds()[0].as_slice(), frame].map(Frame::new);
        lanes.look_up(snapshot, &snapshot.ports[0], &frames, &mut stage);
        let is_plain = stage.others & 2 == 0;
        is_plain.then(|| (stage.packet(1), Some(stage.services[1])))
    }

    fn classified(rail: &Rail, frame: &[u8]) -> (Packet, Option<ServiceIndex>) {
        let snapshot = rail.snapshot();
        let parsed = read(snapshot, PortIndex(0), &Frame::new(frame));
        assert_eq!((parsed.kind, parsed.fragment), (Kind::Ip, None));
        let map = &snapshot.map;
        let service = map.lookup(parsed.destination, parsed.protocol.0, parsed.ports.1);
        (Packet::from(&parsed), service)
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
        assert!(plain(&rail, &frame).is_some() && plain(&tagged, &frame).is_none());
        let frame = tcp(crate::testkit::ether().vlan(10)).build();
        assert!(plain(&rail, &frame).is_none() && plain(&tagged, &frame).is_some());
        // Two tags are rare enough to be read the long way.
        assert!(plain(&twice, &frame).is_none());
        let plain = kinds()
            .iter()
            .filter(|frame| plain(&rail, frame).is_some())
            .count();
        assert!(plain >= 2, "{plain} of all kinds");
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
                if let Some(found) = plain(&rail, &frame) {
                    prop_assert_eq!(found, classified(&rail, &frame));
                }
            }
        }
    }
}
