//! The headers a packet to one backend leaves with, written once when the snapshot is compiled.
//!
//! The packet path copies a template in front of the inner packet and patches what depends on the
//! packet: total length, DSCP/ECN, IPv4 checksum (from a partial sum), entropy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::FlowHash;

/// Longest template: Ethernet with two tags (22), IPv6 (40), UDP (8) and GUE (4), rounded up to what lets a
/// [`Backend`](super::snapshot::Backend) be two cache lines.
pub const TEMPLATE_LEN: usize = 76;

/// TTL or hop limit of every outer header.
pub const OUTER_TTL: u8 = 64;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const GRE_KEY_PRESENT: u16 = 0x2000;
const IPV4_DONT_FRAGMENT: u16 = 0x4000;

/// How the inner packet is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// RFC 2784, with the key of RFC 2890 where given.
    Gre {
        /// The key, host order.
        key: Option<u32>,
    },
    /// RFC 2003 and its IPv6 relatives: IP directly in IP.
    Ipip,
    /// Generic UDP Encapsulation, variant 0.
    Gue {
        /// UDP destination port.
        port: u16,
    },
}

impl Tunnel {
    /// Bytes between the outer IP header and the inner one.
    pub const fn header_len(self) -> usize {
        match self {
            Tunnel::Gre { key: None } => 4,
            Tunnel::Gre { key: Some(_) } => 8,
            Tunnel::Ipip => 0,
            Tunnel::Gue { .. } => 12,
        }
    }

    fn protocol(self, inner_v6: bool) -> u8 {
        match self {
            Tunnel::Gre { .. } => 47,
            Tunnel::Ipip if inner_v6 => 41,
            Tunnel::Ipip => 4,
            Tunnel::Gue { .. } => 17,
        }
    }
}

/// Ethernet addresses and tag in front of the outer IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkHeader {
    /// Next hop.
    pub destination: [u8; 6],
    /// Our port.
    pub source: [u8; 6],
    /// 802.1Q tag, if the port sends tagged frames.
    pub vlan: Option<u16>,
    /// 802.1ad tag in front of that, where a provider's network carries the port's VLAN.
    pub outer_vlan: Option<u16>,
}

impl LinkHeader {
    /// 14 bytes, 18 with a tag, or 22 with two.
    pub const fn len(&self) -> usize {
        14 + self.tags_len()
    }

    const fn tags_len(&self) -> usize {
        4 * (self.vlan.is_some() as usize + self.outer_vlan.is_some() as usize)
    }

    /// Never empty; here because `len` is.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header for a payload of `ethertype` to the front of `out` and returns its length.
    /// Writes nothing if `out` is shorter than that.
    pub fn write(&self, ethertype: u16, out: &mut [u8]) -> usize {
        let len = self.len();
        let Some(out) = out.get_mut(..len) else {
            return 0;
        };
        out[..6].copy_from_slice(&self.destination);
        out[6..12].copy_from_slice(&self.source);
        let outer = self.outer_vlan.map(|vlan| (ETHERTYPE_QINQ, vlan));
        let inner = self.vlan.map(|vlan| (ETHERTYPE_VLAN, vlan));
        let tags = out[12..].chunks_exact_mut(4);
        for (place, (kind, vlan)) in tags.zip(outer.into_iter().chain(inner)) {
            place[..2].copy_from_slice(&kind.to_be_bytes());
            place[2..].copy_from_slice(&vlan.to_be_bytes());
        }
        out[len - 2..].copy_from_slice(&ethertype.to_be_bytes());
        len
    }
}

