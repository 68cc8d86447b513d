//! The desired state as types: services, backends, peers. Parse, do not validate.
//!
//! A value of a type of this module is valid: names are names, prefixes have no host bits, weights
//! are in range, and a [`Pool`] has no two services that claim the same packets. What reads such a
//! value need not check it again. [`parse`] makes a [`Config`] of a configuration file, [`load`]
//! reads the file first; a pool from elsewhere (the store, the API) is a [`Draft`] until
//! [`Pool::new`] has checked it by the same rules.
//!
//! Nothing here knows a port, a clock or the store.

use std::ops::Deref;

mod address;
mod backend;
mod check;
mod diagnostic;
mod environment;
mod limits;
mod name;
mod node;
mod parse;
mod peer;
mod service;
mod violation;
mod write;

pub use crate::table::maglev::{TableSize, TableSizeError};
pub use crate::table::{HashKey, HashKeyError};
pub use crate::wire::{MacAddr, VlanId};
pub use address::{AddressError, IfAddr, IpPrefix};
pub use backend::{Backend, MAX_WEIGHT, State, Weight};
pub use check::MAX_SERVICE_BACKENDS;
pub use diagnostic::{Diagnostic, Location};
pub use environment::{Environment, cpu_list};
pub use limits::{AGE_UNIT, Limits, PEER_PROBE, TIMEOUT_BOUNDS, Timeouts};
pub use name::{MAX_NAME_LEN, Name, NameError};
pub use node::{Accept, Config, Dpdk, HugePages, IfName, Mtu, Node, Port, StaticNeighbor, Tunnel};
pub use parse::duration::parse as parse_duration;
pub use parse::{
    MAX_FILE, Parsed, describes_rail, keys, load, load_for, parse, parse_pool, read_text,
};
pub use peer::{Peer, Remote};
pub use service::{Affinity, Dscp, Encap, GUE_PORT, PortRange, Ports, Protocol, Service};
pub use violation::{Item, Place, Severity, Violation};
pub use write::to_toml;

/// What the rails of a pool agree on. Valid as a whole: see [`Draft`] for its fields, which are
/// read through `Deref` and cannot be changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool(Draft);

impl Pool {
    /// Checks a pool as a whole.
    ///
    /// # Errors
    /// Every rule it breaks, errors and warnings; a pool that only earns warnings is made.
    pub fn new(draft: Draft) -> Result<Self, Vec<Violation>> {
        let found = check::pool(&draft);
        if found
            .iter()
            .any(|violation| violation.severity == Severity::Error)
        {
            return Err(found);
        }
        Ok(Self(draft))
    }

    /// The parts, to change and to check again.
    pub fn into_draft(self) -> Draft {
        self.0
    }
}

impl Deref for Pool {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.0
    }
}

/// The parts of a pool, each valid for itself, not yet checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The key of all hashes; the same on every rail.
    pub hash_key: HashKey,
    /// Slots of every service's Maglev table.
    pub table_size: TableSize,
    /// The GRE key of packets between peers.
    pub peer_key: Option<u32>,
    /// How packets reach the rails.
    pub ingress: Ingress,
    /// The rails of this pool.
    pub peers: Vec<Peer>,
    /// Rails elsewhere.
    pub remotes: Vec<Remote>,
    /// The services.
    pub services: Vec<Service>,
}

/// How packets reach the rails of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ingress {
    /// A router spreads flows over the rails; a rail takes what it is sent.
    #[default]
    Ecmp,
    /// Every rail sees every packet and keeps those whose 3-tuple it owns.
    Mirror,
}

impl Ingress {
    /// All values with the words of the configuration file.
    pub const WORDS: [(&'static str, Self); 2] = [("ecmp", Self::Ecmp), ("mirror", Self::Mirror)];

    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ecmp => "ecmp",
            Self::Mirror => "mirror",
        }
    }
}
