//! Histories of random bytes, as part of the ordinary tests.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::corpus;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn any_bytes_are_a_history(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        super::live(&bytes);
    }
}

/// Histories of random bytes; the same ones in every run.
fn random_histories(count: usize, len: usize) -> Vec<Vec<u8>> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as u8
    };
    let mut history = |_| (0..len).map(|_| byte()).collect();
    (0..count).map(&mut history).collect()
}

#[test]
fn seeds_of_histories() {
    let seeds: BTreeSet<_> = random_histories(16, 200).into_iter().collect();
    corpus::check("history", &seeds);
}

/// Random histories do lead to everything that is checked.
#[test]
fn histories_are_eventful() {
    let mut all = [0; 7];
    for bytes in random_histories(40, 300) {
        let seen = super::live(&bytes);
        let counts = [
            seen.compared,
            seen.errors,
            seen.handed,
            seen.cut,
            seen.waited,
            seen.held,
            seen.replies,
        ];
        for (sum, count) in all.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    assert!(all.iter().all(|sum| *sum > 0), "{all:?}");
}