/// The complete headers in front of an inner packet to one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct Template {
    /// One's complement sum over the outer IPv4 header as stored (length of the headers alone,
    /// DSCP/ECN and checksum zero), not folded beyond 32 bits.
    pub partial_sum: u32,
    /// Bytes in use: link, outer IP and tunnel headers.
    pub len: u8,
    /// Bytes of the link header.
    pub link_len: u8,
    /// The outer header is IPv6.
    pub outer_v6: bool,
    /// Host bits of the outer source that come from the flow hash; they are zero in the template. 0 for
    /// a source that is one address.
    pub entropy_bits: u8,
    /// UDP and GUE stand between outer and inner header.
    pub gue: bool,
    bytes: [u8; TEMPLATE_LEN],
}

/// The host part of an outer source of `bits` host bits, so that what a backend spreads by addresses
/// is spread by flows. Taken from the half of the hash that chooses no Maglev slot. Never the network
/// or broadcast address of a prefix that has them.
pub fn entropy_host_v4(hash: u64, bits: u8) -> u32 {
    match bits {
        0 => 0,
        // RFC 3021: both addresses of a /31 are hosts.
        1 => hash as u32 & 1,
        _ => {
            let hosts = (1u64 << bits.min(32)) - 2;
            1 + ((u64::from(hash as u32) * hosts) >> 32) as u32
        }
    }
}

/// As [`entropy_host_v4`]; host part zero would be the subnet's routers (RFC 4291, section 2.6.1),
/// but on a /127 (RFC 6164).
pub fn entropy_host_v6(hash: u64, bits: u8) -> u128 {
    let wide = u128::from(hash) << 64 | u128::from(hash);
    let host = match bits {
        0 => 0,
        bits => wide & (u128::MAX >> (128 - u32::from(bits.min(128)))),
    };
    if bits > 1 { host.max(1) } else { host }
}

/// The UDP source port of GUE packets: of the dynamic range, 14 bits of it from the flow hash.
#[inline(always)]
pub fn gue_source_port(hash: FlowHash) -> u16 {
    const BASE: u16 = 49152;
    const MASK: u16 = 0x3fff;
    BASE | (hash.tag() as u16 & MASK)
}

impl Template {
    /// Compiles the headers from `source` to `destination`.
    ///
    /// Returns `None` if the two are not of one family.
    pub fn new(
        link: LinkHeader,
        source: IpAddr,
        destination: IpAddr,
        tunnel: Tunnel,
        inner_v6: bool,
    ) -> Option<Template> {
        let mut bytes = [0; TEMPLATE_LEN];
        let link_len;
        let (ip_len, partial_sum) = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link_len = link.write(ETHERTYPE_IPV4, &mut bytes);
                let out = &mut bytes[link_len..link_len + 20];
                (20, write_ipv4(out, source, destination, tunnel, inner_v6))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                link_len = link.write(ETHERTYPE_IPV6, &mut bytes);
                let out = &mut bytes[link_len..link_len + 40];
                write_ipv6(out, source, destination, tunnel, inner_v6);
                (40, 0)
            }
            _ => return None,
        };
        let at = link_len + ip_len;
        write_tunnel(&mut bytes[at..], tunnel, inner_v6);
        Some(Template {
            bytes,
            len: (at + tunnel.header_len()) as u8,
            link_len: link_len as u8,
            outer_v6: destination.is_ipv6(),
            gue: matches!(tunnel, Tunnel::Gue { .. }),
            partial_sum,
            entropy_bits: 0,
        })
    }

    /// The same headers, the last `bits` bits of whose source come from the flow hash: the source has to
    /// be the network of a prefix.
    pub fn with_entropy(self, bits: u8) -> Template {
        Template {
            entropy_bits: bits,
            ..self
        }
    }

    /// The link header alone, for packets that are not wrapped.
    pub fn link_only(link: LinkHeader, v6: bool) -> Template {
        let mut bytes = [0; TEMPLATE_LEN];
        let ethertype = if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        let len = link.write(ethertype, &mut bytes) as u8;
        Template {
            bytes,
            len,
            link_len: len,
            outer_v6: v6,
            gue: false,
            partial_sum: 0,
            entropy_bits: 0,
        }
    }

    /// The headers, `len` bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(TEMPLATE_LEN)]
    }

    /// Writes the headers to the front of `out`, which is at least as long. Lengths that are common are
    /// a few stores, not a call.
    #[inline(always)]
    pub fn write(&self, out: &mut [u8]) {
        // Plain GRE over IPv4 first: the default.
        if self.len == 38 {
            return self.write_len::<38>(out);
        }
        match usize::from(self.len) {
            14 => self.write_len::<14>(out),
            34 => self.write_len::<34>(out),
            42 => self.write_len::<42>(out),
            46 => self.write_len::<46>(out),
            58 => self.write_len::<58>(out),
            len => out[..len].copy_from_slice(self.bytes()),
        }
    }

    #[inline(always)]
    fn write_len<const N: usize>(&self, out: &mut [u8]) {
        if let (Some(out), Some(bytes)) = (out.first_chunk_mut::<N>(), self.bytes.first_chunk()) {
            *out = *bytes;
        }
    }

    /// The checksum of the outer IPv4 header around a packet of `inner` bytes with this DSCP and ECN;
    /// `entropy` is what the host part of the source adds to the header's sum.
    #[inline(always)]
    pub fn checksum_of(&self, inner: u16, class: u8, entropy: u32) -> u16 {
        // The stored sum holds the headers' own length.
        let sum = self.partial_sum + u32::from(inner) + u32::from(class) + entropy;
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }

    /// A tunnel over IPv4 on an untagged link, with nothing in it that depends on the packet but its
    /// length, DSCP and ECN, and the UDP source port of GUE.
    pub fn is_plain(&self) -> bool {
        !self.outer_v6 && self.link_len == 14 && self.entropy_bits == 0
    }

    /// Bytes the tunnel adds to the inner packet, link header not counted.
    #[inline]
    pub fn overhead(&self) -> u16 {
        u16::from(self.len) - u16::from(self.link_len)
    }
}

