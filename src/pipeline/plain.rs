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
use crate::table::service::{V4Key, V6Key};
use crate::table::snapshot::PortView;
use crate::wire::IpProtocol;

use super::frame::Frame;
use super::stage::lanes_of;

const TCP: u32 = IpProtocol::TCP.0 as u32;
const UDP: u32 = IpProtocol::UDP.0 as u32;
/// Bytes of the headers that are looked at, behind the link header: IP, and TCP's without options.
const V4_HEAD: usize = 20 + 20;
const V6_HEAD: usize = 40 + 20;
/// Link headers: Ethernet, and with one tag.
const BARE: usize = 14;
const TAGGED: usize = 18;

/// EtherTypes, as they stand in the bytes of a frame.
const V4_KIND: u32 = u32::from_le_bytes([0x08, 0x00, 0, 0]);
const V6_KIND: u32 = u32::from_le_bytes([0x86, 0xdd, 0, 0]);

/// The headers of a burst, read as little-endian numbers from the bytes of the frames.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Bytes 0 to 7 of the frame: where it goes.
    station: [[u32; 2]; BURST],
    /// Bytes 12 to 15: the tag, where there is one.
    tag: [u32; BURST],
    /// The EtherType; 0 if the frame is too short for any packet that is plain.
    kind: [u32; BURST],
    /// Bytes of the frame.
    len: [u32; BURST],
    /// The first four words of an IPv4 header.
    v4_first: [[u32; 4]; BURST],
    /// The last word of an IPv4 header and the first, second and fourth of the transport header.
    v4_last: [[u32; 4]; BURST],
    /// An IPv6 header and the first two words of the transport header.
    v6: [[[u64; 2]; BURST]; 3],
    /// The fourth word of the transport header behind IPv6.
    v6_fourth: [u32; BURST],
}

/// What plain packets are, as arrays.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// IPv4's tuples to hash.
    pub(super) v4: V4Flows,
    /// IPv6's.
    pub(super) v6: V6Flows,
    /// Where the packet ends (16 bits), DSCP and ECN (8), protocol (8).
    pub(super) shape: [u32; BURST],
    /// What it says about its connection: TCP flags FIN to ACK, and 32 for TCP.
    pub(super) says: [u32; BURST],
    /// Not zero if it is not plain after all.
    wrong: [u32; BURST],
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

impl Plain {
    /// What an IPv4 packet is matched to a service by.
    #[inline(always)]
    pub(super) fn v4_key(&self, lane: usize) -> V4Key {
        let port = (self.v4.ports[lane] >> 16) as u16;
        V4Key::from_wire(
            self.v4.protocol[lane] as u8,
            self.v4.destination[lane],
            port,
        )
    }

    /// As [`Plain::v4_key`].
    #[inline(always)]
    pub(super) fn v6_key(&self, lane: usize) -> V6Key {
        let flows = &self.v6;
        let port = (flows.ports[lane] >> 16) as u16;
        let destination = (flows.destination[0][lane], flows.destination[1][lane]);
        V6Key::from_wire(flows.protocol[lane] as u8, destination, port)
    }
}

impl Read {
    /// Both versions.
    #[inline(always)]
    pub(super) fn all(self) -> u32 {
        self.v4 | self.v6
    }

    /// The others.
    #[inline(always)]
    pub(super) fn without(self, lanes: u32) -> Self {
        Read {
            v4: self.v4 & !lanes,
            v6: self.v6 & !lanes,
        }
    }
}

/// Where frames have to go, as masks and values.
#[derive(Debug, Clone, Copy)]
struct ForUs {
    station: [(u32, u32); 2],
    tag: (u32, u32),
}

/// Reads the plain frames of a burst; what the other lanes hold means nothing.
pub(super) fn read<F: Frame>(
    port: &PortView,
    frames: &[F],
    fields: &mut Fields,
    plain: &mut Plain,
) -> Read {
    let station = port.filter.halves();
    match port.vlan {
        None => {
            let read = gather::<F, BARE, { BARE + V4_HEAD }, { BARE + V6_HEAD }>(frames, fields);
            let tag = (0, 0);
            check::<BARE>(ForUs { station, tag }, read, fields, plain)
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
            check::<TAGGED>(ForUs { station, tag }, read, fields, plain)
        }
    }
}

