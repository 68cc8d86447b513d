//! What a worker counts. The owner adds with a plain load and store; anybody may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::BackendId;

/// One counter with one writer: no atomic read-modify-write on the packet path.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares the closed list of reasons a packet is dropped for, with the label each is exported under.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a packet was dropped. Every drop has one, every one has a counter and a label.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in declaration order.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The Prometheus label and the name in `--json`.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends inside its Ethernet header or tags.
    BadEthernet = "bad_ethernet",
    /// A tag the port does not carry.
    BadVlan = "bad_vlan",
    /// The frame is addressed to another station: a bridge floods it, and another rail has it too.
    NotOurMac = "not_our_mac",
    /// An ARP packet that lies about its sizes or addresses.
    BadArp = "bad_arp",
    /// An IPv4 header with a wrong version, header length or total length.
    BadIpv4 = "bad_ipv4",
    /// A wrong IPv4 header checksum.
    BadIpv4Checksum = "bad_ipv4_checksum",
    /// An IPv6 header with a wrong version or payload length, or an unbounded chain of extensions.
    BadIpv6 = "bad_ipv6",
    /// TTL or hop limit zero.
    TtlZero = "ttl_zero",
    /// The transport header does not fit the packet or lies about its length.
    BadTransport = "bad_transport",
    /// A GRE header with unknown flags, a wrong checksum or an unknown payload.
    BadGre = "bad_gre",
    /// An ICMP message that is too short or has a wrong checksum.
    BadIcmp = "bad_icmp",
    /// A tunnel packet from a source outside `[tunnel].accept`.
    TunnelSource = "tunnel_source",
    /// GRE from a peer's address without the pool's `peer_key`.
    PeerKey = "peer_key",
    /// A probe from another rail's address that was not made with the pool's keys.
    BadProbe = "bad_probe",
    /// A second tunnel header: only one level is taken off.
    TunnelDepth = "tunnel_depth",
    /// RFC 6040: inner Not-ECT under an outer Congestion Experienced.
    Ecn = "ecn",
    /// The destination is neither a VIP nor an address of the rail.
    NotOurs = "not_ours",
    /// A VIP, but no service for this protocol and port.
    NoService = "no_service",
    /// The service has no live backend.
    NoBackend = "no_backend",
    /// No live backend here either, for a packet that another rail sent here for want of one.
    TromboneLoop = "trombone_loop",
    /// Every rail sees the packet, and another one owns it (`ingress = "mirror"`).
    NotOwner = "not_owner",
    /// The next hop's link address is not known and its hold queue is full or timed out.
    Neighbor = "neighbor",
    /// A fragment that could be steered only by one who knows the first fragment.
    Fragment = "fragment",
    /// A fragment no receiver could accept: impossible offset, length, or header cut short.
    BadFragment = "bad_fragment",
    /// Result larger than the way to the backend can carry.
    TooBig = "too_big",
    /// No room in front of the packet for the outer header.
    NoHeadroom = "no_headroom",
    /// ICMP that concerns no flow of ours, or a message type a VIP does not answer.
    IcmpIgnored = "icmp_ignored",
    /// An ICMP error about a tunnel of the rail: taken note of, and of no use to anybody else.
    PathMtu = "path_mtu",
    /// A new connection beyond the service's limit.
    ServiceLimit = "service_limit",
    /// An answer that the ICMP rate limit held back.
    IcmpRate = "icmp_rate",
    /// Traffic for the host where no host port exists or its limit is reached.
    HostUnavailable = "host_unavailable",
    /// A frame of more than one segment.
    MultiSegment = "multi_segment",
    /// The transmit queue was full.
    TxFull = "tx_full",
}

/// Packets and bytes; bytes are counted as the frame arrived, from the Ethernet header on.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: Counter,
    /// Bytes.
    pub bytes: Counter,
}

impl Traffic {
    /// Counts one packet of `len` bytes.
    #[inline]
    pub fn count(&self, len: usize) {
        self.packets.add(1);
        self.bytes.add(len as u64);
    }
}

/// Buckets of the burst-size histogram: 0, 1, 2-3, 4-7, 8-15, 16-31, 32 and more packets.
pub const BURST_BUCKETS: usize = 7;

