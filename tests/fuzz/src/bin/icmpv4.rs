//! An ICMP message and the packet it quotes: as it is, and with its checksum made right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::icmpv4::{Icmpv4, Icmpv4Header, Icmpv4Kind};
use rustyrail::wire::ipv4::Ipv4;
use rustyrail::wire::{Ports, view_mut};

fuzz_target!(|bytes: &[u8]| {
    let _ = Icmpv4::parse(bytes);

    let mut sealed = bytes.to_vec();
    if let Some((header, body)) = sealed.split_at_mut_checked(Icmpv4Header::LEN) {
        let header: &mut Icmpv4Header = view_mut(header).expect("a whole header");
        header.fill_checksum(body);
    }
    let Ok(message) = Icmpv4::parse(&sealed) else {
        assert!(sealed.len() < Icmpv4Header::LEN);
        return;
    };
    if let Some(Ok(quoted)) = message.quoted().map(Ipv4::parse_quoted) {
        let total = usize::from(quoted.header.total_length.get());
        assert!(quoted.header_len() + quoted.payload.len() <= total);
        if quoted.header.protocol.has_ports() {
            assert_eq!(
                Ports::parse(quoted.payload).is_some(),
                quoted.payload.len() >= 4
            );
        }
    }
    if let Icmpv4Kind::EchoRequest {
        identifier,
        sequence,
    } = message.kind
    {
        let header: &mut Icmpv4Header = view_mut(&mut sealed).expect("a whole header");
        header.turn_into_echo_reply();
        let reply = Icmpv4::parse(&sealed).expect("the checksum followed");
        assert_eq!(
            reply.kind,
            Icmpv4Kind::EchoReply {
                identifier,
                sequence
            }
        );
    }
});
