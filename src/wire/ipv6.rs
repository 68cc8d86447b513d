//! IPv6 (RFC 8200), with a bounded walk over its extension headers.

use std::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::fragment::{Fragment, FragmentHeader};
use super::{IpProtocol, TrafficClass};

const VERSION: u32 = 6;
const VERSION_SHIFT: u32 = 28;
const CLASS_SHIFT: u32 = 20;
const CLASS_MASK: u32 = 0xff << CLASS_SHIFT;
const FLOW_LABEL_MASK: u32 = 0x000f_ffff;

/// The most extension headers a packet may have. RFC 8200 lists seven for a full packet; a longer
/// chain serves only to make routers work.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// The fixed 40 bytes of the header.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Extension headers and upper-layer packet, bytes.
    pub payload_length: U16,
    pub next_header: IpProtocol,
    pub hop_limit: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
}

/// How hop-by-hop options, routing, destination options and AH begin.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ExtensionHeader {
    next_header: IpProtocol,
    length: u8,
}

/// Why a packet is not valid IPv6, or none that we forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ipv6Error {
    #[error("the frame ends within the IPv6 header")]
    Truncated,
    #[error("the IP version is not 6")]
    BadVersion,
    #[error("the IPv6 payload length is beyond the frame")]
    BadLength,
    #[error("an IPv6 extension header runs beyond the packet, or stands where it must not")]
    BadExtension,
    #[error("the packet has more than {MAX_EXTENSION_HEADERS} IPv6 extension headers")]
    TooManyExtensions,
    #[error("the packet is an IPv6 jumbogram")]
    Jumbogram,
}

/// A packet cut at its payload length, its extension headers walked.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    pub header: &'a Ipv6Header,
    /// What `payload` is. For a fragment other than the first this is what its fragment header says,
    /// and `payload` does not start with that protocol's header.
    pub protocol: IpProtocol,
    /// Where `payload` starts, bytes from the start of the IPv6 header.
    pub payload_offset: usize,
    /// The fragment header's fields, if there is one. A lone fragment (offset 0, none to follow,
    /// RFC 6946) has them too.
    pub fragment: Option<Fragment>,
    /// What follows the extension headers, to the payload length.
    pub payload: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Reads a packet and walks its extension headers. The walk ends at the upper-layer protocol,
    /// at ESP, which hides what follows, and at the fragment header of a fragment that is not the
    /// first.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        let (header, rest) = Self::split(bytes)?;
        let claimed = usize::from(header.payload_length.get());
        if claimed == 0 && header.next_header == IpProtocol::HOP_BY_HOP {
            // RFC 2675, section 2: the length is in an option; without it the packet is wrong anyway.
            return Err(Ipv6Error::Jumbogram);
        }
        let body = rest.get(..claimed).ok_or(Ipv6Error::BadLength)?;
        walk(header, body)
    }

    /// Reads a packet quoted in an ICMP error: it is cut short, so its payload length says more
    /// than there is. The payload is what is there, up to the payload length.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Ipv6Error> {
        let (header, rest) = Self::split(bytes)?;
        let claimed = usize::from(header.payload_length.get());
        walk(header, rest.get(..claimed).unwrap_or(rest))
    }

    #[inline]
    fn split(bytes: &'a [u8]) -> Result<(&'a Ipv6Header, &'a [u8]), Ipv6Error> {
        let (header, rest) = super::split::<Ipv6Header>(bytes).ok_or(Ipv6Error::Truncated)?;
        if header.version() != VERSION as u8 {
            return Err(Ipv6Error::BadVersion);
        }
        Ok((header, rest))
    }
}

/// Walks the extension headers at the start of `body`.
#[inline]
fn walk<'a>(header: &'a Ipv6Header, body: &'a [u8]) -> Result<Ipv6<'a>, Ipv6Error> {
    let mut packet = Ipv6 {
        header,
        protocol: header.next_header,
        payload_offset: Ipv6Header::LEN,
        fragment: None,
        payload: body,
    };
    for walked in 0.. {
        let rest = packet.payload;
        let (next, len) = match packet.protocol {
            // RFC 8200, section 4.1: hop-by-hop options stand first or not at all.
            IpProtocol::HOP_BY_HOP if walked > 0 => return Err(Ipv6Error::BadExtension),
            IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::DESTINATION_OPTIONS => {
                extension(rest, |length| (length + 1) * 8)?
            }
            // RFC 4302, section 2.2: in units of 4 bytes, minus 2.
            IpProtocol::AH => extension(rest, |length| (length + 2) * 4)?,
            IpProtocol::FRAGMENT if packet.fragment.is_some() => {
                return Err(Ipv6Error::BadExtension);
            }
            IpProtocol::FRAGMENT => {
                let fragment: &FragmentHeader = super::view(rest).ok_or(Ipv6Error::BadExtension)?;
                packet.fragment = Some(fragment.fragment());
                (fragment.next_header, FragmentHeader::LEN)
            }
            _ => break,
        };
        if walked == MAX_EXTENSION_HEADERS {
            return Err(Ipv6Error::TooManyExtensions);
        }
        packet.payload = rest.get(len..).ok_or(Ipv6Error::BadExtension)?;
        packet.payload_offset += len;
        packet.protocol = next;
        if packet.fragment.is_some_and(|fragment| !fragment.is_first()) {
            break;
        }
    }
    Ok(packet)
}

