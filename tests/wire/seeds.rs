//! The seeds of the fuzz targets: every layer of every good frame, under
//! `tests/fuzz/corpus/TARGET/`.

use std::collections::{BTreeMap, BTreeSet};

use rustyrail::wire::gre::Gre;
use rustyrail::wire::gue;
use rustyrail::wire::icmpv6::{Icmpv6, Icmpv6Kind};
use rustyrail::wire::ipv4::Ipv4;
use rustyrail::wire::ipv6::Ipv6;
use rustyrail::wire::udp::Udp;
use rustyrail::wire::{EtherType, IpProtocol, l2};

use crate::{corpus, good_frames};

/// Target to seeds.
type Seeds = BTreeMap<&'static str, BTreeSet<Vec<u8>>>;

#[test]
fn seeds_are_what_the_builder_makes() {
    for (target, seeds) in seeds() {
        corpus::check(target, &seeds);
    }
}

fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for builder in good_frames() {
        let frame = builder.build();
        let l2 = l2(&frame).expect("a good frame");
        let l3 = &frame[usize::from(l2.l3_offset)..];
        add(&mut seeds, "ethernet", &frame);
        layer3(&mut seeds, l2.ethertype, l3);
    }
    seeds
}

fn add(seeds: &mut Seeds, target: &'static str, bytes: &[u8]) {
    seeds.entry(target).or_default().insert(bytes.to_vec());
}

fn layer3(seeds: &mut Seeds, ethertype: EtherType, bytes: &[u8]) {
    match ethertype {
        EtherType::ARP => add(seeds, "arp", bytes),
        EtherType::IPV4 => {
            add(seeds, "ipv4", bytes);
            let ip = Ipv4::parse(bytes).expect("a good packet");
            if ip.header.fragment().is_none() {
                layer4(seeds, ip.header.protocol, ip.payload);
            }
        }
        EtherType::IPV6 => {
            add(seeds, "ipv6", bytes);
            let ip = Ipv6::parse(bytes).expect("a good packet");
            match ip.protocol {
                // Addresses count in these: the seed is the whole packet.
                IpProtocol::ICMPV6 => {
                    let message = Icmpv6::parse_quoted(ip.payload).expect("a good message");
                    let target = match message.kind {
                        Icmpv6Kind::NeighborSolicitation | Icmpv6Kind::NeighborAdvertisement => {
                            "nd"
                        }
                        _ => "icmpv6",
                    };
                    add(seeds, target, bytes);
                }
                protocol if ip.fragment.is_none() => layer4(seeds, protocol, ip.payload),
                _ => {}
            }
        }
        _ => {}
    }
}

fn layer4(seeds: &mut Seeds, protocol: IpProtocol, bytes: &[u8]) {
    match protocol {
        IpProtocol::TCP => add(seeds, "tcp", bytes),
        IpProtocol::UDP => {
            add(seeds, "udp", bytes);
            let udp = Udp::parse(bytes).expect("a good datagram");
            if udp.header.ports.destination.get() == gue::PORT {
                add(seeds, "gue", udp.payload);
            }
        }
        IpProtocol::ICMP => add(seeds, "icmpv4", bytes),
        IpProtocol::GRE => {
            add(seeds, "gre", bytes);
            let gre = Gre::parse(bytes).expect("a good packet");
            layer3(seeds, gre.protocol, gre.payload);
        }
        IpProtocol::IPIP => layer3(seeds, EtherType::IPV4, bytes),
        IpProtocol::IPV6 => layer3(seeds, EtherType::IPV6, bytes),
        _ => {}
    }
}
