//! All fragments of a datagram go where its 5-tuple is pinned on the rail that owns its 3-tuple.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::table::hash::tuple3_hash_v4;
use rustyrail::table::maglev::{Maglev, TableSize};
use rustyrail::testkit::{PacketBuilder, RAIL_MAC, Rail, ether};

use crate::network::*;

const UDP: u8 = 17;

fn dns(states: &[&str]) -> String {
    service("dns", VIP, "protocol = \"udp\"\nport = 53", states)
}

fn two_rails() -> Network {
    Network::of(&Pool::new(2, &dns(&["up", "up", "up"])))
}

fn client(number: usize) -> String {
    format!("198.51.{}.{}", 100 + number / 250, 1 + number % 250)
}

fn whole(client: &str, port: u16, len: usize) -> PacketBuilder {
    ether().ipv4(client, VIP).udp(port, 53).payload_len(len)
}

/// The owner of a client's fragments, reckoned from the names of the live rails alone.
fn owner(client: &str, live: &[usize]) -> usize {
    let names: Vec<_> = live.iter().map(|rail| (rail_name(*rail), 1)).collect();
    let key = HASH_KEY.parse().expect("a key");
    let size = TableSize::new(251).expect("a prime");
    let maglev = Maglev::build(size, &key, &names).expect("few rails");
    let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().expect("IPv4").octets();
    let hash = tuple3_hash_v4(&key, UDP, octets(client), octets(VIP));
    let index = maglev.lookup(hash).expect("a live rail");
    live[usize::from(index)]
}

/// The whole packet of a flow, at one worker of a rail: where it goes is where the flow is pinned.
fn pin(network: &mut Network, rail: usize, client: &str, port: u16) -> IpAddr {
    network.arrived.clear();
    network.send(rail, &whole(client, port, 20).build());
    network.arrived[0].backend
}

/// 10,000 datagrams of 2 to 6 fragments, interleaved, each fragment at any rail and any worker. Half
/// of the flows are pinned on both rails, by whole packets that came while the pool was another one.
#[test]
fn ten_thousand_datagrams_over_two_rails() {
    const DATAGRAMS: usize = 10_000;
    /// Datagrams in flight at a time.
    const AT_ONCE: usize = 50;
    let mut network = two_rails();
    let mut pinned = BTreeMap::new();
    for number in (0..DATAGRAMS).step_by(2) {
        let (client, port) = (client(number), number as u16 + 1024);
        for rail in 0..2 {
            pinned.insert((number, rail), pin(&mut network, rail, &client, port));
        }
    }
    // Most slots change hands, and what is pinned stays: the third one drains, two more come.
    network.reload(&Pool::new(2, &dns(&["up", "up", "drain", "up", "up"])));
    let fresh = Network::of(&Pool::new(2, &dns(&["up", "up", "drain", "up", "up"])));
    let mut hashed_anew = fresh;

    network.arrived.clear();
    network.sent = 0;
    let (mut differing, mut fragments) = (0, 0);
    let mut reached: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
    for first in (0..DATAGRAMS).step_by(AT_ONCE) {
        let mut frames = Vec::new();
        for number in first..first + AT_ONCE {
            let pieces = 2 + network.random(5);
            let packet = whole(&client(number), number as u16 + 1024, pieces * 40 - 20);
            for piece in packet.fragments(number as u32 % 65_536, 40) {
                frames.push((network.random(2), piece));
            }
        }
        fragments += frames.len();
        network.shuffle(&mut frames);
        network.send_all(frames);
        network.retry();
        assert_eq!(network.waiting(), 0, "every first fragment has come");
    }
    assert_eq!(network.dropped, BTreeMap::new());
    assert_eq!(network.arrived.len(), fragments);
    network.check_books();
    assert_eq!(network.most_hops, 1);

    for arrived in &network.arrived {
        let id = usize::from(u16::from_be_bytes([arrived.packet[4], arrived.packet[5]]));
        assert_eq!(
            arrived.by,
            owner(&client(id), &[0, 1]),
            "the owner sends it out"
        );
        reached.entry(id).or_default().insert(arrived.backend);
    }
    assert_eq!(reached.len(), DATAGRAMS);
    for (number, backends) in &reached {
        assert_eq!(backends.len(), 1, "datagram {number} reached {backends:?}");
        let client = client(*number);
        let owner = owner(&client, &[0, 1]);
        if let Some(pinned) = pinned.get(&(*number, owner)) {
            assert!(backends.contains(pinned), "datagram {number}");
            let today = pin(&mut hashed_anew, owner, &client, *number as u16 + 1024);
            differing += usize::from(today != *pinned);
        }
    }
    assert!(differing > 1000, "{differing} pins are not today's slots");
    let over = |read: fn(&rustyrail::table::counters::Counters) -> u64| {
        (0..2).map(|rail| network.counted(rail, read)).sum::<u64>()
    };
    let handed = over(|c| c.to_peers.get());
    assert_eq!(handed, over(|c| c.from_peers.get()));
    assert!(handed > fragments as u64 / 3, "{handed} of {fragments}");
    assert_eq!(over(|c| c.kept.get()), 0);
}