/// Copies the headers of the frames that may be plain by their length and EtherType.
#[inline(always)]
fn gather<F: Frame, const L3: usize, const V4: usize, const V6: usize>(
    frames: &[F],
    fields: &mut Fields,
) -> Read {
    for (frame, lane) in frames.iter().zip(0..BURST) {
        frame.prefetch_headroom();
        let frame = frame.data();
        let Some(head) = frame.first_chunk::<V4>() else {
            fields.kind[lane] = 0;
            continue;
        };
        fields.kind[lane] = u16::from_le_bytes([head[L3 - 2], head[L3 - 1]]).into();
        fields.len[lane] = frame.len() as u32;
        fields.station[lane] = [le32(head, 0), le32(head, 4)];
        if L3 == TAGGED {
            fields.tag[lane] = le32(head, 12);
        }
        // Whatever it is: what is no IPv4 is not looked at.
        fields.v4_first[lane] = [0, 4, 8, 12].map(|at| le32(head, L3 + at));
        fields.v4_last[lane] = [16, 20, 24, 32].map(|at| le32(head, L3 + at));
    }
    let all = ((1u64 << frames.len().min(BURST)) - 1) as u32;
    let v4 = all & hw::lanes_with(&fields.kind, V4_KIND);
    let mut v6 = all & !v4;
    if v6 != 0 {
        v6 &= hw::lanes_with(&fields.kind, V6_KIND);
        v6 = gather_all_v6::<F, L3, V6>(frames, v6, fields);
    }
    Read { v4, v6 }
}

/// The same for those that may be IPv6; returns the lanes of those that are long enough.
#[inline(never)]
fn gather_all_v6<F: Frame, const L3: usize, const V6: usize>(
    frames: &[F],
    lanes: u32,
    fields: &mut Fields,
) -> u32 {
    let mut read = 0;
    for lane in lanes_of(lanes) {
        if let Some(head) = frames[lane].data().first_chunk::<V6>() {
            for (part, from) in fields.v6.iter_mut().zip([0, 16, 32]) {
                part[lane] = [0, 8].map(|at| le64(head, L3 + from + at));
            }
            fields.v6_fourth[lane] = le32(head, L3 + 52);
            read |= 1 << lane;
        }
    }
    read
}

/// Leaves those of the lanes that are plain, and takes them apart.
#[inline(always)]
fn check<const L3: usize>(for_us: ForUs, read: Read, fields: &Fields, plain: &mut Plain) -> Read {
    plain.l3 = L3 as u16;
    let mut checked = Read::default();
    if read.v4 != 0 {
        checked.v4 = read.v4 & check_v4::<L3>(for_us, fields, plain);
    }
    if read.v6 != 0 {
        checked.v6 = read.v6 & check_v6::<L3>(for_us, fields, read.v6, plain);
    }
    checked
}

/// Not zero for a frame to another station, with another tag, or longer than an IP packet can be.
#[inline(always)]
fn astray<const L3: usize>(for_us: ForUs, station: [u32; 2], tag: u32, len: u32) -> u32 {
    let [first, second] = for_us.station;
    let tagged = if L3 == TAGGED {
        tag & for_us.tag.0 ^ for_us.tag.1
    } else {
        0
    };
    station[0] & first.0 ^ first.1 | station[1] & second.0 ^ second.1 | tagged | len >> 16
}

#[inline(always)]
fn check_v4<const L3: usize>(for_us: ForUs, fields: &Fields, plain: &mut Plain) -> u32 {
    /// Offset and "more fragments" of the second word.
    const FRAGMENT: u32 = 0xff3f_0000;
    hw::vectorised(
        fields,
        plain,
        #[inline(always)]
        |fields, plain| {
            for lane in 0..BURST {
                let [a, b, c, source] = fields.v4_first[lane];
                let [destination, ports, second, fourth] = fields.v4_last[lane];
                let len = fields.len[lane];
                let protocol = c >> 8 & 0xff;
                let end = L3 as u32 + swap16(a >> 16);
                let l4 = L3 as u32 + 20;
                let (says, lies) = flow(protocol, [second, fourth], l4, end);
                // RFC 1071: in whatever byte order; all ones if the checksum is right.
                let sum = halves(a) + halves(b) + halves(c) + halves(source) + halves(destination);
                let sum = halves(halves(sum));
                plain.wrong[lane] =
                    astray::<L3>(for_us, fields.station[lane], fields.tag[lane], len)
                        | a & 0xff ^ 0x45
                        | b & FRAGMENT
                        | u32::from(c & 0xff == 0)
                        | sum ^ 0xffff
                        | u32::from(end > len)
                        | lies;
                plain.v4.source[lane] = source;
                plain.v4.destination[lane] = destination;
                plain.v4.protocol[lane] = protocol;
                plain.v4.ports[lane] = ports;
                plain.shape[lane] = end << 16 | a & 0xff00 | protocol;
                plain.says[lane] = says;
            }
        },
    );
    hw::lanes_with(&plain.wrong, 0)
}

