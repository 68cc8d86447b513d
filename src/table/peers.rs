//! The other rails: which of them owns a datagram's fragments, and how packets get to them.
//!
//! The 3-tuple of a fragment picks its owner among the live rails of the pool, by the Maglev code over
//! their names, so that all rails agree without talking. What goes from rail to rail is in GRE, and the
//! GRE key says what the receiver may still do with it: nothing that has come from a peer is sent to
//! a peer again, nothing that has come from a rail elsewhere is sent to any rail.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::counters::DropReason;
use super::hash::{FlowHash, HashKey};
use super::maglev::Maglev;
use super::service::Address;
use super::snapshot::Backend;
use crate::wire::probe::ProbeHeader;

/// The GRE key of a packet that another pool's rail takes because this one has no live backend for it. The
/// same for all pools: a rail must know such a packet whatever the sender's keys are. It takes rights
/// away and gives none, so it need be no secret.
pub const TROMBONE_KEY: u32 = 0x7472_6f6d;

/// Who sent a packet here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The network, plain or in a router's tunnel.
    #[default]
    Network,
    /// A peer that takes this rail for the owner of the packet.
    Peer,
    /// A rail elsewhere that has no live backend for it.
    Remote,
}

/// How packets get to another rail: as to a backend that has no service. One way for each family of
/// the inner packet, which the GRE header names.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// For IPv4 packets.
    pub v4: Option<Backend>,
    /// For IPv6 packets.
    pub v6: Option<Backend>,
}

impl Ways {
    /// The way of a packet.
    pub fn of(&self, v6: bool) -> Option<&Backend> {
        if v6 {
            self.v6.as_ref()
        } else {
            self.v4.as_ref()
        }
    }
}

/// Another rail, of this pool or elsewhere.
#[derive(Debug, Clone)]
pub struct RailView {
    /// Its name.
    pub name: Arc<str>,
    /// Where its tunnel ends; its packets come from there.
    pub address: IpAddr,
    /// This rail's address as the other one knows it.
    pub source: Option<IpAddr>,
    /// Packets are sent to it.
    pub alive: bool,
    /// How they get there.
    pub ways: Ways,
}

/// Rails that share something by Maglev over their names.
#[derive(Debug, Clone)]
pub struct Rails {
    /// In byte order of their names: what the slots index. `None` stands for this rail.
    pub list: Box<[Option<RailView>]>,
    /// Slots of the live ones.
    pub maglev: Arc<Maglev>,
}

impl Rails {
    /// The rail that a 3-tuple's slot names, unless it is this one or none.
    fn other(&self, tuple3: FlowHash) -> Option<&RailView> {
        let index = self.maglev.lookup(tuple3)?;
        self.list.get(usize::from(index))?.as_ref()
    }

    /// All but this one.
    pub fn others(&self) -> impl Iterator<Item = &RailView> {
        self.list.iter().flatten()
    }
}

/// All that packets need to know of other rails.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The GRE key of packets between peers.
    pub key: Option<u32>,
    /// The rails of this pool; none if there is no other.
    pub peers: Option<Rails>,
    /// The rails that take what has no live backend here.
    pub remotes: Option<Rails>,
    /// All rails see all packets; each keeps what it owns.
    pub mirror: bool,
    /// The key of the probes between rails.
    pub probe_key: ProbeKey,
}

impl Peers {
    /// The peer that owns a 3-tuple; `None` if this rail does.
    pub fn owner(&self, tuple3: FlowHash) -> Option<&RailView> {
        self.peers.as_ref()?.other(tuple3)
    }

    /// The rail elsewhere that takes a 3-tuple's packets.
    pub fn remote(&self, tuple3: FlowHash) -> Option<&RailView> {
        self.remotes.as_ref()?.other(tuple3)
    }

    /// Another rail, by its address.
    pub fn by_address(&self, address: Address) -> Option<&RailView> {
        let all = self.peers.iter().chain(&self.remotes);
        all.flat_map(Rails::others)
            .find(|rail| Address::from(rail.address) == address)
    }

    /// Who sent a packet that came in GRE with this key. A peer's address alone proves nothing: whoever
    /// may send there can forge it.
    pub fn origin(&self, source: Address, key: Option<u32>) -> Result<Origin, DropReason> {
        if key == Some(TROMBONE_KEY) {
            return Ok(Origin::Remote);
        }
        let peers = self.peers.iter().flat_map(Rails::others);
        let from_peer = peers
            .map(|peer| Address::from(peer.address))
            .any(|peer| peer == source);
        match (from_peer, key == self.key) {
            (false, _) => Ok(Origin::Network),
            (true, true) => Ok(Origin::Peer),
            (true, false) => Err(DropReason::PeerKey),
        }
    }
}

/// The secret that makes and checks the tags of probes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProbeKey(u64, u64);

impl ProbeKey {
    /// The key of a pool: SipHash-2-4 with 128 bits of output, under the hash key, over the words
    /// "rustyrail probe" and the peer key (four bytes, big-endian), if there is one.
    pub fn of_pool(hash_key: &HashKey, peer_key: Option<u32>) -> Self {
        let mut hasher = SipHasher24::new_with_keys(hash_key.k0(), hash_key.k1());
        hasher.write(b"rustyrail probe");
        if let Some(key) = peer_key {
            hasher.write(&key.to_be_bytes());
        }
        let key = hasher.finish128();
        ProbeKey(key.h1, key.h2)
    }

    /// The tag of a probe between two addresses. With the addresses in it, a probe is worth nothing on
    /// its way back or to a third rail.
    pub fn tag(&self, source: Address, destination: Address, probe: &ProbeHeader) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(&source.to_v6_bytes());
        hasher.write(&destination.to_v6_bytes());
        hasher.write(probe.tagged());
        hasher.finish128().as_u128()
    }

    /// Whether the tag of a probe is right.
    pub fn proves(&self, source: Address, destination: Address, probe: &ProbeHeader) -> bool {
        self.tag(source, destination, probe) == probe.tag.get()
    }
}

impl std::fmt::Debug for ProbeKey {
    /// Shows nothing of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().expect("test address").into()
    }

    #[test]
    fn a_tag_is_good_for_one_probe_between_two_addresses() {
        let hash_key: HashKey = "000102030405060708090a0b0c0d0e0f".parse().expect("a key");
        let key = ProbeKey::of_pool(&hash_key, Some(7));
        let (a, b) = (address("192.0.2.10"), address("192.0.2.11"));
        let mut probe = ProbeHeader::new(500, 1, 2, 3, 4);
        probe.tag = key.tag(a, b, &probe).into();
        assert!(key.proves(a, b, &probe));
        assert!(!key.proves(b, a, &probe), "sent back");
        assert!(!key.proves(a, address("192.0.2.12"), &probe), "to another");
        let mut later = probe;
        later.sequence = 2.into();
        assert!(!key.proves(a, b, &later));
        for other in [None, Some(8)] {
            assert!(!ProbeKey::of_pool(&hash_key, other).proves(a, b, &probe));
        }
    }
}