/// IPv6 datagrams too, in either outer family that rails have between them: here IPv4.
#[test]
fn ipv6_datagrams_find_their_owner() {
    let service = service(
        "dns",
        VIP6,
        "protocol = \"udp\"\nport = 53",
        &["up", "up", "up"],
    );
    let mut network = Network::of(&Pool::new(3, &service));
    let mut owners = BTreeMap::new();
    for number in 0..300u32 {
        let client = format!("2001:db8:9::{:x}", number / 3 + 1);
        let packet = ether().ipv6(client.as_str(), VIP6).udp(4000, 53);
        let mut frames = Vec::new();
        for piece in packet.payload_len(200).fragments(number, 80) {
            frames.push((network.random(3), piece));
        }
        network.shuffle(&mut frames);
        network.arrived.clear();
        network.send_all(frames);
        network.retry();
        assert_eq!(network.arrived.len(), 3);
        let ends: BTreeSet<_> = network.arrived.iter().map(|a| (a.by, a.backend)).collect();
        assert_eq!(ends.len(), 1, "{ends:?}");
        let by = network.arrived[0].by;
        assert_eq!(*owners.entry(client).or_insert(by), by, "by 3-tuple");
    }
    assert_eq!(owners.into_values().collect::<BTreeSet<_>>().len(), 3);
}

/// What one rail sends another: GRE with the pool's key from its own address, the fragment untouched.
#[test]
fn the_packet_between_rails() {
    let client = (0..).map(client).find(|c| owner(c, &[0, 1]) == 1);
    let client = client.expect("one of them");
    let mut rail = Rail::new(&Pool::new(2, &dns(&["up"])).config(0));
    for piece in whole(&client, 1, 60).fragments(7, 40) {
        let (verdict, frame) = rail.receive(piece.as_slice());
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        let data = frame.data();
        assert_eq!(data[26..34], [192, 0, 2, 10, 192, 0, 2, 11]);
        assert_eq!(gre_key(data), Some(PEER_KEY));
        assert_eq!(data[42..], piece[14..]);
    }
    assert_eq!(rail.counters().to_peers.get(), 2);
}

