//! IPv4 (RFC 791), with options and fragment fields.

use std::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum};
use super::fragment::{FRAGMENT_UNIT, Fragment};
use super::{IpProtocol, TrafficClass};

const VERSION: u8 = 4;
/// The unit of the header length field, bytes.
const IHL_UNIT: usize = 4;
const FLAG_DONT_FRAGMENT: u16 = 0x4000;
const FLAG_MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The fixed 20 bytes of the header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (high four bits) and header length in units of 4 bytes.
    pub version_ihl: u8,
    pub traffic_class: TrafficClass,
    /// Header, options and payload, bytes.
    pub total_length: U16,
    pub identification: U16,
    /// Reserved, DF, MF, and the fragment offset in units of 8 bytes.
    pub flags_offset: U16,
    pub ttl: u8,
    pub protocol: IpProtocol,
    pub checksum: U16,
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

/// Why a packet is not valid IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ipv4Error {
    #[error("the frame ends within the IPv4 header")]
    Truncated,
    #[error("the IP version is not 4")]
    BadVersion,
    #[error("the IPv4 header length is below 20 bytes")]
    BadIhl,
    #[error("the IPv4 total length is below the header's or beyond the frame")]
    BadLength,
    #[error("the IPv4 header checksum is wrong")]
    BadChecksum,
}

/// A packet cut at its total length: link-layer padding is not part of it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    pub header: &'a Ipv4Header,
    /// At most 40 bytes.
    pub options: &'a [u8],
    /// What follows the options, to the total length.
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Reads a packet and checks all of its header: version, lengths against the frame, checksum.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv4Error> {
        let (packet, header_len) = Self::split(bytes)?;
        let total = usize::from(packet.header.total_length.get());
        let payload = total
            .checked_sub(header_len)
            .and_then(|len| packet.payload.get(..len))
            .ok_or(Ipv4Error::BadLength)?;
        let sum = Sum::ZERO
            .bytes(packet.header.as_bytes())
            .bytes(packet.options);
        if !sum.is_valid() {
            return Err(Ipv4Error::BadChecksum);
        }
        Ok(Self { payload, ..packet })
    }

    /// Reads a packet quoted in an ICMP error: it is cut short, so its total length says more than
    /// there is, and routers on its way need not have kept its checksum right. The payload is what
    /// is there, up to the total length.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Ipv4Error> {
        let (packet, header_len) = Self::split(bytes)?;
        let total = usize::from(packet.header.total_length.get());
        let claimed = total.checked_sub(header_len).ok_or(Ipv4Error::BadLength)?;
        let payload = packet.payload.get(..claimed).unwrap_or(packet.payload);
        Ok(Self { payload, ..packet })
    }

    /// Header, options and all bytes behind them, with the header's length in bytes.
    #[inline]
    fn split(bytes: &'a [u8]) -> Result<(Self, usize), Ipv4Error> {
        let (header, rest) = super::split::<Ipv4Header>(bytes).ok_or(Ipv4Error::Truncated)?;
        if header.version() != VERSION {
            return Err(Ipv4Error::BadVersion);
        }
        let header_len = header.header_len();
        let options_len = header_len
            .checked_sub(Ipv4Header::LEN)
            .ok_or(Ipv4Error::BadIhl)?;
        let (options, payload) = rest
            .split_at_checked(options_len)
            .ok_or(Ipv4Error::Truncated)?;
        let packet = Self {
            header,
            options,
            payload,
        };
        Ok((packet, header_len))
    }

    /// Header and options, bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        Ipv4Header::LEN + self.options.len()
    }
}

impl Ipv4Header {
    /// Size on the wire without options, bytes.
    pub const LEN: usize = size_of::<Self>();
    /// RFC 1700 and what every current host sends.
    pub const DEFAULT_TTL: u8 = 64;

