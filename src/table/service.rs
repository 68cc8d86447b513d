//! Which service a packet is for: longest VIP prefix first; among those exact protocol over any,
//! exact port, narrowest port range, any port.

use std::net::IpAddr;

use super::exact::Exact;

/// Index of a service in its snapshot. It means nothing under another snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceIndex(pub u16);

impl ServiceIndex {
    /// No service: what a way to another rail has in its place. A pool never has so many.
    pub const NONE: ServiceIndex = ServiceIndex(u16::MAX);
}

/// What a service matches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceKey {
    /// Network address of the VIP prefix; host bits are zero.
    pub vip: IpAddr,
    /// Prefix length in bits: 32 or 128 for a single address.
    pub prefix: u8,
    /// IP protocol number, or `None` for any.
    pub protocol: Option<u8>,
    /// Inclusive port range; `(0, 65535)` is any port.
    pub ports: (u16, u16),
}

impl ServiceKey {
    fn is_exact(&self) -> bool {
        let full = if self.vip.is_ipv4() { 32 } else { 128 };
        self.prefix == full && self.protocol.is_some() && self.ports.0 == self.ports.1
    }

    /// Sort key: the smallest is tried first.
    fn precedence(&self) -> (u8, bool, u16) {
        (
            128 - self.prefix,
            self.protocol.is_none(),
            self.ports.1 - self.ports.0,
        )
    }
}

/// An address as the lookup compares it: 32 or 128 bits in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// IPv4 address.
    V4(u32),
    /// IPv6 address.
    V6(u128),
}

impl Address {
    /// The sixteen bytes of an IPv6 address in wire order; an IPv4 address in its mapped form.
    pub fn to_v6_bytes(self) -> [u8; 16] {
        match self {
            Address::V4(a) => std::net::Ipv4Addr::from_bits(a).to_ipv6_mapped().octets(),
            Address::V6(a) => a.to_be_bytes(),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Address::V4(a.to_bits()),
            IpAddr::V6(a) => Address::V6(a.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::V4(a) => IpAddr::V4(a.into()),
            Address::V6(a) => IpAddr::V6(a.into()),
        }
    }
}

/// The compiled match: exact keys in hash tables, everything else in precedence order.
///
/// A full-length VIP with exact protocol and exact port outranks every other rule, so the tables are
/// asked first and the (usually empty) list of rules only after a miss.
#[derive(Debug, Default)]
pub struct ServiceMap {
    v4: Exact<u64>,
    v6: Exact<(u64, u64, u32)>,
    /// The keys of services that have one for themselves, by index.
    keys: Box<[Option<ExactKey>]>,
    rules: Box<[Rule]>,
    vips: Box<[(Address, u32)]>,
}

/// What holds of IPv4, and of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// What all packets of a service have in common that is one address, protocol and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactKey {
    /// Of an IPv4 service.
    V4(V4Key),
    /// Of an IPv6 service.
    V6(V6Key),
}

/// What an IPv4 service is found by: destination address, destination port and protocol, read as
/// little-endian numbers from a packet's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct V4Key(u64);

impl V4Key {
    /// The key from the bytes as they stand in a packet.
    #[inline(always)]
    pub fn from_wire(protocol: u8, destination: u32, port: u16) -> Self {
        V4Key(u64::from(destination) | u64::from(port) << 32 | u64::from(protocol) << 48)
    }

    /// All of it; the upper eight bits are zero.
    #[inline(always)]
    pub fn word(self) -> u64 {
        self.0
    }

    /// The key that is this word.
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        V4Key(word)
    }
}

/// As [`V4Key`], for IPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct V6Key {
    destination: (u64, u64),
    tail: u32,
}

impl V6Key {
    /// The key from the bytes as they stand in a packet; of the address the first eight, then the last.
    #[inline(always)]
    pub fn from_wire(protocol: u8, destination: (u64, u64), port: u16) -> Self {
        V6Key {
            destination,
            tail: u32::from(port) | u32::from(protocol) << 16,
        }
    }

    /// All of it.
    #[inline(always)]
    pub fn words(self) -> (u64, u64, u32) {
        (self.destination.0, self.destination.1, self.tail)
    }
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    vip: Address,
    shift: u32,
    protocol: Option<u8>,
    ports: (u16, u16),
    service: ServiceIndex,
}