/// A rail that is dead owns nothing; its share goes to the others and theirs does not move.
#[test]
fn the_share_of_a_dead_rail_goes_to_the_live_ones() {
    let mut network = Network::of(&Pool::new(3, &dns(&["up", "up"])));
    for rail in 0..2 {
        network.each_worker(rail, |worker| worker.set_alive(&rail_address(2), false));
    }
    let mut moved = 0;
    for number in 0..300 {
        let client = client(number);
        let at = network.random(2);
        network.arrived.clear();
        for piece in whole(&client, 9, 60).fragments(number as u32, 40) {
            network.send(at, &piece);
        }
        let now = owner(&client, &[0, 1]);
        let by: BTreeSet<_> = network.arrived.iter().map(|a| a.by).collect();
        assert_eq!(by, BTreeSet::from([now]));
        if owner(&client, &[0, 1, 2]) == 2 {
            moved += 1;
        }
    }
    assert!(
        (60..140).contains(&moved),
        "{moved} of 300 were the dead one's"
    );
}

/// Rails that disagree about who is alive send no packet to a second peer: who has it keeps it.
#[test]
fn what_has_come_from_a_peer_stays() {
    let mut network = Network::of(&Pool::new(3, &dns(&["up", "up"])));
    // Rail a takes c for dead; b does not, and sends what c owns there when it comes from outside.
    network.each_worker(0, |worker| worker.set_alive(&rail_address(2), false));
    let client = (0..)
        .map(client)
        .find(|c| owner(c, &[0, 1]) == 1 && owner(c, &[0, 1, 2]) == 2)
        .expect("one of them");
    let pieces = whole(&client, 9, 60).fragments(7, 40);
    for piece in &pieces {
        network.send(0, piece);
    }
    assert!(network.arrived.iter().all(|arrived| arrived.by == 1));
    assert_eq!(network.arrived.len(), pieces.len());
    assert_eq!(network.counted(1, |c| c.kept.get()), pieces.len() as u64);
    for piece in &pieces {
        network.send(1, piece);
    }
    assert!(network.arrived[pieces.len()..].iter().all(|a| a.by == 2));
    assert_eq!(network.most_hops, 1);
}

/// A peer's address is no proof: without the key a packet is refused, and so is another key.
#[test]
fn a_forged_peer_is_refused() {
    let tunnel = || ether().ipv4(rail_address(1).as_str(), rail_address(0).as_str());
    let mut rail = Rail::new(&Pool::new(2, &dns(&["up"])).config(0));
    let inside = |tunnel: PacketBuilder| {
        let inner = tunnel.ipv4(CLIENT, VIP).udp(7, 53).payload("query");
        inner.build()
    };
    let (verdict, _) = rail.receive(inside(tunnel().gre()));
    assert_eq!(verdict, Verdict::Drop(DropReason::PeerKey));
    let (verdict, _) = rail.receive(inside(tunnel().gre().gre_key(PEER_KEY + 1)));
    assert_eq!(verdict, Verdict::Drop(DropReason::PeerKey));
    let (verdict, _) = rail.receive(inside(tunnel().gre().gre_key(PEER_KEY)));
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    // From a router it is an ordinary tunnel, whatever the key.
    let router = ether().ipv4("192.0.2.1", rail_address(0).as_str());
    let (verdict, _) = rail.receive(inside(router.gre().gre_key(PEER_KEY + 1)));
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
}

