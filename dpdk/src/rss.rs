//! Receive-side scaling: how a port spreads packets over its queues.

use std::fmt;
use std::ops::BitOr;

use dpdk_sys as c;

use crate::errno::check;

/// Receive-side scaling: the port hashes addresses and ports, and a table maps the hash to a queue.
/// The table deals the queues round-robin.
#[derive(Clone, Debug)]
pub struct RssConfig {
    /// The Toeplitz key; repeated or cut to the length the port wants (40 bytes, or 52 on some NICs).
    /// The first 40 bytes decide for addresses and ports of IPv4 and IPv6. Empty is the driver's key.
    pub key: Vec<u8>,
    /// What to hash; reduced to what the port can.
    pub types: RssTypes,
    /// Hash the innermost header of tunnelled packets, where the port can.
    pub innermost: bool,
}

/// Kinds of packets that RSS hashes, as a set; combine with `|`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RssTypes(u64);

impl RssTypes {
    /// None.
    pub const NONE: RssTypes = RssTypes(0);
    /// Addresses of IPv4 and IPv6 packets of any kind, fragments included.
    pub const ADDRESSES: RssTypes = RssTypes(
        c::SHIM_RSS_IPV4
            | c::SHIM_RSS_FRAG_IPV4
            | c::SHIM_RSS_IPV4_OTHER
            | c::SHIM_RSS_IPV6
            | c::SHIM_RSS_FRAG_IPV6
            | c::SHIM_RSS_IPV6_OTHER,
    );
    /// Addresses and ports of TCP.
    pub const TCP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_TCP | c::SHIM_RSS_IPV6_TCP);
    /// Addresses and ports of UDP.
    pub const UDP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_UDP | c::SHIM_RSS_IPV6_UDP);
    /// Addresses and ports of SCTP.
    pub const SCTP: RssTypes = RssTypes(c::SHIM_RSS_IPV4_SCTP | c::SHIM_RSS_IPV6_SCTP);
    /// All of the above: 5-tuples where there are ports, addresses elsewhere.
    pub const FLOWS: RssTypes =
        RssTypes(Self::ADDRESSES.0 | Self::TCP.0 | Self::UDP.0 | Self::SCTP.0);

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: RssTypes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of DPDK's hash types that this crate names.
    pub(crate) fn of_port(capable: u64) -> RssTypes {
        RssTypes(capable & Self::FLOWS.0)
    }

    /// Whether no kind is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for RssTypes {
    type Output = RssTypes;

    fn bitor(self, other: RssTypes) -> RssTypes {
        RssTypes(self.0 | other.0)
    }
}

impl fmt::Debug for RssTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RssTypes({:#x})", self.0)
    }
}

/// What a port shall hash; owns the key that DPDK's configuration points to.
pub(crate) struct Hashing {
    key: Vec<u8>,
    types: u64,
}

impl Hashing {
    /// Enters itself in a configuration, which must not outlive it.
    pub(crate) fn write_to(&mut self, conf: &mut c::rte_eth_conf) {
        conf.rxmode.mq_mode = c::RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = self.types;
        // No key means the driver's own.
        if !self.key.is_empty() {
            conf.rx_adv_conf.rss_conf.rss_key = self.key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = self.key.len() as u8;
        }
    }
}

/// What a port can do of what is wanted, if anything, and what it cannot.
pub(crate) fn hashing(
    info: &c::rte_eth_dev_info,
    wanted: &RssConfig,
) -> (Option<Hashing>, Vec<&'static str>) {
    let mut types = wanted.types.0 & info.flow_type_rss_offloads;
    if types == 0 {
        return (
            None,
            vec!["RSS; its own way of spreading packets over queues stays"],
        );
    }
    let mut missing = lacking(wanted.types, RssTypes(types));
    if wanted.innermost && can_look_inside(info) {
        types |= c::SHIM_RSS_LEVEL_INNERMOST;
    } else if wanted.innermost {
        missing.push("RSS over the innermost header");
    }
    let key = fit_key(&wanted.key, info.hash_key_size);
    (Some(Hashing { key, types }), missing)
}

