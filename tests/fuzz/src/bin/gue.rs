//! A GUE packet, and the same written anew.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::wire::gue::{Gue, GueHeader};
use rustyrail::wire::put;

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = Gue::parse(bytes) else { return };
    let mut written = vec![0; GueHeader::LEN];
    put(&mut written, &GueHeader::new(read.protocol)).expect("room enough");
    written.extend_from_slice(read.payload);
    assert_eq!(written, bytes);
});