/// Everything one worker counts; aligned so that no two workers share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Received from ports.
    pub rx: Traffic,
    /// Given to ports and accepted by them.
    pub tx: Traffic,
    /// Frames the rail made itself: ARP requests, ICMP errors.
    pub generated: Counter,
    /// Passed to the host.
    pub to_host: Counter,
    /// Sent for the host.
    pub from_host: Counter,
    /// Answered in place: ARP and echo replies.
    pub replies: Counter,
    /// Frames waiting now: for a next hop, for a first fragment.
    pub held: Counter,
    /// Frames that have been held at least once.
    pub held_total: Counter,
    /// Fragments sent to the peer that owns them.
    pub to_peers: Counter,
    /// Fragments that a peer sent here, but for those that waited in vain.
    pub from_peers: Counter,
    /// Those of them that, as this rail sees it, another one owns: kept, never sent on.
    pub kept: Counter,
    /// Packets sent to a rail elsewhere for want of a live backend.
    pub to_remotes: Counter,
    /// Packets sent by hashing alone because the connection table was full or its limit reached.
    pub unpinned: Counter,
    /// TSC cycles spent on non-empty bursts.
    pub busy_cycles: Counter,
    /// TSC cycles in all.
    pub total_cycles: Counter,
    /// Rounds of the loop: what the control core watches as the heartbeat.
    pub rounds: Counter,
    /// Sizes of received bursts.
    pub bursts: [Counter; BURST_BUCKETS],
    drops: [Counter; DropReason::ALL.len()],
    backends: Box<[Traffic]>,
}

impl Counters {
    /// Counters with room for backend ids up to `backends`.
    pub fn new(backends: usize) -> Self {
        Counters {
            rx: Traffic::default(),
            tx: Traffic::default(),
            generated: Counter::default(),
            to_host: Counter::default(),
            from_host: Counter::default(),
            replies: Counter::default(),
            held: Counter::default(),
            held_total: Counter::default(),
            to_peers: Counter::default(),
            from_peers: Counter::default(),
            kept: Counter::default(),
            to_remotes: Counter::default(),
            unpinned: Counter::default(),
            busy_cycles: Counter::default(),
            total_cycles: Counter::default(),
            rounds: Counter::default(),
            bursts: Default::default(),
            drops: std::array::from_fn(|_| Counter::default()),
            backends: (0..=backends).map(|_| Traffic::default()).collect(),
        }
    }

    /// Counts a drop.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        self.drops[reason as usize].add(1);
    }

    /// Drops for `reason` so far.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Drops for all reasons so far.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }

    /// Counts a packet of `len` bytes forwarded to `backend`.
    #[inline]
    pub fn forward(&self, backend: BackendId, len: usize) {
        if let Some(traffic) = self.backends.get(backend.get() as usize) {
            traffic.count(len);
        }
    }

    /// What was forwarded to each backend, by the number of its id, to be counted by the owning worker.
    #[inline]
    pub fn of_backends(&self) -> &[Traffic] {
        &self.backends
    }

    /// What was forwarded to `backend`.
    pub fn backend(&self, backend: BackendId) -> Option<&Traffic> {
        self.backends.get(backend.get() as usize)
    }

    /// Notes how many frames are held now.
    #[inline]
    pub fn set_held(&self, n: usize) {
        self.held.0.store(n as u64, Relaxed);
    }

    /// Counts a received burst of `n` packets in the histogram.
    #[inline]
    pub fn burst(&self, n: usize) {
        let bucket = (usize::BITS - n.leading_zeros()) as usize;
        self.bursts[bucket.min(BURST_BUCKETS - 1)].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::ALL.len());
    }

    #[test]
    fn bursts_fall_into_their_bucket() {
        let counters = Counters::new(0);
        for n in [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64] {
            counters.burst(n);
        }
        let got = counters.bursts.each_ref().map(Counter::get);
        assert_eq!(got, [1, 1, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn only_the_named_drop_moves() {
        let counters = Counters::new(3);
        counters.count_drop(DropReason::NoService);
        for &reason in DropReason::ALL {
            let expected = u64::from(reason == DropReason::NoService);
            assert_eq!(counters.drops(reason), expected, "{reason:?}");
        }
        assert_eq!(counters.dropped(), 1);
    }
}
