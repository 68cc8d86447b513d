//! Packets that reach the rail in a tunnel: one header comes off, from accepted sources only.

use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{PacketBuilder, Rail, ether};
use rustyrail::wire::Ecn;

use crate::support::*;

fn gre() -> PacketBuilder {
    ether().ipv4(ROUTER, RAIL).gre()
}

fn inside(tunnel: PacketBuilder) -> PacketBuilder {
    tunnel.ipv4(CLIENT, VIP).tcp(4242, 443).syn()
}

#[test]
fn every_tunnel_header_we_take_off() {
    for tunnel in [
        gre(),
        gre().gre_key(0xdead_beef),
        gre().gre_checksum(),
        gre().gre_sequence(5),
        gre().gre_checksum().gre_key(1).gre_sequence(2),
        gre().vlan(10),
        ether().ipv4(ROUTER, RAIL).options(&[1; 4]).gre(),
        ether().ipv4(ROUTER, RAIL),
    ] {
        let mut rail = web_rail();
        let packet = inside(tunnel).padded();
        let (verdict, frame) = rail.receive(packet.frame());
        assert_eq!(verdict, FORWARD);
        let outer = Outer::of(&frame);
        assert_eq!(outer.payload[4..], ip_of(&inside(ether()))[..]);
        assert_moved!(rail, "web/web-1" => 1, "misses" => 1, "inserts" => 1);
    }
}

#[test]
fn a_tunnelled_flow_is_the_flow_itself() {
    let backends = [""; 7];
    let web = service("web", "protocol = \"tcp\"\nport = 443", &backends);
    let mut rail = Rail::new(&one_port(&web));
    for port in 1000..1100 {
        let plain = https(port).syn().frame();
        let tunnelled = gre().ipv4(CLIENT, VIP).tcp(port, 443).ack().frame();
        let (_, one) = rail.receive(plain);
        let (_, two) = rail.receive(tunnelled);
        assert_eq!(Outer::of(&one).destination, Outer::of(&two).destination);
    }
    let moved = rail.moved();
    assert_eq!((moved["inserts"], moved["hits"]), (100, 100));
}

#[test]
fn sources_that_are_not_accepted() {
    let from = |source: &str| inside(ether().ipv4(source, RAIL).gre());
    check_dropped(from("192.0.2.2"), TunnelSource);
    check_dropped(from(VIP), TunnelSource);
    check_dropped(inside(ether().ipv4("192.0.2.2", RAIL)), TunnelSource);

    let accept = "[tunnel]\naccept = [\"192.0.2.0/30\", \"10.0.0.7\"]\n";
    let config = one_port(&[accept, &web()].concat());
    for accepted in ["192.0.2.1", "192.0.2.3", "10.0.0.7"] {
        check(&config, from(accepted), FORWARD);
    }
    for refused in ["192.0.2.4", "10.0.0.6"] {
        check(&config, from(refused), Verdict::Drop(TunnelSource));
    }
}

#[test]
fn one_level_and_no_more() {
    let twice = gre().ipv4(ROUTER, RAIL).gre();
    check_dropped(inside(twice), TunnelDepth);
    check_dropped(inside(gre().ipv4(ROUTER, RAIL)), TunnelDepth);
    // A tunnel to a VIP is a packet like any other.
    check_dropped(inside(gre().ipv4(CLIENT, VIP).gre()), NoService);
}

#[test]
fn nothing_in_a_tunnel_reaches_the_host() {
    check_dropped(gre().ipv4(CLIENT, RAIL).tcp(1, 22), NotOurs);
    check_dropped(gre().ipv4(CLIENT, RAIL).echo_request(1, 1), NotOurs);
    check_dropped(gre().ipv4(CLIENT, "224.0.0.5").udp(1, 2), NotOurs);
    check_dropped(gre().ipv4(CLIENT, "203.0.113.99").udp(1, 2), NotOurs);
    check_dropped(gre().ipv4(CLIENT, VIP).tcp(1, 80), NoService);
}

#[test]
fn a_fragmented_tunnel_is_not_put_together() {
    let whole = ether().ipv4(ROUTER, RAIL).payload(inside(gre()).build());
    let whole = whole.protocol(rustyrail::wire::IpProtocol::GRE);
    for fragment in whole.fragments(7, 24) {
        check_dropped(fragment, Fragment);
    }
}

/// RFC 6040, figure 4: what the packet that leaves the tunnel carries, by inner and outer ECN.
#[test]
fn congestion_marks_of_both_headers_combine() {
    use Ecn::*;
    let table = [
        (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
        (Ect0, [Some(Ect0), Some(Ect1), Some(Ect0), Some(Ce)]),
        (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
        (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
    ];
    for (inner, row) in table {
        for (outer, expected) in [NotEct, Ect1, Ect0, Ce].into_iter().zip(row) {
            let mut rail = web_rail();
            let tunnel = ether().ipv4(ROUTER, RAIL).ecn(outer).dscp(46).gre();
            let packet = tunnel.ipv4(CLIENT, VIP).ecn(inner).dscp(10).tcp(1, 443);
            let (verdict, frame) = rail.receive(packet.frame());
            match expected {
                Some(ecn) => {
                    let sent = Outer::of(&frame);
                    assert_eq!(sent.tos, 10 << 2 | ecn as u8, "{inner:?} in {outer:?}");
                    assert_eq!(
                        sent.payload[5],
                        10 << 2 | inner as u8,
                        "the inner one stays"
                    );
                }
                None => {
                    assert_eq!(
                        verdict,
                        Verdict::Drop(rustyrail::pipeline::verdict::DropReason::Ecn)
                    );
                    assert_moved!(rail, "ecn" => 1);
                }
            }
        }
    }
}
