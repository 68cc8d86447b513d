//! A GRE packet: as it is, with its checksum made right, and written anew.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::checksum;
use rustyrail::wire::gre::{self, Gre};

const CHECKSUM_PRESENT: u8 = 0x80;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);

    let mut sealed = bytes.to_vec();
    if sealed.len() >= 8 && sealed[0] & CHECKSUM_PRESENT != 0 {
        sealed[4..6].fill(0);
        let sum = checksum::checksum(&sealed);
        sealed[4..6].copy_from_slice(&sum.to_be_bytes());
    }
    check(&sealed);
});

fn check(bytes: &[u8]) {
    let Ok(read) = Gre::parse(bytes) else { return };
    assert!(bytes.ends_with(read.payload));
    let mut written = vec![0; gre::header_len(read.key)];
    gre::write(&mut written, read.protocol, read.key).expect("room enough");
    written.extend_from_slice(read.payload);
    let expected = Gre {
        sequence: None,
        ..read
    };
    assert_eq!(Gre::parse(&written), Ok(expected));
}