impl ServiceMap {
    /// Compiles the keys; a service's index is its position in `keys`.
    pub fn new(keys: &[ServiceKey]) -> Self {
        let exact: Box<[_]> = keys.iter().map(exact_key).collect();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, key) in exact.iter().enumerate() {
            let service = ServiceIndex(index as u16);
            match key {
                Some(ExactKey::V4(key)) => v4.push((key.word(), service)),
                Some(ExactKey::V6(key)) => v6.push((key.words(), service)),
                None => {}
            }
        }
        let mut rules: Vec<_> = keys
            .iter()
            .enumerate()
            .filter(|(_, k)| !k.is_exact())
            .collect();
        rules.sort_by_key(|(_, k)| k.precedence());
        let rules = rules.into_iter().map(|(index, k)| Rule {
            vip: mask(k.vip, k.prefix),
            shift: host_bits(k),
            protocol: k.protocol,
            ports: k.ports,
            service: ServiceIndex(index as u16),
        });
        ServiceMap {
            keys: exact,
            v4: Exact::new(&v4),
            v6: Exact::new(&v6),
            rules: rules.collect(),
            vips: keys
                .iter()
                .map(|k| (mask(k.vip, k.prefix), host_bits(k)))
                .collect(),
        }
    }

    /// The service for a packet to `dst`; `port` is zero where the protocol has none.
    #[inline]
    pub fn lookup(&self, dst: Address, protocol: u8, port: u16) -> Option<ServiceIndex> {
        let found = match dst {
            Address::V4(dst) => self.lookup_v4(v4_key(dst, protocol, port)),
            Address::V6(dst) => self.lookup_v6(v6_key(dst, protocol, port)),
        };
        (found != ServiceIndex::NONE).then_some(found)
    }

    /// As [`ServiceMap::lookup`]; [`ServiceIndex::NONE`] if there is no service.
    #[inline(always)]
    pub fn lookup_v4(&self, key: V4Key) -> ServiceIndex {
        match self.v4.get(key.0) {
            ServiceIndex::NONE => self.rule_v4(key),
            found => found,
        }
    }

    /// As [`ServiceMap::lookup_v4`].
    #[inline(always)]
    pub fn lookup_v6(&self, key: V6Key) -> ServiceIndex {
        match self.v6.get(key.words()) {
            ServiceIndex::NONE => self.rule_v6(key),
            found => found,
        }
    }

    #[cold]
    fn rule_v4(&self, key: V4Key) -> ServiceIndex {
        let destination = Address::V4((key.0 as u32).swap_bytes());
        let port = (key.0 >> 32) as u16;
        self.rule(destination, (key.0 >> 48) as u8, port.swap_bytes())
    }

    #[cold]
    fn rule_v6(&self, key: V6Key) -> ServiceIndex {
        let (first, last) = key.destination;
        let destination = (u128::from(last) << 64 | u128::from(first)).swap_bytes();
        let (protocol, port) = ((key.tail >> 16) as u8, key.tail as u16);
        self.rule(Address::V6(destination), protocol, port.swap_bytes())
    }

    /// What all packets of a service have in common, if it is one address, protocol and port.
    pub fn exact_key(&self, index: ServiceIndex) -> Option<ExactKey> {
        self.keys.get(usize::from(index.0)).copied().flatten()
    }

    /// Whether every service of IPv4, and of IPv6, is one address, protocol and port.
    pub fn are_exact(&self) -> Families {
        let is_v4 = |rule: &Rule| matches!(rule.vip, Address::V4(_));
        Families {
            v4: !self.rules.iter().any(is_v4),
            v6: self.rules.iter().all(is_v4),
        }
    }

    /// Whether the address belongs to any VIP, whatever protocol and port.
    pub fn is_vip(&self, dst: Address) -> bool {
        self.vips
            .iter()
            .any(|&(vip, shift)| prefix_eq(vip, dst, shift))
    }

    fn rule(&self, dst: Address, protocol: u8, port: u16) -> ServiceIndex {
        self.rules
            .iter()
            .find(|r| {
                r.protocol.is_none_or(|p| p == protocol)
                    && r.ports.0 <= port
                    && port <= r.ports.1
                    && prefix_eq(r.vip, dst, r.shift)
            })
            .map_or(ServiceIndex::NONE, |r| r.service)
    }
}

fn exact_key(key: &ServiceKey) -> Option<ExactKey> {
    let (protocol, port) = (key.protocol?, key.ports.0);
    key.is_exact().then(|| match key.vip {
        IpAddr::V4(vip) => ExactKey::V4(v4_key(vip.to_bits(), protocol, port)),
        IpAddr::V6(vip) => ExactKey::V6(v6_key(vip.to_bits(), protocol, port)),
    })
}

