//! A TCP segment.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::Ports;
use rustyrail::wire::tcp::{Tcp, TcpHeader};

fuzz_target!(|bytes: &[u8]| {
    let ports = Ports::parse(bytes);
    let Ok(tcp) = Tcp::parse(bytes) else { return };
    assert_eq!(ports, Some(tcp.header.ports));
    assert!(tcp.options.len() <= 40);
    assert_eq!(TcpHeader::LEN + tcp.options.len(), tcp.header.header_len());
    assert_eq!(tcp.header.header_len() + tcp.payload.len(), bytes.len());
    assert!(tcp.payload.is_empty() || tcp.payload == &bytes[tcp.header.header_len()..]);
});
