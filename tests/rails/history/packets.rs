//! The packets of a history, and what a receiver reads of them.

use rustyrail::testkit::traffic::repair_ipv4;
use rustyrail::testkit::{PacketBuilder, ether, ipv4, ipv6};

use super::{Bytes, CLIENTS, GATEWAY};
use crate::network::{VIP, VIP6, rail_address};

/// Identifications of a client's datagrams; few, so that they meet.
const IDS: u8 = 4;
const FIRST_ID: u32 = 100;
/// Payload bytes of all fragments but the last, and fragments of a datagram.
const PIECE: usize = 64;
const PIECES: usize = 4;

/// A datagram as the receivers of its fragments tell it: addresses, protocol, identification.
pub type Datagram = (Vec<u8>, u8, u32);

/// A client's way to the service.
fn path(client: u8, v6: bool) -> PacketBuilder {
    if v6 {
        let from = format!("2001:db8:7::{}", client + 1);
        ether().ipv6(from.as_str(), VIP6)
    } else {
        let from = format!("198.51.100.{}", client + 1);
        ether().ipv4(from.as_str(), VIP)
    }
}

/// A packet of a client's one flow, small or large.
pub fn whole(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (client, v6) = (bytes.below(CLIENTS.into()) as u8, bytes.below(2) == 1);
    let path = path(client, v6);
    let path = if !v6 && bytes.below(2) == 1 {
        path.dont_fragment()
    } else {
        path
    };
    let len = [5, 500, 1350][bytes.below(3)];
    path.udp(4000, 53).payload_len(len).build()
}

/// A fragment as its sender made it.
pub fn piece(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let choice = bytes.below(256);
    let (client, v6) = ((choice & 3) as u8, choice & 4 != 0);
    let (id, which) = (choice >> 3 & 3, choice >> 5 & 3);
    let whole = path(client % CLIENTS, v6).udp(4000, 53);
    let whole = whole.payload_len(PIECES * PIECE - 20);
    let mut pieces = whole.fragments(FIRST_ID + id as u32 % u32::from(IDS), PIECE);
    assert_eq!(pieces.len(), PIECES);
    pieces.swap_remove(which)
}

/// A fragment that no honest sender makes: it overlaps, is too small, too far out, or has another byte
/// anywhere behind its link header.
pub fn odd_piece(bytes: &mut Bytes<'_>) -> Vec<u8> {
    const IPV4_FRAGMENT: usize = 14 + 6;
    let mut frame = piece(bytes);
    match bytes.below(4) {
        0 => {
            // Offset and flags of any kind.
            frame[IPV4_FRAGMENT] = bytes.below(256) as u8;
            frame[IPV4_FRAGMENT + 1] = bytes.below(256) as u8;
        }
        1 => {
            // Shorter, and the header says so.
            let len = 14 + 20 + bytes.below(30);
            frame.truncate(len);
            if frame[14] >> 4 == 4 {
                let total = (len - 14) as u16;
                frame[16..18].copy_from_slice(&total.to_be_bytes());
            }
        }
        2 => {
            let len = bytes.below(frame.len());
            frame.truncate(14.max(len));
        }
        _ => {
            let at = 14 + bytes.below(frame.len() - 14);
            frame[at] ^= bytes.below(256) as u8;
        }
    }
    if frame.len() > IPV4_FRAGMENT {
        repair_ipv4(&mut frame);
    }
    frame
}