#[inline]
fn v4_key(dst: u32, protocol: u8, port: u16) -> V4Key {
    V4Key::from_wire(protocol, dst.swap_bytes(), port.swap_bytes())
}

#[inline]
fn v6_key(dst: u128, protocol: u8, port: u16) -> V6Key {
    let dst = dst.swap_bytes();
    V6Key::from_wire(
        protocol,
        (dst as u64, (dst >> 64) as u64),
        port.swap_bytes(),
    )
}

fn host_bits(key: &ServiceKey) -> u32 {
    let full = if key.vip.is_ipv4() { 32 } else { 128 };
    full - u32::from(key.prefix).min(full)
}

fn mask(vip: IpAddr, prefix: u8) -> Address {
    match vip {
        IpAddr::V4(a) => {
            let shift = 32 - u32::from(prefix).min(32);
            Address::V4(a.to_bits().checked_shr(shift).map_or(0, |v| v << shift))
        }
        IpAddr::V6(a) => {
            let shift = 128 - u32::from(prefix).min(128);
            Address::V6(a.to_bits().checked_shr(shift).map_or(0, |v| v << shift))
        }
    }
}

fn prefix_eq(vip: Address, dst: Address, shift: u32) -> bool {
    match (vip, dst) {
        (Address::V4(a), Address::V4(b)) => (a ^ b).checked_shr(shift).unwrap_or(0) == 0,
        (Address::V6(a), Address::V6(b)) => (a ^ b).checked_shr(shift).unwrap_or(0) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: u8 = 6;
    const UDP: u8 = 17;

    fn key(vip: &str, prefix: u8, protocol: Option<u8>, ports: (u16, u16)) -> ServiceKey {
        ServiceKey {
            vip: vip.parse().expect("test address"),
            prefix,
            protocol,
            ports,
        }
    }

    fn addr(ip: &str) -> Address {
        ip.parse::<IpAddr>().expect("test address").into()
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let map = ServiceMap::new(&[
            key("203.0.113.0", 24, None, (0, 65535)),
            key("203.0.113.10", 32, None, (0, 65535)),
            key("203.0.113.10", 32, Some(TCP), (0, 65535)),
            key("203.0.113.10", 32, Some(TCP), (8000, 8999)),
            key("203.0.113.10", 32, Some(TCP), (8000, 8099)),
            key("203.0.113.10", 32, Some(TCP), (8001, 8001)),
            key("2001:db8::10", 128, Some(UDP), (53, 53)),
        ]);
        let cases = [
            ("203.0.113.10", TCP, 8001, Some(5)),
            ("203.0.113.10", TCP, 8000, Some(4)),
            ("203.0.113.10", TCP, 8500, Some(3)),
            ("203.0.113.10", TCP, 443, Some(2)),
            ("203.0.113.10", UDP, 8001, Some(1)),
            ("203.0.113.11", UDP, 8001, Some(0)),
            ("203.0.114.11", UDP, 8001, None),
            ("2001:db8::10", UDP, 53, Some(6)),
            ("2001:db8::10", TCP, 53, None),
        ];
        for (ip, protocol, port, expected) in cases {
            let got = map.lookup(addr(ip), protocol, port).map(|s| s.0);
            assert_eq!(got, expected, "{ip} protocol {protocol} port {port}");
        }
        assert!(map.is_vip(addr("203.0.113.77")));
        assert!(!map.is_vip(addr("192.0.2.1")));
    }

    #[test]
    fn many_exact_services_are_all_found() {
        let keys: Vec<_> = (0..1000u16)
            .map(|i| key("203.0.113.10", 32, Some(TCP), (i, i)))
            .collect();
        let map = ServiceMap::new(&keys);
        for i in 0..1000 {
            assert_eq!(
                map.lookup(addr("203.0.113.10"), TCP, i),
                Some(ServiceIndex(i))
            );
        }
        assert_eq!(map.lookup(addr("203.0.113.10"), TCP, 1000), None);
    }

    #[test]
    fn an_empty_map_matches_nothing() {
        let map = ServiceMap::new(&[]);
        assert_eq!(map.lookup(addr("203.0.113.10"), TCP, 80), None);
        assert!(!map.is_vip(addr("203.0.113.10")));
        assert_eq!(ServiceMap::default().lookup(addr("::"), 0, 0), None);
    }
}
