//! The frame that nearly every frame is, read without a branch on what is in it: TCP or UDP in IPv4
//! without options or IPv6 without extension headers, in one piece, in no tunnel, behind the link
//! header that its port expects.
//!
//! All checks of [`classify`](super::classify::classify) are made, by vector code, and a mix of protocols costs no
//! mispredicted branch. A frame that fails one of them is not wrong, just not plain: `classify` reads it again and
//! finds out.

mod v4;
mod v6;

use crate::table::hash::{BURST, V6Flows};
use crate::table::service::V6Key;
use crate::table::snapshot::{MacFilter, PortView};
use crate::wire::IpProtocol;

use super::flows::{Flows, Tables};
use super::frame::Frame;

pub(super) use v6::Fields;

const TCP: u32 = IpProtocol::TCP.0 as u32;
const UDP: u32 = IpProtocol::UDP.0 as u32;
/// Bytes of the headers that are looked at, behind the link header: IP, and TCP's without options.
const V4_HEAD: usize = 20 + 20;
const V6_HEAD: usize = 40 + 20;
/// Link headers: Ethernet, and with one tag.
pub(super) const BARE: usize = 14;
pub(super) const TAGGED: usize = 18;

/// What plain packets are, as arrays.
#[derive(Debug, Default)]
pub(super) struct Plain {
    /// IPv6's tuples to hash.
    pub(super) v6: V6Flows,
    /// Bytes of the IP packet (16 bits), DSCP and ECN (8), protocol (8).
    pub(super) shape: [u32; BURST],
    /// What it says about its connection: TCP flags FIN to ACK, and 32 for TCP.
    pub(super) says: [u32; BURST],
    /// Bytes of a frame that may be plain IPv4, else 0.
    lens: [u32; BURST],
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
    /// What an IPv6 packet is matched to a service by.
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

/// Where frames have to go.
#[derive(Debug, Clone, Copy)]
struct ForUs {
    station: MacFilter,
    /// The tag, as a mask and a value.
    tag: (u32, u32),
}

impl ForUs {
    /// Not zero for a frame with another tag.
    #[inline(always)]
    fn strayed(self, tag: u32) -> u32 {
        tag & self.tag.0 ^ self.tag.1
    }
}

/// Reads the plain frames of a burst; what the other lanes hold means nothing. Returns their lanes, and those of IPv4
/// packets whose slots have been asked for, with others.
#[inline(always)]
pub(super) fn read<F: Frame>(
    (port, frames): (&PortView, &[F]),
    tables: &Tables<'_>,
    fields: &mut Fields,
    to: (&mut Plain, &mut Flows),
) -> (Read, u32) {
    let station = port.filter;
    match port.vlan {
        None => {
            let tag = (0, 0);
            let for_us = ForUs { station, tag };
            behind::<F, BARE, { BARE + V4_HEAD }, { BARE + V6_HEAD }>(
                &for_us, frames, tables, fields, to,
            )
        }
        Some(_) if port.outer_vlan.is_some() => (Read::default(), 0),
        Some(vlan) => {
            let [id_high, id_low] = vlan.to_be_bytes();
            let tag = |[a, b]: [u8; 2], high, low| u32::from_le_bytes([a, b, high, low]);
            let tag = (
                tag([0xff; 2], 0x0f, 0xff),
                tag([0x81, 0x00], id_high, id_low),
            );
            let for_us = ForUs { station, tag };
            behind::<F, TAGGED, { TAGGED + V4_HEAD }, { TAGGED + V6_HEAD }>(
                &for_us, frames, tables, fields, to,
            )
        }
    }
}

/// The same behind a link header of `L3` bytes.
#[inline(always)]
fn behind<F: Frame, const L3: usize, const V4: usize, const V6: usize>(
    for_us: &ForUs,
    frames: &[F],
    tables: &Tables<'_>,
    fields: &mut Fields,
    (plain, flows): (&mut Plain, &mut Flows),
) -> (Read, u32) {
    plain.l3 = L3 as u16;
    let all = ((1u64 << frames.len().min(BURST)) - 1) as u32;
    // After a burst without IPv4 there may be another.
    let (v4, asked) = if fields.alone && frames.iter().all(v6::is_v6::<F, L3>) {
        (0, 0)
    } else if tables.homes.is_empty() {
        v4::read::<F, L3, V4, false>(for_us, frames, tables, (plain, flows))
    } else {
        v4::read::<F, L3, V4, true>(for_us, frames, tables, (plain, flows))
    };
    let (v4, mut v6) = (all & v4, all & !v4);
    fields.alone = v4 == 0;
    if v6 != 0 {
        v6 = v6::read::<F, L3, V6>(for_us, frames, v6, fields, plain);
    }
    (Read { v4, v6 }, asked)
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
    let lies = mask(len < least) | mask(l4 + len > end);
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
    (word << 16).swap_bytes()
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

    type Plain = Option<(Packet, Option<ServiceIndex>)>;

    /// What is read of the frames of a burst, with their services; `None` of those that are not plain.
    fn plain_of_all(
        rail: &Rail,
        (stage, fields): (&mut Stage, &mut Fields),
        frames: &[&[u8]],
    ) -> Vec<Plain> {
        let snapshot = rail.snapshot();
        let conns = ConnOwner::new(&ConnSettings {
            flows: 1,
            ..ConnSettings::default()
        });
        let conns = conns.expect("a small table");
        let frames: Vec<_> = frames.iter().map(|frame| Frame::new(frame)).collect();
        let burst = (&snapshot.ports[0], frames.as_slice());
        look_up(snapshot, burst, conns.look(), fields, stage);
        let all = stage.lanes.all();
        assert_eq!(u64::from(all) >> frames.len(), 0, "lanes of no frames");
        let lanes = 0..frames.len();
        let is_plain = |lane: usize| all >> lane & 1 != 0;
        lanes
            .map(|lane| is_plain(lane).then(|| (stage.packet(lane), stage.service(snapshot, lane))))
            .collect()
    }

    /// The same of a frame in a burst of its own.
    fn plain(rail: &Rail, frame: &[u8]) -> Plain {
        let state = (&mut Stage::new(), &mut Fields::default());
        plain_of_all(rail, state, &[frame])[0]
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
        /// Wherever it stands in its burst, and whatever was there before.
        #[test]
        fn a_packet_in_a_burst_is_read_as_alone(
            bursts in prop::collection::vec(
                prop::collection::vec(any::<prop::sample::Index>(), 0..=32), 1..4),
            mostly in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let kinds = kinds();
            for rail in rails() {
                let (mut stage, mut fields) = (Stage::new(), Fields::default());
                for burst in &bursts {
                    let pick = |(lane, which): (usize, &prop::sample::Index)| match mostly {
                        Some(most) if lane % 7 != 0 => kinds[most.index(kinds.len())].as_slice(),
                        _ => kinds[which.index(kinds.len())].as_slice(),
                    };
                    let frames: Vec<_> = burst.iter().enumerate().map(pick).collect();
                    stage.lanes = super::Read::default();
                    stage.untracked = 0;
                    let found = plain_of_all(&rail, (&mut stage, &mut fields), &frames);
                    for (found, frame) in found.into_iter().zip(frames) {
                        prop_assert_eq!(found, plain(&rail, frame));
                    }
                }
            }
        }
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
