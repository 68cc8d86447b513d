//! An IPv6 packet with extension headers and padding, also as a quoted packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::ipv6::{Ipv6, Ipv6Error, Ipv6Header};

fuzz_target!(|bytes: &[u8]| {
    let quoted = Ipv6::parse_quoted(bytes);
    let packet = match Ipv6::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => {
            let header_wrong = matches!(error, Ipv6Error::Truncated | Ipv6Error::BadVersion);
            assert!(!header_wrong || quoted.is_err());
            return;
        }
    };
    let end = Ipv6Header::LEN + usize::from(packet.header.payload_length.get());
    assert_eq!(packet.payload, &bytes[packet.payload_offset..end]);
    if let Some(fragment) = packet.fragment {
        assert!(fragment.offset.is_multiple_of(8));
    }
    let quoted = quoted.expect("what is valid can be quoted");
    assert_eq!(quoted.payload_offset, packet.payload_offset);
    assert_eq!(
        (quoted.protocol, quoted.payload),
        (packet.protocol, packet.payload)
    );
});
