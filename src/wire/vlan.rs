//! VLAN tags (IEEE 802.1Q, 802.1ad) and the whole of layer 2 in one step.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::{EtherType, EthernetHeader, MacAddr};

/// The number of a VLAN, 1 to 4094: 0 is the priority tag (no VLAN), 4095 is reserved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VlanId(u16);

/// A number that no VLAN has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is not a VLAN: VLANs run from 1 to 4094")]
pub struct VlanIdError(pub u16);

impl VlanId {
    pub const MIN: Self = Self(1);
    pub const MAX: Self = Self(4094);

    /// Checks the range 1 to 4094.
    pub const fn new(id: u16) -> Result<Self, VlanIdError> {
        if id >= Self::MIN.0 && id <= Self::MAX.0 {
            Ok(Self(id))
        } else {
            Err(VlanIdError(id))
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for VlanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A tag as parsed, host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanTag {
    /// The tag's own type, [`EtherType::VLAN`] or [`EtherType::QINQ`].
    pub tpid: EtherType,
    /// Priority (3 bits), drop eligible (1 bit), VLAN (12 bits).
    pub tci: u16,
}

impl VlanTag {
    /// What unused places of [`L2::tags`] hold.
    const NONE: Self = Self {
        tpid: EtherType(0),
        tci: 0,
    };
    const VID_MASK: u16 = 0x0fff;
    const PRIORITY_SHIFT: u32 = 13;

    pub const fn new(vlan: VlanId) -> Self {
        Self {
            tpid: EtherType::VLAN,
            tci: vlan.0,
        }
    }

    /// The VLAN, or `None` for a priority tag and for the reserved number.
    #[inline]
    pub const fn vlan(self) -> Option<VlanId> {
        match VlanId::new(self.tci & Self::VID_MASK) {
            Ok(vlan) => Some(vlan),
            Err(_) => None,
        }
    }

    /// Priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        (self.tci >> Self::PRIORITY_SHIFT) as u8
    }
}

/// What stands behind a tag's type: the tag control information and the type of what comes next.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct VlanHeader {
    pub tci: U16,
    pub ethertype: U16,
}

impl VlanHeader {
    /// What a tag adds to the frame, bytes.
    pub const LEN: usize = size_of::<Self>();
}

/// At most two tags are understood (802.1ad: one service tag, one customer tag).
pub const MAX_TAGS: usize = 2;

/// Layer 2 of a frame, seen through its tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L2 {
    pub destination: MacAddr,
    pub source: MacAddr,
    /// The type behind the last tag; never a tag's own.
    pub ethertype: EtherType,
    /// Where layer 3 starts, bytes from the start of the frame; never beyond its end.
    pub l3_offset: u16,
    /// The tags, outermost first; see [`tags`](Self::tags).
    tags: [VlanTag; MAX_TAGS],
    ntags: u8,
}

impl L2 {
    /// The tags, outermost first.
    #[inline]
    pub fn tags(&self) -> &[VlanTag] {
        self.tags
            .get(..usize::from(self.ntags))
            .unwrap_or(&self.tags)
    }

    pub const fn is_tagged(&self) -> bool {
        self.ntags != 0
    }
}

/// Why layer 2 of a frame could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum L2Error {
    #[error("the frame ends within its Ethernet header or a VLAN tag")]
    Truncated,
    #[error("the frame has more than two VLAN tags")]
    TooManyTags,
}

/// Reads the Ethernet header and up to two VLAN tags.
#[inline]
pub fn l2(frame: &[u8]) -> Result<L2, L2Error> {
    let (ethernet, mut rest) = super::split::<EthernetHeader>(frame).ok_or(L2Error::Truncated)?;
    let mut l2 = L2 {
        destination: ethernet.destination,
        source: ethernet.source,
        ethertype: ethernet.ethertype(),
        l3_offset: EthernetHeader::LEN as u16,
        tags: [VlanTag::NONE; MAX_TAGS],
        ntags: 0,
    };
    while matches!(l2.ethertype, EtherType::VLAN | EtherType::QINQ) {
        let slot = l2
            .tags
            .get_mut(usize::from(l2.ntags))
            .ok_or(L2Error::TooManyTags)?;
        let (tag, behind) = super::split::<VlanHeader>(rest).ok_or(L2Error::Truncated)?;
        *slot = VlanTag {
            tpid: l2.ethertype,
            tci: tag.tci.get(),
        };
        l2.ethertype = EtherType(tag.ethertype.get());
        l2.l3_offset += VlanHeader::LEN as u16;
        l2.ntags += 1;
        rest = behind;
    }
    Ok(l2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with these 16-bit words behind its addresses.
    fn frame(words: &[u16]) -> Vec<u8> {
        let addresses = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];
        let words = words.iter().flat_map(|word| word.to_be_bytes());
        addresses.into_iter().chain(words).collect()
    }

    #[test]
    fn sees_through_up_to_two_tags() {
        let plain = l2(&frame(&[0x0800, 0x4500])).expect("a frame");
        assert_eq!((plain.ethertype, plain.l3_offset), (EtherType::IPV4, 14));
        assert!(!plain.is_tagged());

        let tagged = l2(&frame(&[0x8100, 0x600a, 0x0800, 0x4500])).expect("a frame");
        assert_eq!((tagged.ethertype, tagged.l3_offset), (EtherType::IPV4, 18));
        assert_eq!(tagged.tags()[0].vlan(), VlanId::new(10).ok());
        assert_eq!(tagged.tags()[0].priority(), 3);

        let double = l2(&frame(&[0x88a8, 100, 0x8100, 10, 0x86dd])).expect("a frame");
        assert_eq!((double.ethertype, double.l3_offset), (EtherType::IPV6, 22));
        let seen: Vec<_> = double
            .tags()
            .iter()
            .map(|tag| (tag.tpid, tag.tci))
            .collect();
        assert_eq!(seen, [(EtherType::QINQ, 100), (EtherType::VLAN, 10)]);
    }

    #[test]
    fn refuses_a_third_tag_and_a_cut_one() {
        let three = frame(&[0x88a8, 1, 0x8100, 2, 0x8100, 3, 0x0800]);
        assert_eq!(l2(&three), Err(L2Error::TooManyTags));
        let two = frame(&[0x88a8, 1, 0x8100, 2, 0x0800]);
        assert!(l2(&two).is_ok());
        for len in 0..two.len() {
            assert_eq!(l2(&two[..len]), Err(L2Error::Truncated), "{len} bytes");
        }
    }

    #[test]
    fn numbers_that_are_no_vlan() {
        assert_eq!(VlanId::new(0), Err(VlanIdError(0)));
        assert_eq!(VlanId::new(4095), Err(VlanIdError(4095)));
        assert_eq!(VlanId::new(4094), Ok(VlanId::MAX));
        let priority_tag = VlanTag {
            tpid: EtherType::VLAN,
            tci: 0xe000,
        };
        assert_eq!(priority_tag.vlan(), None);
    }
}
