//! Jumbo frames: IP packets of 9,198 bytes, the largest that `mtu` allows, in one buffer from reception to
//! transmission. `jumbo/check.py` reads what comes out with scapy.
//!
//! A frame that the port had spread over two buffers would be dropped as `multi_segment`, and the books would say so.

#[path = "support/python.rs"]
mod python;

use std::process::Command;

use rustyrail::testkit::{PacketBuilder, ether};
use serde_json::{Value, json};

const MTU: usize = 9198;
/// IPv4 and UDP headers, IPv6's, and what GRE adds in front.
const V4: usize = 20 + 8;
const V6: usize = 40 + 8;
const GRE: usize = 20 + 4;

const HEAD: &str = r#"
[node]
name = "rail-a"
workers = [0]
control_core = 1
[[port]]
device = "0000:3b:00.0"
address = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
mtu = 9198
"#;

const POOL: &str = r#"
[pool]
hash_key = "000102030405060708090a0b0c0d0e0f"
table_size = 251
[[service]]
name = "gre"
vip = "203.0.113.10"
[[service.backend]]
name = "a"
address = "198.51.100.1"
[[service]]
name = "gre6"
vip = "2001:db8:1::10"
[[service.backend]]
name = "a"
address = "198.51.100.1"
[[service]]
name = "l2dsr"
vip = "203.0.113.11"
encap = "l2dsr"
[[service.backend]]
name = "a"
address = "192.0.2.77"
[[service]]
name = "l3dsr"
vip = "203.0.113.12"
encap = "l3dsr"
dscp = 9
[[service.backend]]
name = "a"
address = "198.51.100.2"
"#;

/// The classic capture format, all packets at time zero.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    const ETHERNET: u32 = 1;
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, ETHERNET];
    let mut bytes: Vec<u8> = header.iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
    for packet in packets {
        let len = packet.len() as u32;
        bytes.extend([0, 0, len, len].iter().flat_map(|w: &u32| w.to_ne_bytes()));
        bytes.extend(packet);
    }
    bytes
}

/// What becomes of packets under a port with these further lines: the books, and what the checker says of each
/// frame that came out.
fn replay(port: &str, packets: &[Vec<u8>]) -> (Value, Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("rail.toml"), [HEAD, port, POOL].concat()).expect("written");
    std::fs::write(file("in.pcap"), pcap(packets)).expect("written");
    let mut rail = Command::new(env!("CARGO_BIN_EXE_rail"));
    rail.args(["replay", "--json", "--config"])
        .arg(file("rail.toml"))
        .arg("--in")
        .arg(file("in.pcap"))
        .arg("--out")
        .arg(file("out.pcap"));
    let books = output(rail);
    let mut check = python::python("jumbo/check.py", &["scapy"]);
    check.args([file("in.pcap"), file("out.pcap")]);
    (books, output(check))
}

#[track_caller]
fn output(mut command: Command) -> Value {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A packet to a VIP, from a client of its own so that the checker knows it again.
fn udp(link: &PacketBuilder, vip: &str, ip_len: usize) -> PacketBuilder {
    let client = vip.replace("203.0.113", "198.18.0");
    let ip = link.clone().ipv4(client.as_str(), vip);
    ip.udp(4242, 443).payload_len(ip_len - V4)
}

#[test]
fn the_largest_packets_come_and_go_in_one_piece() {
    for (port, link) in [
        ("", ether()),
        ("vlan = 100", ether().vlan(100)),
        // The longest frame there is.
        (
            "vlan = 100\nouter_vlan = 200",
            ether().service_vlan(200).vlan(100),
        ),
    ] {
        let v6 = link.clone().ipv6("2001:db8:9::7", "2001:db8:1::10");
        let packets = [
            udp(&link, "203.0.113.11", MTU),
            udp(&link, "203.0.113.12", MTU),
            udp(&link, "203.0.113.10", MTU - GRE),
            v6.udp(4242, 443).payload_len(MTU - GRE - V6),
        ];
        let packets = packets.map(|packet| packet.build());
        let (books, frames) = replay(port, &packets);
        assert_eq!(books["balanced"], true);
        assert_eq!((&books["tx"], &books["dropped"]), (&json!(4), &json!(0)));
        let as_they_came = json!([
            {"packet": 0, "ip": MTU, "how": "as it came"},
            {"packet": 1, "ip": MTU, "how": "to 198.51.100.2"},
            {"packet": 2, "ip": MTU, "how": "in GRE to 198.51.100.1"},
            {"packet": 3, "ip": MTU, "how": "in GRE to 198.51.100.1"},
        ]);
        assert_eq!(frames, as_they_came, "{port}");
    }
}

#[test]
fn a_byte_more_is_cut_or_refused() {
    let packets = [
        udp(&ether(), "203.0.113.10", MTU),
        udp(&ether(), "203.0.113.10", MTU - GRE + 1).dont_fragment(),
    ];
    let (books, frames) = replay("", &packets.map(|packet| packet.build()));
    assert_eq!(books["balanced"], true);
    // The first leaves in two pieces, the second is answered with what would fit.
    assert_eq!(books["tx"], 3);
    let first = (MTU - GRE - 20) / 8 * 8;
    let expected = json!([
        {"packet": 0, "ip": first + 20 + GRE, "how": "a piece from 0 in GRE to 198.51.100.1"},
        {"packet": 0, "ip": MTU - 20 - first + 20 + GRE, "how": format!("a piece from {first} in GRE to 198.51.100.1")},
        {"packet": 1, "ip": 576, "how": format!("refused, {} would fit", MTU - GRE)},
    ]);
    assert_eq!(frames, expected);
}
