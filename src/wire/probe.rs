//! The probe rails send each other: a UDP datagram that says "I am here, and I hear you".
//!
//! Ours alone; both ports of the datagram are [`PORT`]. Like every file here this one knows bytes: what
//! the fields mean between rails is decided by whoever sends and hears them, and the tag is made and
//! checked with a key that only they have.

use zerocopy::network_endian::{U16, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Source and destination port of probes: one below GUE's, in no use known to the registry.
pub const PORT: u16 = 6079;

/// Flag: the sender takes no more packets from other rails; this is its last probe.
pub const LEAVING: u16 = 1;

/// "rrp" and the version.
const MAGIC: [u8; 4] = *b"rrp1";

/// A probe as on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ProbeHeader {
    pub magic: [u8; 4],
    /// The sender sends one every so many milliseconds.
    pub interval_ms: U16,
    /// [`LEAVING`], or nothing.
    pub flags: U16,
    /// Counts up by one with every probe of the sender to this receiver.
    pub sequence: U64,
    /// What the sender wants to hear back.
    pub challenge: U64,
    /// The challenge the sender heard last from the receiver; zero if none.
    pub echo: U64,
    /// Fingerprint of the tables the sender's pool wants.
    pub digest: U64,
    /// Proof that the sender has the pool's keys, over all fields before and both addresses.
    pub tag: U128,
}

impl ProbeHeader {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();
    /// The bytes that the tag covers.
    pub const TAGGED: usize = Self::LEN - 16;

    /// A probe without its tag.
    pub fn new(interval_ms: u16, sequence: u64, challenge: u64, echo: u64, digest: u64) -> Self {
        Self {
            magic: MAGIC,
            interval_ms: interval_ms.into(),
            flags: U16::ZERO,
            sequence: sequence.into(),
            challenge: challenge.into(),
            echo: echo.into(),
            digest: digest.into(),
            tag: U128::ZERO,
        }
    }

    /// The same as the sender's last one.
    pub fn leaving(self) -> Self {
        let flags = (self.flags.get() | LEAVING).into();
        Self { flags, ..self }
    }

    /// Whether it is the sender's last one.
    pub fn is_leaving(&self) -> bool {
        self.flags.get() & LEAVING != 0
    }

    /// The probe that a UDP payload is; `None` if it is of another length, version or origin.
    pub fn parse(payload: &[u8]) -> Option<&Self> {
        let probe = Self::ref_from_bytes(payload).ok()?;
        (probe.magic == MAGIC).then_some(probe)
    }

    /// What the tag is made over, but for the addresses.
    pub fn tagged(&self) -> &[u8] {
        &self.as_bytes()[..Self::TAGGED]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_written_and_nothing_else_is() {
        let mut probe = ProbeHeader::new(500, 7, 8, 9, 10);
        probe.tag = U128::new(11);
        let bytes = probe.as_bytes();
        assert_eq!(bytes.len(), 56);
        assert_eq!(bytes[..8], *b"rrp1\x01\xf4\0\0");
        assert_eq!(bytes[55], 11);
        assert_eq!(probe.tagged(), &bytes[..40]);
        assert_eq!(ProbeHeader::parse(bytes), Some(&probe));
        assert_eq!(ProbeHeader::parse(&bytes[..55]), None);
        assert_eq!(ProbeHeader::parse(&[bytes, &[0]].concat()), None);
        assert!(!probe.is_leaving() && probe.leaving().is_leaving());
        assert_eq!(probe.leaving().as_bytes()[6..8], [0, 1]);
        for at in 0..4 {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            assert_eq!(ProbeHeader::parse(&other), None);
        }
    }
}