/// Returns the sum of the header's words. They are not read back for it: that would have to wait for what has just
/// been written in pieces of another length.
fn write_ipv4(out: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr, tunnel: Tunnel, inner_v6: bool) -> u32 {
    let headers = (20 + tunnel.header_len()) as u16;
    let ttl_and_protocol = u16::from_be_bytes([OUTER_TTL, tunnel.protocol(inner_v6)]);
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (src.octets(), dst.octets());
    let words = [
        0x4500,
        headers,
        // RFC 6864: the ID of an atomic datagram (DF set) carries no meaning, so it stays zero.
        0,
        IPV4_DONT_FRAGMENT,
        ttl_and_protocol,
        0,
        u16::from_be_bytes([s0, s1]),
        u16::from_be_bytes([s2, s3]),
        u16::from_be_bytes([d0, d1]),
        u16::from_be_bytes([d2, d3]),
    ];
    for (place, word) in out.chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    words.into_iter().map(u32::from).sum()
}

fn write_ipv6(out: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, tunnel: Tunnel, inner_v6: bool) {
    out[0] = 0x60;
    out[4..6].copy_from_slice(&(tunnel.header_len() as u16).to_be_bytes());
    out[6] = tunnel.protocol(inner_v6);
    out[7] = OUTER_TTL;
    out[8..24].copy_from_slice(&src.octets());
    out[24..40].copy_from_slice(&dst.octets());
}

