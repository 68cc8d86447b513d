//! An ARP packet, and the reply to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::arp::{Arp, ArpOperation, ArpPacket};
use rustyrail::wire::{MacAddr, put};

fuzz_target!(|bytes: &[u8]| {
    let Ok(asked) = Arp::parse(bytes) else { return };
    let mac = MacAddr([0x02, 0, 0, 0, 0, 0x10]);
    let mut reply = [0; ArpPacket::LEN];
    put(&mut reply, &asked.reply(mac)).expect("room enough");
    let answer = Arp::parse(&reply).expect("our own reply is valid");
    assert_eq!(answer.operation, ArpOperation::Reply);
    assert_eq!(
        (answer.sender_mac, answer.sender_ip),
        (mac, asked.target_ip)
    );
    assert_eq!(
        (answer.target_mac, answer.target_ip),
        (asked.sender_mac, asked.sender_ip)
    );
});
