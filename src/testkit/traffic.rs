//! Traffic for tests that throw anything at the packet path: one of every kind of packet, pools to swap
//! between, and what holds for every frame that leaves.

use crate::pipeline::frame::Frame as _;
use crate::wire::{Ecn, IpProtocol};

use super::{Frame, PacketBuilder, ROUTER_MAC, arp_request, ether};

const CLIENT: &str = "198.51.100.7";
const VIP: &str = "203.0.113.10";
const RAIL: &str = "192.0.2.10";
const ROUTER: &str = "192.0.2.1";

/// What all configurations of [`pools`] have in common.
pub const NODE: &str = r#"
    [node]
    name = "rail-a"
    workers = [0]
    control_core = 1
    flows = 1024
    [pool]
    hash_key = "000102030405060708090a0b0c0d0e0f"
    table_size = 251
    [[port]]
    device = "net_null0"
    address = ["192.0.2.10/24", "2001:db8:f::10/64"]
    gateway = ["192.0.2.1", "2001:db8:f::1"]
    mtu = 1600
"#;

/// Every encapsulation, and IPv6.
const ALL: &str = r#"
    [[service]]
    name = "web"
    vip = "203.0.113.10"
    protocol = "tcp"
    port = 443
    backend = [
        { name = "web-1", address = "198.18.0.1" },
        { name = "web-2", address = "198.18.0.2" },
        { name = "web-3", address = "198.18.0.3", state = "drain" },
    ]
    [[service]]
    name = "dns"
    vip = "203.0.113.10"
    protocol = "udp"
    port = 53
    encap = "gue"
    track = false
    backend = [{ name = "dns-1", address = "198.18.1.1" }, { name = "dns-2", address = "198.18.1.2" }]
    [[service]]
    name = "direct"
    vip = "203.0.113.10"
    protocol = "udp"
    port = 54
    encap = "l3dsr"
    dscp = 9
    backend = [{ name = "direct-1", address = "198.18.2.1" }]
    [[service]]
    name = "sctp"
    vip = "203.0.113.10"
    protocol = "sctp"
    encap = "ipip"
    affinity = "source"
    backend = [{ name = "sctp-1", address = "198.18.3.1" }]
    [[service]]
    name = "six"
    vip = "2001:db8:1::10"
    protocol = "tcp"
    backend = [{ name = "six-1", address = "2001:db8:2::1" }]
    [[service]]
    name = "gue6"
    vip = "2001:db8:1::10"
    protocol = "udp"
    encap = "gue"
    backend = [{ name = "gue6-1", address = "2001:db8:2::2" }]
"#;

/// Some of them in another order, with other backends; IPv6 over IPv4.
const SOME: &str = r#"
    [[service]]
    name = "dns"
    vip = "203.0.113.10"
    protocol = "udp"
    port = 53
    gre_key = 9
    backend = [
        { name = "dns-2", address = "198.18.1.2" },
        { name = "dns-1", address = "198.18.1.1", state = "down" },
    ]
    [[service]]
    name = "web"
    vip = "203.0.113.10"
    protocol = "tcp"
    port = 443
    backend = [
        { name = "web-1", address = "198.18.0.1", state = "down" },
        { name = "web-2", address = "198.18.0.2", weight = 1 },
        { name = "web-4", address = "198.18.0.4" },
    ]
    [[service]]
    name = "six"
    vip = "2001:db8:1::10"
    backend = [{ name = "six-9", address = "198.18.0.9" }]
"#;

/// Nobody is left to answer.
const DEAD: &str = r#"
    [[service]]
    name = "web"
    vip = "203.0.113.10"
    protocol = "tcp"
    port = 443
    backend = [{ name = "web-1", address = "198.18.0.1", state = "down" }]
"#;

/// Configurations to swap between: every encapsulation, then less and less of it, then none.
pub fn pools() -> [String; 4] {
    [ALL, SOME, DEAD, ""].map(|services| [NODE, services].concat())
}