fn write_tunnel(out: &mut [u8], tunnel: Tunnel, inner_v6: bool) {
    let ethertype = if inner_v6 {
        ETHERTYPE_IPV6
    } else {
        ETHERTYPE_IPV4
    };
    match tunnel {
        Tunnel::Ipip => {}
        Tunnel::Gre { key } => {
            let flags = if key.is_some() { GRE_KEY_PRESENT } else { 0 };
            out[..2].copy_from_slice(&flags.to_be_bytes());
            out[2..4].copy_from_slice(&ethertype.to_be_bytes());
            if let Some(key) = key {
                out[4..8].copy_from_slice(&key.to_be_bytes());
            }
        }
        Tunnel::Gue { port } => {
            out[2..4].copy_from_slice(&port.to_be_bytes());
            out[4..6].copy_from_slice(&12u16.to_be_bytes());
            // Variant 0, no control, no optional words; protocol of the payload; no flags.
            out[9] = if inner_v6 { 41 } else { 4 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkHeader = LinkHeader {
        destination: [2, 0, 0, 0, 0, 1],
        source: [2, 0, 0, 0, 0, 2],
        vlan: None,
        outer_vlan: None,
    };

    fn sum(bytes: &[u8]) -> u32 {
        let words = bytes.chunks_exact(2);
        words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum()
    }

    fn template(tunnel: Tunnel, vlan: Option<u16>, v6: bool) -> Template {
        let (source, destination) = if v6 {
            ("2001:db8::1", "2001:db8::2")
        } else {
            ("192.0.2.10", "198.51.100.11")
        };
        Template::new(
            LinkHeader { vlan, ..LINK },
            source.parse().expect("test address"),
            destination.parse().expect("test address"),
            tunnel,
            false,
        )
        .expect("one family")
    }

    #[test]
    fn lengths_follow_the_headers() {
        let cases = [
            (Tunnel::Gre { key: None }, None, false, 14 + 20 + 4),
            (Tunnel::Gre { key: Some(7) }, None, false, 14 + 20 + 8),
            (Tunnel::Ipip, Some(9), false, 18 + 20),
            (Tunnel::Gue { port: 6080 }, Some(9), true, 18 + 40 + 12),
        ];
        for (tunnel, vlan, v6, expected) in cases {
            let t = template(tunnel, vlan, v6);
            assert_eq!(t.bytes().len(), expected, "{tunnel:?}");
            assert_eq!(
                usize::from(t.overhead()) + usize::from(t.link_len),
                expected
            );
        }
    }

    #[test]
    fn gre_over_ipv4_byte_for_byte() {
        let t = template(
            Tunnel::Gre {
                key: Some(0x01020304),
            },
            None,
            false,
        );
        let expected: &[u8] = &[
            2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 47, 0, 0, 192, 0, 2, 10, 198, 51, 100,
            11, // IPv4
            0x20, 0x00, 0x08, 0x00, 1, 2, 3, 4, // GRE
        ];
        assert_eq!(t.bytes(), expected);
        assert_eq!(t.partial_sum, sum(&expected[14..34]));
    }

    #[test]
    fn entropy_fills_the_host_bits_and_no_more() {
        let hashes = (0..5000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for bits in [1, 2, 4, 8, 16, 24, 31] {
            let hosts: std::collections::BTreeSet<_> =
                hashes.clone().map(|h| entropy_host_v4(h, bits)).collect();
            let most = (1u64 << bits) - 1;
            let (first, last) = if bits == 1 { (0, 1) } else { (1, most - 1) };
            assert!(
                hosts
                    .iter()
                    .all(|h| (first..=last).contains(&u64::from(*h)))
            );
            let expected = (last - first + 1).min(4000) as usize;
            assert!(hosts.len() >= expected * 9 / 10, "{bits}: {}", hosts.len());
        }
        for bits in [1, 2, 64, 65, 127] {
            let hosts = hashes.clone().map(|h| entropy_host_v6(h, bits));
            assert!(
                hosts
                    .clone()
                    .all(|h| h >> bits == 0 && (bits == 1 || h > 0))
            );
        }
        assert_eq!(entropy_host_v4(u64::MAX, 0), 0);
        assert_eq!(entropy_host_v6(u64::MAX, 0), 0);
    }

    #[test]
    fn mixed_families_are_refused() {
        let t = Template::new(
            LINK,
            "192.0.2.1".parse().expect("test address"),
            "2001:db8::2".parse().expect("test address"),
            Tunnel::Ipip,
            false,
        );
        assert_eq!(t, None);
    }
}
