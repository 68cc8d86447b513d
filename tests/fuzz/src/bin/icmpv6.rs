//! An IPv6 packet with an ICMPv6 message and the packet it quotes: as it is, and with its checksum
//! made right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::icmpv6::{Icmpv6, Icmpv6Header, Icmpv6Kind};
use rustyrail::wire::ipv6::Ipv6;
use rustyrail::wire::{Ports, view_mut};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ip) = Ipv6::parse_quoted(bytes) else {
        return;
    };
    let (source, destination) = (ip.header.source(), ip.header.destination());
    let _ = Icmpv6::parse(ip.payload, source, destination);

    let mut sealed = ip.payload.to_vec();
    if let Some((header, body)) = sealed.split_at_mut_checked(Icmpv6Header::LEN) {
        let header: &mut Icmpv6Header = view_mut(header).expect("a whole header");
        header.fill_checksum(source, destination, body);
    }
    let Ok(message) = Icmpv6::parse(&sealed, source, destination) else {
        assert!(sealed.len() < Icmpv6Header::LEN);
        return;
    };
    if let Some(Ok(quoted)) = message.quoted().map(Ipv6::parse_quoted)
        && quoted.protocol.has_ports()
    {
        assert_eq!(
            Ports::parse(quoted.payload).is_some(),
            quoted.payload.len() >= 4
        );
    }
    if let Icmpv6Kind::EchoRequest {
        identifier,
        sequence,
    } = message.kind
    {
        let header: &mut Icmpv6Header = view_mut(&mut sealed).expect("a whole header");
        header.turn_into_echo_reply();
        let reply = Icmpv6::parse(&sealed, destination, source).expect("the checksum followed");
        assert_eq!(
            reply.kind,
            Icmpv6Kind::EchoReply {
                identifier,
                sequence
            }
        );
    }
});