/// What of a kind of packets is hashed: any one of these hash types is enough, as drivers differ in which of
/// them they call it by.
const TUPLES: [(&str, u64); 10] = [
    (
        "RSS over the addresses of IPv4 packets",
        c::SHIM_RSS_IPV4 | c::SHIM_RSS_IPV4_OTHER,
    ),
    (
        "RSS over the addresses of IPv6 packets",
        c::SHIM_RSS_IPV6 | c::SHIM_RSS_IPV6_OTHER,
    ),
    (
        "RSS over the addresses of IPv4 fragments",
        c::SHIM_RSS_IPV4 | c::SHIM_RSS_FRAG_IPV4,
    ),
    (
        "RSS over the addresses of IPv6 fragments",
        c::SHIM_RSS_IPV6 | c::SHIM_RSS_FRAG_IPV6,
    ),
    ("RSS over the ports of TCP in IPv4", c::SHIM_RSS_IPV4_TCP),
    ("RSS over the ports of TCP in IPv6", c::SHIM_RSS_IPV6_TCP),
    ("RSS over the ports of UDP in IPv4", c::SHIM_RSS_IPV4_UDP),
    ("RSS over the ports of UDP in IPv6", c::SHIM_RSS_IPV6_UDP),
    ("RSS over the ports of SCTP in IPv4", c::SHIM_RSS_IPV4_SCTP),
    ("RSS over the ports of SCTP in IPv6", c::SHIM_RSS_IPV6_SCTP),
];

/// The tuples that are wanted and not among `types`. Such packets are spread by less, or all go to one queue.
pub(crate) fn lacking(wanted: RssTypes, types: RssTypes) -> Vec<&'static str> {
    let lacks = |of: u64| wanted.0 & of != 0 && types.0 & of == 0;
    let tuples = TUPLES.iter().filter(|(_, of)| lacks(*of));
    tuples.map(|(tuple, _)| *tuple).collect()
}

/// What the port says it hashes, by its driver's own record; `None` where the driver does not tell, or tells of
/// nothing, as those do that keep no record.
pub(crate) fn in_use(id: u16) -> Option<RssTypes> {
    let mut conf = c::rte_eth_rss_conf::default();
    // SAFETY: the pointer is to a struct to fill, whose key pointer is null, so that no key is written.
    check(unsafe { c::rte_eth_dev_rss_hash_conf_get(id, &mut conf) }).ok()?;
    let types = RssTypes::of_port(conf.rss_hf);
    (!types.is_empty()).then_some(types)
}

/// The queues in the port's RSS table, entry by entry; `None` where the driver does not tell.
pub(crate) fn queues(id: u16, size: u16) -> Option<Vec<u16>> {
    const GROUP: usize = c::SHIM_RETA_GROUP as usize;
    // The mask says which entries are asked for.
    let mut entries = table(size, 1);
    if entries.is_empty() {
        return None;
    }
    // SAFETY: the array covers as many entries as are asked for; DPDK checks the port's number.
    check(unsafe { c::rte_eth_dev_rss_reta_query(id, entries.as_mut_ptr(), size) }).ok()?;
    let entry = |n: usize| entries[n / GROUP].reta[n % GROUP];
    Some((0..usize::from(size)).map(entry).collect())
}

/// Whether the entries of a table name each of so many queues, and equally often but for one.
pub(crate) fn is_even(entries: &[u16], queues: u16) -> bool {
    let mut shares = vec![0usize; usize::from(queues)];
    for queue in entries {
        match shares.get_mut(usize::from(*queue)) {
            Some(share) => *share += 1,
            None => return false,
        }
    }
    let (least, most) = (shares.iter().min(), shares.iter().max());
    least
        .zip(most)
        .is_some_and(|(least, most)| most - least <= 1)
}

