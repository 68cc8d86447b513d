//! Layer 2 with its tags: an Ethernet frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::{EtherType, EthernetHeader, l2};

fuzz_target!(|frame: &[u8]| {
    let Ok(l2) = l2(frame) else { return };
    let offset = usize::from(l2.l3_offset);
    assert!(offset <= frame.len());
    assert_eq!(offset, EthernetHeader::LEN + 4 * l2.tags().len());
    assert!(!matches!(l2.ethertype, EtherType::VLAN | EtherType::QINQ));
    assert_eq!(l2.ethertype.0.to_be_bytes(), frame[offset - 2..offset]);
    for tag in l2.tags() {
        assert!(matches!(tag.tpid, EtherType::VLAN | EtherType::QINQ));
        assert!(tag.priority() <= 7);
    }
});
