//! What a packet shows about its service, in one word, to be compared with what the packets of a service have to
//! show. So a packet whose connection is known needs no look at the services.

use super::HashKey;
use super::hash::FlowBlocks;
use super::service::{ServiceIndex, V4Key, V6Key};

/// See the module. It means nothing under another snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim(u64);

/// Marks a service's index. No key of an IPv4 packet has this bit or the next.
const INDEX: u64 = 1 << 63;
/// Marks the hash of an IPv6 packet's key.
const V6: u64 = 1 << 62;

impl Claim {
    /// Of no packet.
    pub const NONE: Claim = Claim(u64::MAX);

    /// Of a packet that the service was looked up for.
    #[inline(always)]
    pub fn of_service(index: ServiceIndex) -> Self {
        Claim(INDEX | u64::from(index.0))
    }

    /// Of an IPv4 packet where every IPv4 service has its address, protocol and port for itself: such a key
    /// outranks all others, so equality is all there is to matching.
    #[inline(always)]
    pub fn of_v4(key: V4Key) -> Self {
        Claim(key.word())
    }

    /// As [`Claim::of_v4`], of an IPv6 packet, whose key is longer than a word.
    #[inline(always)]
    pub fn of_v6(key: V6Key, secret: &ClaimKey) -> Self {
        Claim(secret.hash(key) & !(INDEX | V6) | V6)
    }

    /// `other` where `mask` is all ones, this where it is zero: a choice in a loop that becomes vector code.
    #[inline(always)]
    pub fn or(self, other: Claim, mask: u64) -> Claim {
        Claim(self.0 & !mask | other.0 & mask)
    }

    /// The service, if it was looked up already.
    #[inline(always)]
    pub fn service(self) -> Option<ServiceIndex> {
        // The index was 16 bits.
        (self.0 & INDEX != 0).then_some(ServiceIndex(self.0 as u16))
    }

    /// The key, of an IPv4 packet whose service has not been looked up.
    #[inline(always)]
    pub fn v4_key(self) -> V4Key {
        V4Key::from_word(self.0)
    }
}

/// The secret that the claims of IPv6 packets are hashed with.
///
/// The hash is NH, whose collisions nobody can bring about who does not know the secret: two different keys have
/// the same hash for one secret in 2^32 (J. Black et al., "UMAC: Fast and Secure Message Authentication", 1999),
/// one in 2^30 without the two marked bits. And a claim is only looked at where 32 bits of the flow's hash, which
/// covers the same address, protocol and port, are already those of a known connection. So a packet passes for
/// another service's once in 2^62 tries.
#[derive(Debug, Clone, Copy)]
pub struct ClaimKey([u64; 3]);

impl ClaimKey {
    /// The secret of a pool.
    pub fn new(key: &HashKey) -> Self {
        // The hash of no tuple: theirs have a length.
        ClaimKey([0, 1, 2].map(|n| FlowBlocks::without_length(n).hash(key).0))
    }

    #[inline(always)]
    fn hash(&self, key: V6Key) -> u64 {
        /// Of a message of two halves: the product of each plus its half of the secret.
        #[inline(always)]
        fn nh(word: u64, secret: u64) -> u64 {
            let low = (word as u32).wrapping_add(secret as u32);
            let high = ((word >> 32) as u32).wrapping_add((secret >> 32) as u32);
            u64::from(low).wrapping_mul(u64::from(high))
        }
        let ([a, b, c], (first, last, tail)) = (self.0, key.words());
        nh(first, a)
            .wrapping_add(nh(last, b))
            .wrapping_add(nh(tail.into(), c))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The formula, in numbers too large to wrap.
        #[test]
        fn claims_of_ipv6_packets_are_nh(key: [u8; 16], address: (u64, u64), rest: (u8, u16)) {
            let (protocol, port) = rest;
            let tail = u64::from(port) | u64::from(protocol) << 16;
            let secret = ClaimKey::new(&HashKey::from_bytes(key));
            let message = [address.0, address.1, tail];
            let halves = |word: u64| [word as u32, (word >> 32) as u32].map(u128::from);
            let mut sum = 0u128;
            for (word, secret) in message.into_iter().zip(secret.0) {
                let ([m0, m1], [s0, s1]) = (halves(word), halves(secret));
                sum += (m0 + s0) % (1 << 32) * ((m1 + s1) % (1 << 32));
            }
            let key = V6Key::from_wire(protocol, address, port);
            let Claim(claim) = Claim::of_v6(key, &secret);
            prop_assert_eq!(u128::from(claim), (sum % (1 << 62)) | (1 << 62));
        }

        #[test]
        fn kinds_of_claims_do_not_meet(index: u16, v4: (u8, u32, u16), v6: (u8, (u64, u64), u16)) {
            let secret = ClaimKey::new(&HashKey::from_bytes([7; 16]));
            let service = Claim::of_service(ServiceIndex(index));
            let v4 = V4Key::from_wire(v4.0, v4.1, v4.2);
            let v6 = Claim::of_v6(V6Key::from_wire(v6.0, v6.1, v6.2), &secret);
            prop_assert_eq!(service.service(), Some(ServiceIndex(index)));
            prop_assert_eq!(Claim::of_v4(v4).service(), None);
            prop_assert_eq!(Claim::of_v4(v4).v4_key(), v4);
            prop_assert_eq!(v6.service(), None);
            for claim in [service, Claim::of_v4(v4), v6] {
                prop_assert_ne!(claim, Claim::NONE);
            }
            prop_assert_ne!(Claim::of_v4(v4), v6);
        }
    }

    /// Differences that a plain multiplication would not tell apart, whatever it multiplies with.
    #[test]
    fn single_bits_make_different_claims() {
        let secret = ClaimKey::new(&HashKey::from_bytes([1; 16]));
        let claim =
            |first, last, port| Claim::of_v6(V6Key::from_wire(6, (first, last), port), &secret);
        let mut seen = std::collections::HashSet::new();
        assert!((0..64).all(|bit| seen.insert(claim(1 << bit, 0, 443).0)));
        assert!((0..64).all(|bit| seen.insert(claim(0, 1 << bit, 443).0)));
        assert!((0..16).all(|bit| seen.insert(claim(0, 0, 1 << bit).0)));
    }
}
