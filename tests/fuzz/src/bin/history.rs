//! Two rails, and any sequence of fragments, errors, swaps, deaths and time: the bytes are the history.

#![no_main]

use libfuzzer_sys::fuzz_target;

// One harness for this and for the ordinary tests, which use more of the first file.
#[path = "../../../rails/history/mod.rs"]
mod history;
#[allow(dead_code)]
#[path = "../../../rails/network.rs"]
mod network;

fuzz_target!(|bytes: &[u8]| {
    history::live(bytes);
});
