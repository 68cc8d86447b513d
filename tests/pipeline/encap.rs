//! The headers a packet leaves with, and the packet inside them.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::rail::{NEXT_HOP_MAC, port_mac};
use rustyrail::testkit::{Frame, PacketBuilder, Rail};
use rustyrail::wire::Ecn;

use crate::support::*;

/// Forwards the packet for a service with this encapsulation.
#[track_caller]
fn forwarded(encap: &str, packet: &PacketBuilder) -> Outer {
    let what = format!("protocol = \"tcp\"\nport = 443\n{encap}");
    let mut rail = Rail::new(&one_port(&service("web", &what, &[""])));
    let (verdict, frame) = rail.receive(packet.frame());
    assert_eq!(verdict, FORWARD);
    Outer::of(&frame)
}

#[test]
fn gre_by_default() {
    let packet = https(4242).syn().padded();
    let inner = ip_of(&https(4242).syn());
    assert_eq!(
        forwarded("", &packet),
        Outer {
            destination_mac: NEXT_HOP_MAC.octets(),
            source_mac: port_mac(0).octets(),
            vlan: None,
            tos: 0,
            protocol: 47,
            source: [192, 0, 2, 10],
            destination: [198, 18, 0, 1],
            payload: [&[0, 0, 8, 0][..], &inner].concat(),
        }
    );
}

#[test]
fn gre_with_a_key() {
    let outer = forwarded("gre_key = 0x01020304", &https(4242).ack());
    let header = [0x20, 0, 8, 0, 1, 2, 3, 4];
    assert_eq!(outer.protocol, 47);
    assert_eq!(
        outer.payload,
        [&header[..], &ip_of(&https(4242).ack())].concat()
    );
}

#[test]
fn ipip() {
    let outer = forwarded("encap = \"ipip\"", &https(4242).ack());
    assert_eq!(outer.protocol, 4);
    assert_eq!(outer.payload, ip_of(&https(4242).ack()));
}

#[test]
fn gue() {
    let gue = |port| forwarded("encap = \"gue\"\ngue_port = 6081", &https(port).ack());
    let outer = gue(4242);
    assert_eq!(outer.protocol, 17);
    let be = |at: usize| u16::from_be_bytes([outer.payload[at], outer.payload[at + 1]]);
    assert!(be(0) >= 49152, "a port of the dynamic range");
    assert_eq!((be(2), usize::from(be(4)), be(6)), (6081, 12 + 40, 0));
    assert_eq!(outer.payload[8..12], [0, 4, 0, 0]);
    assert_eq!(outer.payload[12..], ip_of(&https(4242).ack())[..]);
    let ports: std::collections::BTreeSet<_> = (0..64)
        .map(|flow| gue(1000 + flow).payload[..2].to_vec())
        .collect();
    assert!(ports.len() > 60, "source ports follow the flow: {ports:?}");
}

#[test]
fn the_inner_packet_stays_byte_for_byte() {
    for inner in [
        https(1).syn(),
        https(1).ack().payload("odd"),
        https(1).ack().payload_len(1440),
        rustyrail::testkit::ether()
            .ipv4(CLIENT, VIP)
            .options(&[0x94, 4, 0, 0])
            .ttl(1)
            .id(0xbeef)
            .dont_fragment()
            .tcp(1, 443)
            .options(&[2, 4, 5, 0xb4]),
        // Its own checksum is the receiver's business.
        https(1).ack().bad_checksum().payload("data"),
    ] {
        let sent = forwarded("encap = \"ipip\"", &inner.clone().padded_to(100));
        assert_eq!(sent.payload, ip_of(&inner));
        let tagged = inner.clone().vlan(7).padded_to(100);
        assert_eq!(
            forwarded("encap = \"ipip\"", &tagged).payload,
            ip_of(&inner)
        );
    }
}