#[inline(always)]
fn check_v6<const L3: usize>(for_us: ForUs, fields: &Fields, lanes: u32, plain: &mut Plain) -> u32 {
    hw::vectorised(
        fields,
        plain,
        #[inline(always)]
        |fields, plain| {
            for lane in 0..BURST {
                let [[start, s0], [s1, d0], [d1, ports]] =
                    fields.v6.each_ref().map(|part| part[lane]);
                let (a, b) = (start as u32, (start >> 32) as u32);
                let last = [(ports >> 32) as u32, fields.v6_fourth[lane]];
                let len = fields.len[lane];
                let protocol = b >> 16 & 0xff;
                let end = L3 as u32 + 40 + swap16(b);
                let l4 = L3 as u32 + 40;
                let (says, lies) = flow(protocol, last, l4, end);
                plain.wrong[lane] =
                    astray::<L3>(for_us, fields.station[lane], fields.tag[lane], len)
                        | a & 0xf0 ^ 0x60
                        | u32::from(b >> 24 == 0)
                        | u32::from(end > len)
                        | lies;
                // The class stands in the second half of the first byte and the first of the second.
                let class = a << 4 & 0xf0 | a >> 12 & 0x0f;
                let shape = end << 16 | class << 8 | protocol;
                plain.v6.protocol[lane] = protocol;
                plain.v6.source[0][lane] = s0;
                plain.v6.source[1][lane] = s1;
                plain.v6.destination[0][lane] = d0;
                plain.v6.destination[1][lane] = d1;
                plain.v6.ports[lane] = ports as u32;
                let read = 0u32.wrapping_sub(lanes >> lane & 1);
                plain.shape[lane] = shape & read | plain.shape[lane] & !read;
                plain.says[lane] = says & read | plain.says[lane] & !read;
            }
        },
    );
    hw::lanes_with(&plain.wrong, 0)
}

/// What a transport header says about its connection; and not zero if it is neither TCP's nor UDP's or lies
/// about its length. Both are worked out whatever it is.
#[inline(always)]
fn flow(protocol: u32, [second, fourth]: [u32; 2], l4: u32, end: u32) -> (u32, u32) {
    // Masks instead of conditions: a condition would become a branch in the middle of the loop.
    let (tcp, udp) = (mask(protocol == TCP), mask(protocol == UDP));
    let tcp_len = (fourth & 0xf0) >> 2;
    let len = tcp_len & tcp | swap16(second) & udp;
    let least = 20 & tcp | 8 & !tcp;
    let lies = u32::from(len < least) | u32::from(l4 + len > end);
    ((fourth >> 8 & 0x1f | 0x20) & tcp, lies)
}

/// All bits for yes.
#[inline(always)]
fn mask(yes: bool) -> u32 {
    0u32.wrapping_sub(u32::from(yes))
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

    use super::super::flows::look_up;
    use super::super::packet::Packet;
    use super::super::stage::{Stage, read};
    use super::Fields;
    use crate::pipeline::classify::Kind;
    use crate::table::conn::{ConnOwner, ConnSettings};
    use crate::table::service::ServiceIndex;
    use crate::table::snapshot::PortIndex;
    use crate::testkit::traffic::{kinds, pools, repair_ipv4};
    use crate::testkit::{Frame, Rail};

    /// What is read of a frame in a burst of its own, with its service; `None` if it is not plain.
    fn plain(rail: &Rail, frame: &[u8]) -> Option<(Packet, Option<ServiceIndex>)> {
        let snapshot = rail.snapshot();
        let mut stage = Stage::new();
        // Whatever was in the lane before.
        let frames = [kinds()[0].as_slice(), frame].map(Frame::new);
        let conns = ConnOwner::new(&ConnSettings {
            flows: 1,
            ..ConnSettings::default()
        });
        let conns = conns.expect("a small table");
        let look = conns.look();
        let burst = (&snapshot.ports[0], frames.as_slice());
        look_up(snapshot, burst, look, &mut Fields::default(), &mut stage);
        let is_plain = stage.lanes.all() & 2 != 0;
        is_plain.then(|| (stage.packet(1), stage.service(snapshot, 1)))
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