/// The path to the owner carries less than the fragments need in GRE: they go there in smaller ones,
/// and the datagram is whole at its backend.
#[test]
fn fragments_are_cut_to_fit_the_path_to_their_owner() {
    const PATH: u16 = 700;
    let mut network = two_rails();
    for rail in 0..2 {
        let other = rail_address(1 - rail);
        network.each_worker(rail, |worker| worker.path_mtu(&other, PATH));
    }
    let payload: Vec<u8> = (0..5000u32).map(|at| (at * 7 % 251) as u8).collect();
    let mut handed = 0;
    for number in 0..20 {
        let from = client(number);
        let packet = ether().ipv4(from.as_str(), VIP).udp(4000, 53);
        let pieces = packet.payload(payload.as_slice()).fragments(7, 1400);
        for piece in &pieces {
            network.send(number % 2, piece);
        }
        let owner = owner(&from, &[0, 1]);
        let arrived = std::mem::take(&mut network.arrived);
        assert!(arrived.iter().all(|a| a.by == owner));
        let backends: BTreeSet<_> = arrived.iter().map(|a| a.backend).collect();
        assert_eq!(backends.len(), 1);
        let packets: Vec<_> = arrived.iter().map(|a| a.packet.as_slice()).collect();
        let longest = packets.iter().map(|packet| packet.len()).max();
        if owner == number % 2 {
            assert_eq!(packets.len(), pieces.len());
        } else {
            handed += packets.len() as u64;
            // IPv4 and GRE with a key around it.
            assert!(longest <= Some(usize::from(PATH) - 20 - 8), "{longest:?}");
        }
        assert_eq!(reassemble(&packets)[8..], payload, "from {from}");
    }
    assert!(handed > 0);
    let counted = |read: fn(&rustyrail::table::counters::Counters) -> u64| {
        network.counted(0, read) + network.counted(1, read)
    };
    assert_eq!(counted(|c| c.to_peers.get()), handed);
    assert_eq!(counted(|c| c.from_peers.get()), handed);
    assert_eq!(network.dropped, BTreeMap::new());
}

/// What a receiver makes of fragments that it has all of.
fn reassemble(packets: &[&[u8]]) -> Vec<u8> {
    let field = |packet: &[u8]| u16::from_be_bytes([packet[6], packet[7]]);
    let mut pieces: Vec<_> = packets
        .iter()
        .map(|packet| (usize::from(field(packet) & 0x1fff) * 8, &packet[20..]))
        .collect();
    pieces.sort();
    let more = packets.iter().filter(|packet| field(packet) & 0x2000 == 0);
    assert_eq!(more.count(), 1, "one of them is the last");
    let mut whole = Vec::new();
    for (offset, bytes) in pieces {
        assert_eq!(offset, whole.len(), "no gap and no overlap");
        whole.extend_from_slice(bytes);
    }
    whole
}

/// Rails that know each other by IPv6 addresses.
#[test]
fn fragments_are_handed_over_in_ipv6() {
    let config = |rail: usize| {
        let mut text = Pool::new(2, &dns(&["up", "up", "up"])).config(rail);
        for peer in 0..2 {
            let v4 = format!("address = \"{}\"", rail_address(peer));
            let v6 = format!("address = \"2001:db8::{}\"", 10 + peer);
            assert!(text.contains(&v4));
            text = text.replace(&v4, &v6);
        }
        text
    };
    let (mut a, mut b) = (Rail::new(&config(0)), Rail::new(&config(1)));
    let from = (0..)
        .map(client)
        .find(|client| owner(client, &[0, 1]) == 1)
        .expect("rail-b owns some");
    let pieces = whole(&from, 4000, 100).fragments(7, 40);
    let mut backends = BTreeSet::new();
    for piece in &pieces {
        let (verdict, handed) = a.receive(piece.as_slice());
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        let data = handed.data();
        assert_eq!((&data[12..14], data[20]), (&[0x86, 0xdd][..], 47));
        let ends = ["2001:db8::10", "2001:db8::11"].map(|end| end.parse::<std::net::Ipv6Addr>());
        let ends = ends.map(|end| end.expect("test address").octets());
        assert_eq!(data[22..54], ends.concat());
        // The key is there, and it is the pool's.
        assert_eq!(data[54] & 0x20, 0x20);
        assert_eq!(data[58..62], PEER_KEY.to_be_bytes());
        let arrives = [&RAIL_MAC.octets(), &data[6..]].concat();
        let (verdict, sent) = b.receive(arrives);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        let (backend, packet) = outer(sent.data());
        assert_eq!(packet, piece[14..]);
        backends.insert(backend);
    }
    assert_eq!(backends.len(), 1);
    assert_eq!(a.counters().to_peers.get(), pieces.len() as u64);
    assert_eq!(b.counters().from_peers.get(), pieces.len() as u64);
    assert_eq!(b.counters().kept.get(), 0);
}