/// Clients behind a tagged port, backends on the link of another: the tag goes with the link header.
#[test]
fn from_a_tagged_port_to_an_untagged_one() {
    let ports = "\n[[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\nvlan = 7\n\
                 [[port]]\ndevice = \"net_null1\"\naddress = [\"198.18.0.10/24\"]\n";
    for encap in ["", "encap = \"ipip\"", "gre_key = 7", "encap = \"gue\""] {
        let what = format!("protocol = \"tcp\"\nport = 443\n{encap}");
        let web = service("web", &what, &[""]);
        let mut rail = Rail::new(&config(&[ports, &web].concat()));
        let inner = |len| https(4242).ack().payload_len(len);
        let lens = [0, 6, 700, 1400];
        let packets = lens.map(|len| inner(len).vlan(7).padded());
        let mut frames = packets.map(|packet| packet.frame());
        let verdicts = rail.receive_burst(0, &mut frames);
        for ((verdict, frame), len) in verdicts.into_iter().zip(&frames).zip(lens) {
            assert_eq!(verdict, Verdict::Forward(PortIndex(1)), "{encap}");
            let outer = Outer::of(frame);
            assert_eq!((outer.vlan, outer.source), (None, [192, 0, 2, 10]));
            assert!(outer.payload.ends_with(&ip_of(&inner(len))), "{encap}");
        }
    }
}

/// RFC 2983 uniform model, RFC 6040 normal mode: the outer header has the inner one's byte.
#[test]
fn dscp_and_ecn_are_copied_and_every_checksum_is_right() {
    let mut rail = web_rail();
    for dscp in 0..64 {
        for ecn in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
            for len in [0, 1, 1400 + usize::from(dscp)] {
                let ip = rustyrail::testkit::ether()
                    .ipv4(CLIENT, VIP)
                    .dscp(dscp)
                    .ecn(ecn);
                let packet = ip.tcp(1, 443).ack().payload_len(len);
                let (verdict, frame) = rail.receive(packet.frame());
                assert_eq!(verdict, FORWARD);
                // `Outer` checks length and checksum.
                assert_eq!(Outer::of(&frame).tos, dscp << 2 | ecn as u8);
            }
        }
    }
}

#[test]
fn the_tunnel_source_can_be_named() {
    let port = "\n[[port]]\ndevice = \"net_null0\"\n\
                address = [\"192.0.2.10/24\", \"192.0.2.77/24\"]\ngateway = [\"192.0.2.1\"]\n";
    let sent_from = |tunnel: &str| {
        let mut rail = Rail::new(&config(&[port, tunnel, &web()].concat()));
        let (_, frame) = rail.receive(https(1).frame());
        Outer::of(&frame).source
    };
    assert_eq!(sent_from(""), [192, 0, 2, 10]);
    assert_eq!(
        sent_from("[tunnel]\nsource = \"192.0.2.77\"\n"),
        [192, 0, 2, 77]
    );
}

#[test]
fn packets_too_big_for_the_way() {
    // 1600 on the port: 24 bytes for GRE, 20 and 20 for the inner headers.
    let mut rail = web_rail();
    let fits = https(1).ack().payload_len(1600 - 64);
    check_on(&mut rail, fits.clone(), FORWARD);
    let one_more = https(1).ack().payload_len(1600 - 63);
    let (verdict, _) = rail.receive(one_more.frame());
    assert!(matches!(verdict, Verdict::Split(_)));

    let mut rail = Rail::new(&one_port(&service(
        "web",
        "protocol = \"tcp\"\nport = 443",
        &["mtu = 1500"],
    )));
    let (verdict, _) = rail.receive(fits.frame());
    assert!(matches!(verdict, Verdict::Split(_)));
}

#[test]
fn a_frame_without_room_for_the_headers() {
    let mut rail = web_rail();
    // 24 bytes of GRE and outer header go in front of the inner packet; the link header stays as long.
    let bytes = https(1).build();
    let (verdict, _) = rail.receive(Frame::with_headroom(&bytes, 23));
    assert_eq!(verdict, Verdict::Drop(NoHeadroom));
    let (verdict, frame) = rail.receive(Frame::with_headroom(&bytes, 24));
    assert_eq!(verdict, FORWARD);
    assert_eq!(frame.data().len(), bytes.len() + 24);
    // Tags make room.
    let tagged = https(1).vlan(1).service_vlan(2).build();
    let (verdict, _) = rail.receive(Frame::with_headroom(&tagged, 16));
    assert_eq!(verdict, FORWARD);
}

#[test]
fn bytes_are_counted_as_they_arrived() {
    let mut rail = web_rail();
    rail.receive(https(1).vlan(5).padded_to(100).frame());
    let id = rail.id("web", "web-1").expect("it exists");
    let traffic = rail.counters().backend(id).expect("it is counted");
    assert_eq!((traffic.packets.get(), traffic.bytes.get()), (1, 100));
}
