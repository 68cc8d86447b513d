//! A UDP datagram.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::Ports;
use rustyrail::wire::udp::{Udp, UdpHeader};

fuzz_target!(|bytes: &[u8]| {
    let ports = Ports::parse(bytes);
    let Ok(udp) = Udp::parse(bytes) else { return };
    let end = usize::from(udp.header.length.get());
    assert_eq!(ports, Some(udp.header.ports));
    assert_eq!(udp.payload, &bytes[UdpHeader::LEN..end]);
});