/// One of each kind of packet the path has a branch for.
pub fn kinds() -> Vec<Vec<u8>> {
    let inside = |tunnel: PacketBuilder| tunnel.ipv4(CLIENT, VIP).tcp(7, 443).payload("inside");
    let https = |port| ether().ipv4(CLIENT, VIP).tcp(port, 443);
    let v6 = || ether().ipv6("2001:db8::7", "2001:db8:1::10");
    let packets = [
        https(1).syn(),
        https(1).fin().ack().payload_len(200).padded(),
        https(2).vlan(10).service_vlan(20).ack(),
        ether()
            .ipv4(CLIENT, VIP)
            .options(&[7; 9])
            .ecn(Ecn::Ce)
            .udp(5, 53)
            .payload("query"),
        ether()
            .ipv4(CLIENT, VIP)
            .udp(5, 54)
            .no_checksum()
            .payload("l3dsr"),
        ether()
            .ipv4(CLIENT, VIP)
            .protocol(IpProtocol::SCTP)
            .payload([0; 20]),
        ether().ipv4(CLIENT, VIP).echo_request(1, 2).payload("ping"),
        ether().ipv4(CLIENT, RAIL).echo_request(1, 2),
        ether().ipv4(CLIENT, RAIL).tcp(1, 22),
        ether().ipv4(CLIENT, "203.0.113.99").tcp(1, 22),
        arp_request(ROUTER_MAC, ROUTER, RAIL).padded(),
        inside(
            ether()
                .ipv4(ROUTER, RAIL)
                .gre()
                .gre_key(5)
                .gre_checksum()
                .gre_sequence(1),
        ),
        inside(ether().ipv4(ROUTER, RAIL).ecn(Ecn::Ce).gre()),
        inside(ether().ipv4(ROUTER, RAIL)),
        inside(ether().ipv4(ROUTER, RAIL).gre().ipv4(ROUTER, RAIL)),
        v6().hop_by_hop().tcp(9, 443).ack().payload("six"),
        v6().fragment(7, 0, true).udp(5, 443).payload_len(32),
        v6().echo_request(1, 1),
        ether()
            .ipv4(ROUTER, RAIL)
            .gre()
            .ipv6("2001:db8::7", "2001:db8:1::10")
            .udp(1, 443)
            .payload("x"),
    ];
    let fragments = ether()
        .ipv4(CLIENT, VIP)
        .udp(5, 53)
        .payload_len(64)
        .fragments(9, 32);
    packets
        .iter()
        .map(PacketBuilder::build)
        .chain(fragments)
        .collect()
}

/// Makes the checksum of an untagged frame's IPv4 header right, so that what was changed behind it is
/// looked at. Leaves other frames as they are.
pub fn repair_ipv4(bytes: &mut [u8]) {
    if bytes.get(12..14) != Some(&[8, 0]) {
        return;
    }
    let len = bytes.get(14).map_or(0, |ihl| usize::from(ihl & 15) * 4);
    let header = bytes.get_mut(14..14 + len);
    let Some(header) = header.filter(|header| header.len() >= 20) else {
        return;
    };
    header[10..12].fill(0);
    let sum = !folded_sum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Panics unless the frame, which the rail sends to a backend or back, has lengths and checksums that
/// are right. Written without the rail's own parsers.
pub fn check_sent(frame: &Frame) {
    let data = frame.data();
    let be = |at: usize| usize::from(u16::from_be_bytes([data[at], data[at + 1]]));
    match be(12) {
        0x0800 => {
            let ip = &data[14..];
            let header = usize::from(ip[0] & 15) * 4;
            assert_eq!(ip[0] >> 4, 4);
            assert_eq!(be(16), ip.len(), "total length");
            assert_eq!(folded_sum(&ip[..header]), 0xffff, "header checksum");
        }
        0x86dd => {
            let ip = &data[14..];
            assert_eq!(ip[0] >> 4, 6);
            assert_eq!(be(18), ip.len() - 40, "payload length");
            if ip[6] == IpProtocol::UDP.0 {
                let pseudo = [&ip[8..40], &ip[4..6], &[0, ip[6]], &ip[40..]].concat();
                assert_eq!(folded_sum(&pseudo), 0xffff, "UDP checksum of GUE over IPv6");
            }
        }
        // An answered ARP request keeps its tags.
        0x0806 | 0x8100 | 0x88a8 | 0x9100 => {}
        other => panic!("sent EtherType {other:04x}"),
    }
}

fn folded_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(high) << 8 | u32::from(low),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
