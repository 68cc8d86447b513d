//! Which service a packet is for, and what becomes of one that is for none.

use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Rail, ether};
use rustyrail::wire::{EtherType, IpProtocol, MacAddr};

use crate::support::*;

#[test]
fn a_packet_for_a_service_is_forwarded() {
    check(&one_port(&web()), https(4242).syn(), FORWARD);
    check(
        &one_port(&web()),
        https(4242).ack().payload("data").vlan(10),
        FORWARD,
    );
    let options = ether().ipv4(CLIENT, VIP).options(&[7; 11]).tcp(1, 443);
    check(&one_port(&web()), options.syn(), FORWARD);
    check(
        &one_port(&web()),
        https(1).vlan(10).service_vlan(20).padded(),
        FORWARD,
    );
}

#[test]
fn a_vip_without_a_service_for_the_packet() {
    check_dropped(ether().ipv4(CLIENT, VIP).tcp(1, 80), NoService);
    check_dropped(ether().ipv4(CLIENT, VIP).udp(1, 443), NoService);
    let esp = ether().ipv4(CLIENT, VIP).protocol(IpProtocol::ESP);
    check_dropped(esp.payload([0; 16]), NoService);
}

#[test]
fn a_service_without_a_backend_that_could_take_it() {
    let tcp = "protocol = \"tcp\"\nport = 443";
    for backends in [
        &[][..],
        &["state = \"down\""],
        &["state = \"drain\""],
        &["weight = 0", "state = \"down\""],
    ] {
        let mut rail = Rail::new(&one_port(&service("web", tcp, backends)));
        let (verdict, _) = rail.receive(https(1).syn().frame());
        assert_eq!(verdict, Verdict::Drop(NoBackend), "{backends:?}");
        assert_moved!(rail, "no_backend" => 1, "misses" => 1);
    }
}

#[test]
fn other_destinations() {
    let to = |destination: &str| ether().ipv4(CLIENT, destination).tcp(1, 22);
    check_dropped(to("203.0.113.11"), NotOurs);
    check_dropped(to("192.0.2.11"), NotOurs);
    check(&one_port(&web()), to(RAIL), HOST);
    check(&one_port(&web()), to("224.0.0.5"), HOST);
    check(&one_port(&web()), to("255.255.255.255"), HOST);
    // Broadcast on the subnet of the port.
    check(&one_port(&web()), to("192.0.2.255"), HOST);
    let v6 = |destination: &str| ether().ipv6("2001:db8::7", destination).tcp(1, 22);
    check_dropped(v6("2001:db8::99"), NotOurs);
    check(&one_port(&web()), v6("ff02::5"), HOST);
}

#[test]
fn what_is_not_ip_is_the_hosts() {
    let lldp = ether().ethertype(EtherType(0x88cc)).payload([2; 40]);
    check(&one_port(&web()), lldp, HOST);
    let stp = ether()
        .destination_mac(MacAddr([1, 0x80, 0xc2, 0, 0, 0]))
        .ethertype(EtherType(38))
        .payload([0x42; 46]);
    check(&one_port(&web()), stp, HOST);
}

#[test]
fn fragments_for_nobodys_vip() {
    // To the rail itself they are the host's, to nobody they are not ours.
    let to = |destination| {
        let whole = ether()
            .ipv4(CLIENT, destination)
            .udp(4242, 53)
            .payload_len(64);
        whole.fragments(7, 32)[1].clone()
    };
    check(&one_port(&dns()), to(RAIL), HOST);
    check(
        &one_port(&dns()),
        to("203.0.113.99"),
        Verdict::Drop(NotOurs),
    );
}

/// The most specific of overlapping services takes the packet.
#[test]
fn services_that_overlap() {
    let services = [
        "\n[[service]]\nname = \"net\"\nvip = \"203.0.113.0/24\"\n[[service.backend]]\nname = \"b\"\n\
         address = \"198.18.1.1\"\n",
        &service("any", "", &[""]),
        &service("tcp", "protocol = \"tcp\"", &[""]),
        &service("range", "protocol = \"tcp\"\nport = \"8000-8999\"", &[""]),
        &service("one", "protocol = \"tcp\"\nport = 8080", &[""]),
    ];
    let mut rail = Rail::new(&one_port(&services.concat()));
    for (destination, port, backend) in [
        ("203.0.113.99", 8080, "net/b"),
        (VIP, 8080, "one/one-1"),
        (VIP, 8081, "range/range-1"),
        (VIP, 443, "tcp/tcp-1"),
    ] {
        rail.receive(ether().ipv4(CLIENT, destination).tcp(1, port).frame());
        assert_moved!(rail, backend => 1, "misses" => 1, "inserts" => 1);
    }
    rail.receive(ether().ipv4(CLIENT, VIP).udp(1, 8080).frame());
    assert_moved!(rail, "any/any-1" => 1, "misses" => 1, "inserts" => 1);
    let esp = ether().ipv4(CLIENT, VIP).protocol(IpProtocol::ESP);
    rail.receive(esp.payload([0; 16]).frame());
    assert_moved!(rail, "any/any-1" => 1, "misses" => 1, "inserts" => 1);
}
