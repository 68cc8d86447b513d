//! An IPv4 packet with padding behind it: as it is, with its checksum made right, and as a quoted
//! packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::ipv4::{Ipv4, Ipv4Header};
use rustyrail::wire::{TrafficClass, checksum, view_mut};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);

    let mut sealed = bytes.to_vec();
    if let Ok(quoted) = Ipv4::parse_quoted(bytes) {
        let header_len = quoted.header_len();
        sealed[10..12].fill(0);
        let sum = checksum::checksum(&sealed[..header_len]);
        sealed[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    check(&sealed);
    rewrite(&mut sealed);
});

fn check(bytes: &[u8]) {
    let Ok(packet) = Ipv4::parse(bytes) else {
        return;
    };
    let total = usize::from(packet.header.total_length.get());
    assert_eq!(packet.header_len() + packet.payload.len(), total);
    assert_eq!(packet.payload, &bytes[packet.header_len()..total]);
    if let Some(fragment) = packet.header.fragment() {
        let end = usize::from(fragment.offset) + packet.payload.len();
        assert!(end <= 65_535 || fragment.check(packet.payload.len()).is_err());
    }
    let quoted = Ipv4::parse_quoted(bytes).expect("what is valid can be quoted");
    assert_eq!(quoted.payload, packet.payload);
}

/// A rewritten header is as valid as it was.
fn rewrite(bytes: &mut [u8]) {
    let Ok(packet) = Ipv4::parse(bytes) else {
        return;
    };
    let (ttl, class) = (packet.header.ttl, packet.header.traffic_class);
    let (source, destination) = (packet.header.source(), packet.header.destination());
    let header: &mut Ipv4Header = view_mut(bytes).expect("a whole header");
    header.set_ttl(ttl.wrapping_sub(1));
    header.set_traffic_class(TrafficClass(!class.0));
    header.set_source(destination);
    header.set_destination(source.octets().map(|octet| !octet).into());
    let packet = Ipv4::parse(bytes).expect("the checksum followed");
    assert_eq!(packet.header.source(), destination);
}