/// An error about a flow's packets, or about a tunnel of the rail, whole or cut.
pub fn error(rail: usize, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (client, kind) = (bytes.below(CLIENTS.into()) as u8 + 1, bytes.below(6));
    let from = format!("198.51.100.{client}");
    let from6 = format!("2001:db8:7::{client}");
    let answer = || ipv4(VIP, from.as_str()).udp(53, 4000).payload_len(200);
    let error = ether().ipv4(GATEWAY, VIP);
    match kind {
        0 => error.unreachable(1).payload(answer().build()).build(),
        1 => {
            let quoted = answer().build();
            // Eight bytes behind the header.
            error.too_big(1000).payload(&quoted[..28]).build()
        }
        2 => {
            // Quotes a fragment: the first one shows its ports, no other does.
            let mut quoted = answer().fragments(7, PIECE).swap_remove(bytes.below(3));
            quoted.truncate(28);
            error.time_exceeded().payload(quoted).build()
        }
        3 => {
            let quoted = ipv6(VIP6, from6.as_str()).udp(53, 4000).payload_len(200);
            let error = ether().ipv6("2001:db8::1", VIP6).too_big(1300);
            error.payload(quoted.build()).build()
        }
        4 => {
            let own = rail_address(rail);
            let quoted = ipv4(own.as_str(), "198.18.0.1").gre();
            let error = ether().ipv4(GATEWAY, own.as_str()).too_big(600);
            error.payload(quoted.build()).build()
        }
        _ => {
            let mut cut = error.unreachable(1).payload(answer().build()).build();
            cut.truncate(14 + bytes.below(80));
            cut
        }
    }
}

/// What a frame carries behind its link header, without padding.
pub fn packet_of(frame: &[u8]) -> Vec<u8> {
    let packet = frame.get(14..).unwrap_or_default();
    let len = match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => be16(packet, 2).into(),
        Some(6) if packet.len() >= 40 => usize::from(be16(packet, 4)) + 40,
        _ => packet.len(),
    };
    packet[..len.min(packet.len())].to_vec()
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The datagram that a packet is a fragment of. Read without the rail's parsers; IPv6 extension headers
/// in front of the fragment header are left to other tests.
pub fn datagram_of(packet: &[u8]) -> Option<Datagram> {
    const FRAGMENT: u8 = 44;
    match packet[0] >> 4 {
        4 => {
            let fragment = be16(packet, 6) & 0x3fff != 0;
            let id = be16(packet, 4).into();
            fragment.then(|| (packet[12..20].to_vec(), packet[9], id))
        }
        _ => (packet[6] == FRAGMENT).then(|| {
            let id = packet[44..48].try_into().expect("four bytes");
            (packet[8..40].to_vec(), FRAGMENT, u32::from_be_bytes(id))
        }),
    }
}

/// Whether a packet is of a datagram that the clients send.
pub fn is_of_a_client(packet: &[u8]) -> bool {
    let headers = match packet.first().map(|first| first >> 4) {
        Some(4) => 20,
        _ => 48,
    };
    let id = (packet.len() >= headers)
        .then(|| datagram_of(packet))
        .flatten();
    id.is_some_and(|(addresses, protocol, id)| {
        let (client, same) = match addresses.len() {
            8 => (addresses[3], addresses[..3] == [198, 51, 100]),
            _ => (addresses[15], addresses[..4] == [0x20, 1, 0x0d, 0xb8]),
        };
        let ids = FIRST_ID..FIRST_ID + u32::from(IDS);
        same && (1..=CLIENTS).contains(&client) && [17, 44].contains(&protocol) && ids.contains(&id)
    })
}

/// The client's end of a whole packet's flow, or of the flow that an error quotes: its address, which has
/// one flow here, where nothing about the packet is odd.
pub fn flow_of(packet: &[u8]) -> Option<Vec<u8>> {
    const DNS: [u8; 4] = [0x0f, 0xa0, 0, 53];
    const ANSWER: [u8; 4] = [0, 53, 0x0f, 0xa0];
    let v4 = packet[0] == 0x45;
    let (source, protocol, l4) = match packet[0] >> 4 {
        4 if v4 && be16(packet, 6) & 0x3fff == 0 => (&packet[12..16], packet[9], 20),
        6 => (&packet[8..24], packet[6], 40),
        _ => return None,
    };
    let ports = packet.get(l4..l4 + 4);
    match protocol {
        17 if ports == Some(&DNS) => Some(source.to_vec()),
        1 if packet.get(l4 + 8) == Some(&0x45) && packet.get(l4 + 28..l4 + 32) == Some(&ANSWER) => {
            Some(packet[l4 + 24..l4 + 28].to_vec())
        }
        _ => None,
    }
}
