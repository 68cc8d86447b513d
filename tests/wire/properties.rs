//! Properties of the parsers over random bytes, random damage and random traffic.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use rustyrail::testkit::ether;
use rustyrail::wire::gre::Gre;
use rustyrail::wire::ipv4::Ipv4;
use rustyrail::wire::ipv6::Ipv6;
use rustyrail::wire::tcp::Tcp;
use rustyrail::wire::udp::Udp;
use rustyrail::wire::{Ecn, EtherType, IpProtocol, Ports, VlanId, checksum, l2};

use crate::reader::every_parser;
use crate::{good_frames, gre};

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        every_parser(&bytes);
    }

    #[test]
    fn no_damage_makes_a_parser_panic(
        frame: prop::sample::Index,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: prop::sample::Index,
    ) {
        let frames = good_frames();
        let mut bytes = frame.get(&frames).build();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        every_parser(&bytes);
        for start in 0..bytes.len().min(60) {
            every_parser(&bytes[start..]);
        }
    }

    #[test]
    fn ipv4_is_read_as_written(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ttl: u8,
        dscp in 0u8..64,
        id: u16,
        options in prop::collection::vec(any::<u8>(), 0..=40),
        ports: (u16, u16),
        vlan in 1u16..4095,
        payload: Vec<u8>,
    ) {
        let frame = ether()
            .vlan(vlan)
            .ipv4(source, destination)
            .ttl(ttl)
            .dscp(dscp)
            .ecn(Ecn::Ect1)
            .id(id)
            .options(&options)
            .udp(ports.0, ports.1)
            .payload(&payload)
            .build();
        let l2 = l2(&frame).unwrap();
        prop_assert_eq!(l2.tags()[0].vlan(), VlanId::new(vlan).ok());
        let ip = Ipv4::parse(&frame[usize::from(l2.l3_offset)..]).unwrap();
        prop_assert_eq!((ip.header.source(), ip.header.destination()), (source, destination));
        prop_assert_eq!((ip.header.ttl, ip.header.identification.get()), (ttl, id));
        prop_assert_eq!(ip.header.traffic_class.dscp(), dscp);
        prop_assert_eq!(ip.header.traffic_class.ecn(), Ecn::Ect1);
        prop_assert_eq!(&ip.options[..options.len()], &options[..]);
        let udp = Udp::parse(ip.payload).unwrap();
        prop_assert_eq!(udp.header.ports, Ports::new(ports.0, ports.1));
        prop_assert_eq!(udp.payload, &payload[..]);
        let len = ip.payload.len() as u16;
        let pseudo = checksum::pseudo_v4(source, destination, IpProtocol::UDP, len);
        prop_assert!(pseudo.bytes(ip.payload).is_valid());
    }

    #[test]
    fn ipv6_is_read_as_written(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
        dscp in 0u8..64,
        label in 0u32..1 << 20,
        extensions in prop::collection::vec(0..4, 0..=8),
        ports: (u16, u16),
        payload: Vec<u8>,
    ) {
        let mut builder = ether()
            .ipv6(source, destination)
            .ttl(hop_limit)
            .dscp(dscp)
            .flow_label(label);
        for (index, kind) in extensions.iter().enumerate() {
            builder = match kind {
                0 if index == 0 => builder.hop_by_hop(),
                0 | 1 => builder.destination_options(),
                2 => builder.routing(),
                _ => builder.authentication(),
            };
        }
        let bytes = builder.tcp(ports.0, ports.1).ack().payload(&payload).build();
        let ip = Ipv6::parse(&bytes[14..]).unwrap();
        prop_assert_eq!((ip.header.source(), ip.header.destination()), (source, destination));
        prop_assert_eq!((ip.header.hop_limit, ip.header.flow_label()), (hop_limit, label));
        prop_assert_eq!(ip.header.traffic_class().dscp(), dscp);
        prop_assert_eq!(ip.protocol, IpProtocol::TCP);
        prop_assert_eq!(&bytes[14 + ip.payload_offset..], ip.payload);
        let tcp = Tcp::parse(ip.payload).unwrap();
        prop_assert_eq!(tcp.header.ports, Ports::new(ports.0, ports.1));
        prop_assert_eq!(tcp.payload, &payload[..]);
    }

    #[test]
    fn gre_is_read_as_written(
        key: Option<u32>,
        sequence: Option<u32>,
        has_checksum: bool,
        payload: Vec<u8>,
    ) {
        let mut builder = gre().gre_protocol(EtherType::IPV4).payload(&payload);
        if let Some(key) = key {
            builder = builder.gre_key(key);
        }
        if let Some(sequence) = sequence {
            builder = builder.gre_sequence(sequence);
        }
        if has_checksum {
            builder = builder.gre_checksum();
        }
        let bytes = builder.build();
        let ip = Ipv4::parse(&bytes[14..]).unwrap();
        let protocol = EtherType::IPV4;
        prop_assert_eq!(Gre::parse(ip.payload), Ok(Gre { protocol, key, sequence, payload: &payload }));
    }
}
