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