    /// A header without options for `payload_len` bytes: TTL 64, DF set, ID 0 (RFC 6864 allows it
    /// for a packet that is never fragmented), checksum filled in. A payload beyond 65,515 bytes
    /// has no valid header; its length is cut to the field.
    pub fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: IpProtocol,
        payload_len: usize,
    ) -> Self {
        let total = u16::try_from(Self::LEN + payload_len).unwrap_or(u16::MAX);
        let mut header = Self {
            version_ihl: (VERSION << 4) | (Self::LEN / IHL_UNIT) as u8,
            traffic_class: TrafficClass::default(),
            total_length: U16::new(total),
            identification: U16::ZERO,
            flags_offset: U16::new(FLAG_DONT_FRAGMENT),
            ttl: Self::DEFAULT_TTL,
            protocol,
            checksum: U16::ZERO,
            source: source.octets(),
            destination: destination.octets(),
        };
        header.fill_checksum(&[]);
        header
    }

    #[inline]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// What the header length field says, bytes: 0 to 60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * IHL_UNIT
    }

    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.source;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.destination;
        Ipv4Addr::new(a, b, c, d)
    }

    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        self.flags_offset.get() & FLAG_DONT_FRAGMENT != 0
    }

    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.flags_offset.get() & FLAG_MORE_FRAGMENTS != 0
    }

    /// Where the payload goes in its datagram, bytes.
    #[inline]
    pub const fn fragment_offset(&self) -> u16 {
        (self.flags_offset.get() & OFFSET_MASK) * FRAGMENT_UNIT as u16
    }

    /// The fragment fields, or `None` for a whole datagram.
    #[inline]
    pub const fn fragment(&self) -> Option<Fragment> {
        if self.flags_offset.get() & (FLAG_MORE_FRAGMENTS | OFFSET_MASK) == 0 {
            return None;
        }
        Some(Fragment {
            offset: self.fragment_offset(),
            more: self.more_fragments(),
            id: self.identification.get() as u32,
        })
    }

    /// Sets DF, MF and the offset (bytes, rounded down to a multiple of 8). The checksum is left to
    /// the caller.
    pub fn set_fragment(&mut self, dont_fragment: bool, more: bool, offset: u16) {
        let flags = if dont_fragment { FLAG_DONT_FRAGMENT } else { 0 }
            | if more { FLAG_MORE_FRAGMENTS } else { 0 };
        self.flags_offset = U16::new(flags | (offset / FRAGMENT_UNIT as u16));
    }

    /// Computes the checksum anew over the header and its options.
    pub fn fill_checksum(&mut self, options: &[u8]) {
        self.checksum = U16::ZERO;
        let sum = Sum::ZERO.bytes(self.as_bytes()).bytes(options);
        self.checksum = U16::new(sum.checksum());
    }

    /// Replaces DSCP and ECN; the checksum follows.
    #[inline]
    pub fn set_traffic_class(&mut self, class: TrafficClass) {
        let old = u16::from_be_bytes([self.version_ihl, self.traffic_class.0]);
        self.traffic_class = class;
        let new = u16::from_be_bytes([self.version_ihl, class.0]);
        self.update_checksum_u16(old, new);
    }

    /// Replaces the TTL; the checksum follows.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        let old = u16::from_be_bytes([self.ttl, self.protocol.0]);
        self.ttl = ttl;
        let new = u16::from_be_bytes([ttl, self.protocol.0]);
        self.update_checksum_u16(old, new);
    }

    /// Replaces the source address; the checksum follows, but not that of layer 4.
    pub fn set_source(&mut self, source: Ipv4Addr) {
        let old = u32::from_be_bytes(self.source);
        self.source = source.octets();
        self.update_checksum_u32(old, u32::from(source));
    }

    /// Replaces the destination address; the checksum follows, but not that of layer 4.
    pub fn set_destination(&mut self, destination: Ipv4Addr) {
        let old = u32::from_be_bytes(self.destination);
        self.destination = destination.octets();
        self.update_checksum_u32(old, u32::from(destination));
    }

    fn update_checksum_u16(&mut self, old: u16, new: u16) {
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), old, new));
    }

    fn update_checksum_u32(&mut self, old: u32, new: u32) {
        self.checksum = U16::new(checksum::update_u32(self.checksum.get(), old, new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with a router alert option, and four bytes of payload.
    const PACKET: [u8; 28] = [
        0x46, 0xba, 0x00, 0x1c, 0x00, 0x07, 0x40, 0x00, 0x40, 0xfd, 0x3d, 0xda, 0xc6, 0x33, 0x64,
        0x07, 0xcb, 0x00, 0x71, 0x0a, 0x94, 0x04, 0x00, 0x00, 0xde, 0xad, 0xbe, 0xef,
    ];

    /// The packet with some bytes replaced and the checksum made right again.
    fn with(changes: &[(usize, u8)]) -> [u8; 28] {
        let mut packet = PACKET;
        for &(at, byte) in changes {
            packet[at] = byte;
        }
        packet[10..12].fill(0);
        let len = (usize::from(packet[0] & 0xf) * 4).min(28);
        let sealed = checksum::checksum(&packet[..len]);
        packet[10..12].copy_from_slice(&sealed.to_be_bytes());
        packet
    }

    #[test]
    fn reads_every_field() {
        let packet = Ipv4::parse(&PACKET).expect("a valid packet");
        let header = packet.header;
        assert_eq!((header.traffic_class.dscp(), header.ttl), (46, 64));
        assert_eq!(header.protocol, IpProtocol(253));
        assert_eq!(header.identification.get(), 7);
        assert!(header.dont_fragment() && header.fragment().is_none());
        assert_eq!(header.source(), Ipv4Addr::new(198, 51, 100, 7));
        assert_eq!(header.destination(), Ipv4Addr::new(203, 0, 113, 10));
        assert_eq!(
            (packet.options, packet.header_len()),
            (&[0x94, 4, 0, 0][..], 24)
        );
        assert_eq!(packet.payload, [0xde, 0xad, 0xbe, 0xef]);
    }

    #[test]
    fn every_lie_has_its_error() {
        let error = |bytes: &[u8]| Ipv4::parse(bytes).err();
        assert_eq!(error(&with(&[(0, 0x66)])), Some(Ipv4Error::BadVersion));
        assert_eq!(error(&with(&[(0, 0x44)])), Some(Ipv4Error::BadIhl));
        assert_eq!(error(&with(&[(0, 0x4f)])), Some(Ipv4Error::Truncated));
        assert_eq!(error(&with(&[(3, 23)])), Some(Ipv4Error::BadLength));
        assert_eq!(error(&with(&[(3, 29)])), Some(Ipv4Error::BadLength));
        assert_eq!(error(&with(&[(3, 24)])), None);
        let mut wrong = PACKET;
        wrong[23] = 1; // An option byte: the checksum covers options too.
        assert_eq!(error(&wrong), Some(Ipv4Error::BadChecksum));
    }

    #[test]
    fn is_cut_at_every_length() {
        for len in 0..PACKET.len() {
            let expected = if len < 24 {
                Ipv4Error::Truncated
            } else {
                Ipv4Error::BadLength
            };
            assert_eq!(
                Ipv4::parse(&PACKET[..len]).err(),
                Some(expected),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn padding_is_no_payload_and_a_quoted_packet_may_be_cut() {
        let padded = [&PACKET[..], &[0xff; 18]].concat();
        assert_eq!(Ipv4::parse(&padded).unwrap().payload.len(), 4);
        assert_eq!(Ipv4::parse_quoted(&padded).unwrap().payload.len(), 4);
        assert_eq!(Ipv4::parse_quoted(&PACKET[..26]).unwrap().payload.len(), 2);
        let error = |bytes: &[u8]| Ipv4::parse_quoted(bytes).err();
        assert_eq!(error(&PACKET[..23]), Some(Ipv4Error::Truncated));
        assert_eq!(error(&with(&[(3, 9)])), Some(Ipv4Error::BadLength));
    }

    #[test]
    fn fragment_fields_are_in_bytes() {
        let packet = with(&[(6, 0x20), (7, 0xb9)]);
        let header = Ipv4::parse(&packet).expect("a packet").header;
        let expected = Fragment {
            offset: 1480,
            more: true,
            id: 7,
        };
        assert_eq!(header.fragment(), Some(expected));

        let mut header = *header;
        header.set_fragment(false, false, 1480);
        assert_eq!(
            header.fragment(),
            Some(Fragment {
                more: false,
                ..expected
            })
        );
        header.set_fragment(true, false, 0);
        assert!(header.fragment().is_none() && header.dont_fragment());
    }

    #[test]
    fn setters_keep_the_checksum_right() {
        let mut bytes = PACKET;
        let header: &mut Ipv4Header = crate::wire::view_mut(&mut bytes).expect("a header");
        header.set_ttl(1);
        header.set_traffic_class(TrafficClass(0x03));
        header.set_source(Ipv4Addr::new(10, 0, 0, 1));
        header.set_destination(Ipv4Addr::new(255, 255, 255, 254));
        let header = Ipv4::parse(&bytes).expect("a valid checksum").header;
        assert_eq!((header.ttl, header.traffic_class), (1, TrafficClass(0x03)));
        assert_eq!(header.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(header.destination(), Ipv4Addr::new(255, 255, 255, 254));
    }

    #[test]
    fn a_new_header_is_what_tunnels_send() {
        let (a, b) = (
            Ipv4Addr::new(192, 0, 2, 10),
            Ipv4Addr::new(198, 51, 100, 11),
        );
        let header = Ipv4Header::new(a, b, IpProtocol::GRE, 44);
        assert!(checksum::is_valid(header.as_bytes()));
        assert_eq!((header.total_length.get(), header.ttl), (64, 64));
        assert_eq!(
            (header.identification.get(), header.flags_offset.get()),
            (0, 0x4000)
        );
        let huge = Ipv4Header::new(a, b, IpProtocol::GRE, 65_516);
        assert_eq!(huge.total_length.get(), u16::MAX);
    }
}