/// Next header and length in bytes of an extension header whose length field `in_bytes` converts.
fn extension(
    bytes: &[u8],
    in_bytes: impl Fn(usize) -> usize,
) -> Result<(IpProtocol, usize), Ipv6Error> {
    let extension: &ExtensionHeader = super::view(bytes).ok_or(Ipv6Error::BadExtension)?;
    Ok((
        extension.next_header,
        in_bytes(usize::from(extension.length)),
    ))
}

impl Ipv6Header {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();
    /// What every current host sends.
    pub const DEFAULT_HOP_LIMIT: u8 = 64;

    /// A header for `payload_len` bytes: hop limit 64, traffic class and flow label 0. A payload
    /// beyond 65,535 bytes has no valid header; its length is cut to the field.
    pub fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: IpProtocol,
        payload_len: usize,
    ) -> Self {
        Self {
            version_class_flow: U32::new(VERSION << VERSION_SHIFT),
            payload_length: U16::new(u16::try_from(payload_len).unwrap_or(u16::MAX)),
            next_header,
            hop_limit: Self::DEFAULT_HOP_LIMIT,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    #[inline]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> VERSION_SHIFT) as u8
    }

    #[inline]
    pub const fn traffic_class(&self) -> TrafficClass {
        TrafficClass((self.version_class_flow.get() >> CLASS_SHIFT) as u8)
    }

    #[inline]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & FLOW_LABEL_MASK
    }

    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.source.into()
    }

    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.destination.into()
    }

    pub fn set_traffic_class(&mut self, class: TrafficClass) {
        let others = self.version_class_flow.get() & !CLASS_MASK;
        self.version_class_flow = U32::new(others | (u32::from(class.0) << CLASS_SHIFT));
    }

    /// Sets the flow label; bits of `label` beyond its 20 are ignored.
    pub fn set_flow_label(&mut self, label: u32) {
        let others = self.version_class_flow.get() & !FLOW_LABEL_MASK;
        self.version_class_flow = U32::new(others | (label & FLOW_LABEL_MASK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;

    /// A packet whose payload starts with the chain of extension headers `chain`, first header
    /// `next`.
    fn packet(next: u8, chain: &[&[u8]]) -> Vec<u8> {
        let body = chain.concat();
        let (a, b) = (Ipv6Addr::from([0x20; 16]), Ipv6Addr::from([0x30; 16]));
        let header = Ipv6Header::new(a, b, IpProtocol(next), body.len());
        [header.as_bytes(), &body].concat()
    }

    /// An eight-byte extension header before `next`.
    fn eight(next: u8) -> [u8; 8] {
        [next, 0, 1, 4, 0, 0, 0, 0]
    }

    fn fragment(next: u8, offset: u16, more: bool) -> FragmentHeader {
        let fields = Fragment {
            offset,
            more,
            id: 7,
        };
        FragmentHeader::new(IpProtocol(next), fields)
    }

    fn error(bytes: &[u8]) -> Option<Ipv6Error> {
        Ipv6::parse(bytes).err()
    }

    #[test]
    fn reads_every_field() {
        let mut bytes = packet(UDP, &[b"payload"]);
        bytes[..4].copy_from_slice(&[0x6b, 0x81, 0x23, 0x45]);
        bytes.extend_from_slice(b"padding");
        let packet = Ipv6::parse(&bytes).expect("a valid packet");
        assert_eq!(packet.header.traffic_class().dscp(), 46);
        assert_eq!(packet.header.flow_label(), 0x12345);
        assert_eq!(packet.header.source(), Ipv6Addr::from([0x20; 16]));
        assert_eq!(packet.header.destination(), Ipv6Addr::from([0x30; 16]));
        assert_eq!(
            (packet.protocol, packet.payload_offset),
            (IpProtocol::UDP, 40)
        );
        assert_eq!((packet.fragment, packet.payload), (None, &b"payload"[..]));
    }

    #[test]
    fn setters_leave_their_neighbours_alone() {
        let mut header =
            Ipv6Header::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, IpProtocol::UDP, 0);
        header.set_flow_label(0xfff1_2345);
        header.set_traffic_class(TrafficClass(0xb8));
        assert_eq!(header.version_class_flow.get(), 0x6b81_2345);
    }

    #[test]
    fn walks_every_extension_header() {
        let routing_of_16 = [&[60, 1][..], &[0; 14]].concat();
        let ah_of_24 = [&[UDP, 4][..], &[0; 22]].concat();
        let first = fragment(51, 0, true);
        let chain = [
            &eight(43)[..],
            &routing_of_16,
            &eight(44),
            first.as_bytes(),
            &ah_of_24,
            b"udp",
        ];
        let bytes = packet(0, &chain);
        let parsed = Ipv6::parse(&bytes).expect("a valid packet");
        assert_eq!(
            (parsed.protocol, parsed.payload_offset),
            (IpProtocol::UDP, 40 + 8 + 16 + 8 + 8 + 24)
        );
        assert_eq!(parsed.payload, b"udp");
        assert_eq!(
            parsed.fragment,
            Some(Fragment {
                offset: 0,
                more: true,
                id: 7
            })
        );
    }

    #[test]
    fn a_later_fragment_is_not_walked_into() {
        // What looks like destination options is the middle of somebody's data.
        let bytes = packet(44, &[fragment(60, 1480, false).as_bytes(), &[0xff; 16]]);
        let parsed = Ipv6::parse(&bytes).expect("a valid packet");
        assert_eq!(parsed.protocol, IpProtocol::DESTINATION_OPTIONS);
        assert_eq!(parsed.payload, [0xff; 16]);
        assert_eq!(parsed.fragment.map(|fragment| fragment.offset), Some(1480));
    }

    #[test]
    fn eight_extension_headers_are_enough() {
        let options = eight(60);
        let last = eight(UDP);
        let chain = |n: usize| [vec![&options[..]; n - 1], vec![&last[..]]].concat();
        assert_eq!(error(&packet(60, &chain(8))), None);
        assert_eq!(
            error(&packet(60, &chain(9))),
            Some(Ipv6Error::TooManyExtensions)
        );
    }

    #[test]
    fn every_lie_has_its_error() {
        let mut version = packet(UDP, &[]);
        version[0] = 0x45;
        assert_eq!(error(&version), Some(Ipv6Error::BadVersion));

        let mut jumbogram = packet(0, &[&[UDP, 0, 0xc2, 4, 0, 1, 0, 0]]);
        jumbogram[4..6].fill(0);
        assert_eq!(error(&jumbogram), Some(Ipv6Error::Jumbogram));

        let second_fragment = fragment(UDP, 0, true);
        for (what, next, chain) in [
            ("cut", 60, vec![&[UDP][..]]),
            ("too long", 60, vec![&[UDP, 1, 0, 0, 0, 0, 0, 0][..]]),
            ("AH too long", 51, vec![&[UDP, 1, 0, 0, 0, 0, 0, 0][..]]),
            (
                "cut fragment header",
                44,
                vec![&[UDP, 0, 0, 0, 0, 0, 0][..]],
            ),
            (
                "hop-by-hop second",
                60,
                vec![&[0, 0, 1, 4, 0, 0, 0, 0][..], &eight(UDP)],
            ),
            (
                "two fragment headers",
                44,
                vec![fragment(44, 0, true).as_bytes(), second_fragment.as_bytes()],
            ),
        ] {
            assert_eq!(
                error(&packet(next, &chain)),
                Some(Ipv6Error::BadExtension),
                "{what}"
            );
        }
    }

    #[test]
    fn is_cut_at_every_length() {
        let bytes = packet(0, &[&eight(UDP), b"payload"]);
        for len in 0..bytes.len() {
            let expected = if len < 40 {
                Ipv6Error::Truncated
            } else {
                Ipv6Error::BadLength
            };
            assert_eq!(error(&bytes[..len]), Some(expected), "{len} bytes");
        }
        let quoted = Ipv6::parse_quoted(&bytes[..50]).expect("a header");
        assert_eq!(
            (quoted.protocol, quoted.payload),
            (IpProtocol::UDP, &b"pa"[..])
        );
        assert_eq!(
            Ipv6::parse_quoted(&bytes[..47]).err(),
            Some(Ipv6Error::BadExtension)
        );
    }
}
