//! Rails that a rail knows of: peers of its own pool, remotes elsewhere.

use std::net::IpAddr;

use super::Name;

/// A rail of this pool. Fragments whose 3-tuple it owns are sent to it.
///
/// The pool is the same on all of its rails, so the list may (and in a shared pool does) hold the
/// rail itself; a peer with the node's own name is never sent anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The `node.name` of that rail; unique among peers. Ownership of a 3-tuple hashes it.
    pub name: Name,
    /// Where its tunnel ends, and the only source its packets are taken from.
    pub address: IpAddr,
}

/// A rail of another pool, for packets that have no live backend here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Unique among remotes.
    pub name: Name,
    /// Where its tunnel ends.
    pub address: IpAddr,
}
