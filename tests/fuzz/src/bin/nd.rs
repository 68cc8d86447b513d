//! An IPv6 packet with a neighbour discovery message whose checksum is taken for right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::icmpv6::Icmpv6;
use rustyrail::wire::ipv6::Ipv6;
use rustyrail::wire::nd::{HOP_LIMIT, Nd};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ip) = Ipv6::parse_quoted(bytes) else {
        return;
    };
    let Ok(message) = Icmpv6::parse_quoted(ip.payload) else {
        return;
    };
    let Ok(nd) = Nd::parse(ip.header, &message) else {
        return;
    };
    assert_eq!(ip.header.hop_limit, HOP_LIMIT);
    let (target, mac) = match nd {
        Nd::Solicitation { target, source_mac } => {
            assert!(source_mac.is_none() || !ip.header.source().is_unspecified());
            (target, source_mac)
        }
        Nd::Advertisement {
            target,
            target_mac,
            flags,
        } => {
            assert!(!flags.solicited || !ip.header.destination().is_multicast());
            (target, target_mac)
        }
    };
    assert!(!target.is_multicast());
    assert!(mac.is_none_or(|mac| mac.is_unicast()));
});