/// Whether the port can hash the inner headers of tunnelled packets.
pub(crate) fn can_look_inside(info: &c::rte_eth_dev_info) -> bool {
    info.flow_type_rss_offloads & c::SHIM_RSS_LEVEL_MASK != 0
}

/// A table of `size` entries that deals the queues in turn.
pub(crate) fn table(size: u16, queues: u16) -> Vec<c::rte_eth_rss_reta_entry64> {
    const GROUP: usize = c::SHIM_RETA_GROUP as usize;
    let mut table = vec![c::rte_eth_rss_reta_entry64::default(); usize::from(size).div_ceil(GROUP)];
    for entry in 0..size {
        let (group, slot) = (usize::from(entry) / GROUP, usize::from(entry) % GROUP);
        table[group].mask |= 1 << slot;
        table[group].reta[slot] = entry % queues;
    }
    table
}

/// The key in the length that the port wants, or empty when there is none.
fn fit_key(key: &[u8], wanted: u8) -> Vec<u8> {
    // Drivers that name no length take the customary one.
    const CUSTOMARY: u8 = 40;
    let wanted = if wanted == 0 { CUSTOMARY } else { wanted };
    key.iter()
        .copied()
        .cycle()
        .take(usize::from(wanted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_or_repeated() {
        assert_eq!(fit_key(&[1, 2, 3], 5), [1, 2, 3, 1, 2]);
        assert_eq!(fit_key(&[1, 2, 3], 2), [1, 2]);
        assert_eq!(fit_key(&[7; 52], 0).len(), 40);
        assert!(fit_key(&[], 40).is_empty());
    }

    #[test]
    fn the_table_deals_queues_in_turn() {
        let table = table(100, 3);
        assert_eq!(table.len(), 2);
        assert_eq!((table[0].mask, table[1].mask), (u64::MAX, (1 << 36) - 1));
        assert_eq!(table[0].reta[..4], [0, 1, 2, 0]);
        assert_eq!(table[1].reta[35], 99 % 3);
        assert!(super::table(0, 3).is_empty());
    }

    #[test]
    fn a_table_is_even_or_not() {
        for (entries, queues, even) in [
            (&[0u16, 1, 0, 1][..], 2, true),
            (&[0, 1, 2, 0], 3, true),
            (&[0, 1, 0, 0], 2, false),
            (&[0, 1], 3, true),
            (&[0, 0], 3, false),
            (&[0, 2], 2, false),
            (&[], 0, false),
        ] {
            assert_eq!(is_even(entries, queues), even, "{entries:?} for {queues}");
        }
    }

    #[test]
    fn what_is_not_hashed_is_named() {
        let lacking = |types| lacking(RssTypes::FLOWS, types).join(", ");
        assert_eq!(lacking(RssTypes::FLOWS), "");
        // Drivers have several words for addresses.
        let words = RssTypes(RssTypes::FLOWS.0 & !(c::SHIM_RSS_FRAG_IPV4 | c::SHIM_RSS_IPV4_OTHER));
        assert_eq!(lacking(words), "");
        let no_sctp = RssTypes(RssTypes::FLOWS.0 & !RssTypes::SCTP.0);
        assert_eq!(
            lacking(no_sctp),
            "RSS over the ports of SCTP in IPv4, RSS over the ports of SCTP in IPv6"
        );
        let v6 = RssTypes(c::SHIM_RSS_IPV6 | c::SHIM_RSS_IPV6_TCP);
        let said = lacking(v6);
        assert!(said.contains("addresses of IPv4 fragments") && said.contains("UDP in IPv6"));
        assert!(!said.contains("IPv6 fragments") && !said.contains("TCP in IPv6"));
        assert_eq!(super::lacking(RssTypes::TCP, RssTypes::TCP), [""; 0]);
    }

    #[test]
    fn flows_hold_every_kind() {
        assert!(RssTypes::FLOWS.contains(RssTypes::TCP | RssTypes::UDP | RssTypes::ADDRESSES));
        assert!(!RssTypes::TCP.contains(RssTypes::UDP));
        assert!(RssTypes::NONE.is_empty());
    }
}
