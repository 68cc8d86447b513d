//! Packet buffers.

use std::ptr::NonNull;
use std::slice;

use dpdk_sys as c;

use crate::timestamp;

/// Bytes that a fresh or received mbuf keeps free before the packet, for headers to be prepended.
pub const HEADROOM: usize = c::SHIM_HEADROOM as usize;

/// An owned packet buffer; dropping it gives it back to its pool.
///
/// The accessors read the buffer's header directly: no call, no branch on ownership. They speak of the
/// first segment, which for a contiguous packet is all of it; see [`Mbuf::is_contiguous`].
#[repr(transparent)]
pub struct Mbuf {
    // Invariant: a valid mbuf with one reference that nobody else uses, whose `data_off + data_len` is
    // at most `buf_len`.
    raw: NonNull<c::rte_mbuf>,
}

// SAFETY: an mbuf has one owner and no tie to a thread; pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: a shared reference only reads fields and bytes that nobody writes meanwhile, for writing needs
// the owner's exclusive reference.
unsafe impl Sync for Mbuf {}

/// What the port says about a checksum of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Not looked at.
    Unknown,
    /// Checked and right.
    Good,
    /// Checked and wrong.
    Bad,
}

/// The layer-4 checksum the port shall fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Checksum {
    /// TCP over the IP version of the packet.
    Tcp,
    /// UDP over the IP version of the packet.
    Udp,
}

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// The mbuf is valid, has one reference, and nobody else uses it.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<c::rte_mbuf>) -> Mbuf {
        Mbuf { raw }
    }

    #[inline]
    fn header(&self) -> &c::rte_mbuf {
        // SAFETY: the mbuf is valid and only its owner writes to it.
        unsafe { self.raw.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut c::rte_mbuf {
        // SAFETY: the mbuf is valid, and the exclusive reference to its owner makes this one exclusive.
        unsafe { self.raw.as_mut() }
    }

    /// A place in the buffer.
    ///
    /// # Safety
    /// `offset` is at most `buf_len`.
    #[inline]
    unsafe fn at(&self, offset: usize) -> *mut u8 {
        let buffer = self.header().buf_addr.cast::<u8>();
        // SAFETY: an mbuf has a buffer, and the result is within it or one past it.
        unsafe {
            std::hint::assert_unchecked(!buffer.is_null());
            buffer.add(offset)
        }
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        // SAFETY: `data_off` is at most `buf_len`.
        unsafe { self.at(self.headroom()) }
    }

    /// The packet's bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `data_len` bytes from the start lie within the buffer, which is initialised memory: EAL
        // maps it zeroed, and only packets are written to it.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }

    /// The packet's bytes, to change.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; the buffer belongs to this mbuf alone, and the reference is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    /// Length of [`Mbuf::data`] in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.header().data_len)
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of the whole packet over all segments.
    #[inline]
    pub fn packet_len(&self) -> usize {
        self.header().pkt_len as usize
    }

    /// Whether [`Mbuf::data`] is the whole packet. A port may spread a frame that is longer than a
    /// buffer over several.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.header().nb_segs == 1
    }

    /// Bytes free before the packet.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.header().data_off)
    }

    /// Bytes free after the packet.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let header = self.header();
        usize::from(header.buf_len) - usize::from(header.data_off) - usize::from(header.data_len)
    }

    /// Grows the packet by `n` bytes at its front and returns them; their content is what was left
    /// there. `None`, and nothing changed, when the headroom is smaller.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        // `n` is at most `data_off`, hence fits; and the sum stays within `buf_len`.
        let header = self.header_mut();
        header.data_off -= n as u16;
        header.data_len += n as u16;
        header.pkt_len += n as u32;
        Some(&mut self.data_mut()[..n])
    }

    /// Removes `n` bytes from the packet's front; false, and nothing changed, when it has fewer.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        let header = self.header_mut();
        header.data_off += n as u16;
        header.data_len -= n as u16;
        header.pkt_len -= n as u32;
        true
    }

    /// Shortens the packet to `len` bytes; does nothing when it is not longer, or not contiguous.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() && self.is_contiguous() {
            let header = self.header_mut();
            header.data_len = len as u16;
            header.pkt_len = len as u32;
        }
    }

    /// Keeps `len` bytes of the packet from byte `from` on, puts `head` bytes in front of them, whose content is
    /// what was left there, and returns all of it. `None`, and nothing changed, when there are no such bytes, no
    /// such room in front of them, or the packet is not contiguous.
    #[inline]
    pub fn rewrap(&mut self, from: usize, len: usize, head: usize) -> Option<&mut [u8]> {
        if from.checked_add(len)? > self.len() || !self.is_contiguous() {
            return None;
        }
        let start = (self.headroom() + from).checked_sub(head)?;
        let len = head + len;
        let header = self.header_mut();
        // `start + len` is at most what `data_off + data_len` was: both lie within the buffer, whose length is 16 bits.
        header.data_off = start as u16;
        header.data_len = len as u16;
        header.pkt_len = len as u32;
        // SAFETY: those bytes lie within the buffer, as just said; else as in `data_mut`.
        Some(unsafe { slice::from_raw_parts_mut(self.at(start), len) })
    }

    /// Grows the packet by `n` bytes at its end and returns them; their content is what was left there.
    /// `None`, and nothing changed, when the tailroom is smaller or the packet not contiguous.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() || !self.is_contiguous() {
            return None;
        }
        let len = self.len();
        let header = self.header_mut();
        header.data_len += n as u16;
        header.pkt_len += n as u32;
        Some(&mut self.data_mut()[len..])
    }

    /// Replaces the packet by `bytes`, with full headroom. False, and the packet empty, when they do not
    /// fit or the packet is not contiguous.
    pub fn set_data(&mut self, bytes: &[u8]) -> bool {
        if !self.is_contiguous() {
            return false;
        }
        self.truncate(0);
        let header = self.header_mut();
        header.data_off = header.buf_len.min(HEADROOM as u16);
        match self.append(bytes.len()) {
            Some(data) => {
                data.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// DPDK's number of the port that received the packet; see [`crate::Port::id`]. Ports made of rings
    /// leave it as it was.
    #[inline]
    pub fn port(&self) -> u16 {
        self.header().port
    }

    /// The hash that RSS chose the queue by, when the port reports it.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let header = self.header();
        (header.ol_flags & c::SHIM_RX_RSS_HASH != 0).then_some(header.rss_hash)
    }

    /// The VLAN tag (priority, DEI and id, in host order) that the port removed from the packet.
    #[inline]
    pub fn stripped_vlan(&self) -> Option<u16> {
        let header = self.header();
        (header.ol_flags & c::SHIM_RX_VLAN_STRIPPED != 0).then_some(header.vlan_tci)
    }

    /// What the port found about the outermost IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> Checksum {
        match self.header().ol_flags & c::SHIM_RX_IP_CKSUM_MASK {
            c::SHIM_RX_IP_CKSUM_GOOD => Checksum::Good,
            c::SHIM_RX_IP_CKSUM_BAD => Checksum::Bad,
            // Neither bit, or both, which says that the header is intact but its checksum was not seen.
            _ => Checksum::Unknown,
        }
    }

    /// What the port found about the layer-4 checksum.
    #[inline]
    pub fn l4_checksum(&self) -> Checksum {
        match self.header().ol_flags & c::SHIM_RX_L4_CKSUM_MASK {
            c::SHIM_RX_L4_CKSUM_GOOD => Checksum::Good,
            c::SHIM_RX_L4_CKSUM_BAD => Checksum::Bad,
            _ => Checksum::Unknown,
        }
    }

    /// When the packet was received or captured, in nanoseconds since the Unix epoch, on ports whose
    /// clock says so (`net_pcap`: the capture's timestamp, in microsecond steps).
    pub fn rx_timestamp_ns(&self) -> Option<u64> {
        let (offset, ns_per_tick) = timestamp::of_packet(self.header().ol_flags, self.port())?;
        // SAFETY: DPDK assigned this offset within the mbuf header to a 64-bit timestamp, and the flag
        // checked above says that the driver has set it for this packet.
        let ticks = unsafe {
            self.raw
                .cast::<u8>()
                .add(offset)
                .cast::<u64>()
                .read_unaligned()
        };
        ticks.checked_mul(u64::from(ns_per_tick))
    }

    /// Asks for no transmit offload: the packet goes out as its bytes say.
    #[inline]
    pub fn clear_tx_offloads(&mut self) {
        self.header_mut().ol_flags &= !c::SHIM_TX_MASK;
    }

    /// Asks the port to fill in the IPv4 header checksum. The header starts at `l2_len` and is `l3_len`
    /// bytes long; the caller has set its checksum field to zero. Lengths are at most 127 and 511.
    #[inline]
    pub fn offload_ipv4_checksum(&mut self, l2_len: u8, l3_len: u16) {
        self.set_tx_offload(c::SHIM_TX_IPV4 | c::SHIM_TX_IP_CKSUM, l2_len, l3_len);
    }

    /// Asks the port to fill in the checksum of TCP or UDP behind an IP header that starts at `l2_len`
    /// and is `l3_len` bytes long; the caller has set the field to the pseudo-header's sum, and for IPv4
    /// the header checksum to zero, which the port fills in too. Lengths are at most 127 and 511.
    #[inline]
    pub fn offload_l4_checksum(&mut self, l4: L4Checksum, ipv6: bool, l2_len: u8, l3_len: u16) {
        let ip = if ipv6 {
            c::SHIM_TX_IPV6
        } else {
            c::SHIM_TX_IPV4 | c::SHIM_TX_IP_CKSUM
        };
        let l4 = match l4 {
            L4Checksum::Tcp => c::SHIM_TX_TCP_CKSUM,
            L4Checksum::Udp => c::SHIM_TX_UDP_CKSUM,
        };
        self.set_tx_offload(ip | l4, l2_len, l3_len);
    }

    /// Asks the port to insert a VLAN tag (priority, DEI and id, in host order) into the packet.
    #[inline]
    pub fn offload_vlan(&mut self, tag: u16) {
        let header = self.header_mut();
        header.vlan_tci = tag;
        header.ol_flags |= c::SHIM_TX_VLAN;
    }

    #[inline]
    fn set_tx_offload(&mut self, flags: u64, l2_len: u8, l3_len: u16) {
        let l2_mask = (1 << c::RTE_MBUF_L2_LEN_BITS) - 1;
        let l3_mask = (1 << c::RTE_MBUF_L3_LEN_BITS) - 1;
        let header = self.header_mut();
        let kept = header.ol_flags & c::SHIM_TX_VLAN;
        header.ol_flags = header.ol_flags & !c::SHIM_TX_MASK | kept | flags;
        header.tx_offload =
            u64::from(l2_len) & l2_mask | (u64::from(l3_len) & l3_mask) << c::RTE_MBUF_L2_LEN_BITS;
    }

    /// Fetches the line of the header that the accessors read.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch_read(self.raw.as_ptr().cast());
    }

    /// Fetches the packet's first line. Reads the header, so fetch that first.
    #[inline]
    pub fn prefetch_data(&self) {
        prefetch_read(self.start());
    }

    /// Fetches, to write, the line below the packet's first byte, where a prepended outer header goes.
    #[inline]
    pub fn prefetch_headroom(&self) {
        prefetch_below(self.start());
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and the mbuf is not touched afterwards.
        unsafe { c::shim_mbuf_free(self.raw.as_ptr()) };
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Mbuf({} bytes from port {})",
            self.packet_len(),
            self.port()
        )
    }
}

/// Bytes that the processor moves at a time.
const CACHE_LINE: usize = 64;

#[inline]
fn prefetch_read(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The line below, to write.
#[inline]
fn prefetch_below(address: *const u8) {
    // The intrinsic would emit a read prefetch unless the whole build requires the `prfchw` feature.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that cannot fault, whatever the address; 64-bit processors without it
    // execute the instruction as a no-op. It changes no register and no memory.
    unsafe {
        std::arch::asm!(
            "prefetchw [{0} - {line}]",
            in(reg) address,
            line = const CACHE_LINE,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
