//! Which service a packet is for: longest VIP prefix first; among those exact protocol over any,
//! exact port, narrowest port range, any port.

use std::net::IpAddr;

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

/// The compiled match: exact keys in an open-addressed hash, everything else in precedence order.
///
/// A full-length VIP with exact protocol and exact port outranks every other rule, so the hash is
/// asked first and the (usually empty) list of rules only after a miss.
#[derive(Debug, Default)]
pub struct ServiceMap {
    exact: Box<[Exact]>,
    shift: u32,
    rules: Box<[Rule]>,
    vips: Box<[(Address, u32)]>,
}

#[derive(Debug, Clone, Copy)]
struct Exact {
    high: u64,
    low: u64,
    /// Protocol, port and family in one word; zero is an empty place (the family is never zero).
    tail: u32,
    service: ServiceIndex,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    vip: Address,
    shift: u32,
    protocol: Option<u8>,
    ports: (u16, u16),
    service: ServiceIndex,
}

const EMPTY: Exact = Exact {
    high: 0,
    low: 0,
    tail: 0,
    service: ServiceIndex(0),
};

impl ServiceMap {
    /// Compiles the keys; a service's index is its position in `keys`.
    pub fn new(keys: &[ServiceKey]) -> Self {
        let exact: Vec<_> = keys
            .iter()
            .enumerate()
            .filter(|(_, k)| k.is_exact())
            .collect();
        // At most half full, so a miss ends after a short run.
        let places = (exact.len() * 2).next_power_of_two().max(2);
        let mut map = ServiceMap {
            exact: vec![EMPTY; places].into(),
            shift: 64 - places.trailing_zeros(),
            rules: Box::default(),
            vips: keys
                .iter()
                .map(|k| (mask(k.vip, k.prefix), host_bits(k)))
                .collect(),
        };
        for (index, key) in exact {
            let (high, low, tail) = words(
                key.vip.into(),
                key.protocol.unwrap_or_default(),
                key.ports.0,
            );
            let mut at = map.place(high, low, tail);
            while map.exact[at].tail != 0 {
                at = (at + 1) & (places - 1);
            }
            map.exact[at] = Exact {
                high,
                low,
                tail,
                service: ServiceIndex(index as u16),
            };
        }
        let mut rules: Vec<_> = keys
            .iter()
            .enumerate()
            .filter(|(_, k)| !k.is_exact())
            .collect();
        rules.sort_by_key(|(_, k)| k.precedence());
        map.rules = rules
            .into_iter()
            .map(|(index, k)| Rule {
                vip: mask(k.vip, k.prefix),
                shift: host_bits(k),
                protocol: k.protocol,
                ports: k.ports,
                service: ServiceIndex(index as u16),
            })
            .collect();
        map
    }

    /// The service for a packet to `dst`; `port` is zero where the protocol has none.
    #[inline]
    pub fn lookup(&self, dst: Address, protocol: u8, port: u16) -> Option<ServiceIndex> {
        let (high, low, tail) = words(dst, protocol, port);
        let mut at = self.place(high, low, tail);
        loop {
            let found = self.exact.get(at)?;
            if found.tail == tail && found.low == low && found.high == high {
                return Some(found.service);
            }
            if found.tail == 0 {
                break;
            }
            at = (at + 1) & (self.exact.len() - 1);
        }
        if self.rules.is_empty() {
            return None;
        }
        self.lookup_rules(dst, protocol, port)
    }

    /// Whether the address belongs to any VIP, whatever protocol and port.
    pub fn is_vip(&self, dst: Address) -> bool {
        self.vips
            .iter()
            .any(|&(vip, shift)| prefix_eq(vip, dst, shift))
    }

    #[cold]
    fn lookup_rules(&self, dst: Address, protocol: u8, port: u16) -> Option<ServiceIndex> {
        self.rules
            .iter()
            .find(|r| {
                r.protocol.is_none_or(|p| p == protocol)
                    && r.ports.0 <= port
                    && port <= r.ports.1
                    && prefix_eq(r.vip, dst, r.shift)
            })
            .map(|r| r.service)
    }

    #[inline]
    fn place(&self, high: u64, low: u64, tail: u32) -> usize {
        // Fibonacci hashing; the keys are the operator's own VIPs, so nothing here is secret.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (low ^ high.rotate_left(32) ^ (u64::from(tail) << 29)).wrapping_mul(GOLDEN);
        (mixed >> self.shift) as usize
    }
}

const FAMILY_V4: u32 = 1 << 30;
const FAMILY_V6: u32 = 1 << 31;

#[inline]
fn words(dst: Address, protocol: u8, port: u16) -> (u64, u64, u32) {
    let tail = u32::from(protocol) << 16 | u32::from(port);
    match dst {
        Address::V4(a) => (0, u64::from(a), tail | FAMILY_V4),
        Address::V6(a) => ((a >> 64) as u64, a as u64, tail | FAMILY_V6),
    }
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
