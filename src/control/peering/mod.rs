//! Which other rails are alive: they tell each other, in probes, that they are there and hear each other.
//!
//! A rail sends every peer and every remote a probe once per interval. A probe carries a challenge and,
//! as its echo, the challenge heard last from the receiver. It counts if its tag is right (the workers see
//! to that), its echo is the challenge that stands, and its sequence number is above all before. So a
//! rail is alive for us only while it hears us too, and what somebody recorded is worth nothing: a
//! challenge ends when the rail dies, sequence numbers go up until then. Three probes missed in a row,
//! and the rail is dead; its share goes to the others with the next snapshot. So it does at once when a
//! rail ends in order: its last probe says so.
//!
//! Nothing here reads a clock or sends a frame.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::pool::{Config, Name};
use crate::table::Nanos;
use crate::table::maglev::Digest;
use crate::table::news::Heard;
use crate::wire::probe::ProbeHeader;

/// Probes missed in a row after which a rail is dead.
const MISSED: u32 = 3;
/// The longest interval another rail may announce: the field's largest value.
const LONGEST: Duration = Duration::from_millis(u16::MAX as u64);

/// How often a remote is probed that has never been heard: it may not speak this.
const UNKNOWN: Duration = Duration::from_secs(10);

/// Fingerprint of all tables that a pool wants, whatever order they come in: SipHash-2-4 with an
/// all-zero key over each service's name (length as u32, bytes) and the digest of its table, by name;
/// numbers little-endian.
pub fn digest_of(tables: &HashMap<Name, Digest>) -> u64 {
    let sorted: BTreeMap<_, _> = tables
        .iter()
        .map(|(name, digest)| (name.as_str(), digest.0))
        .collect();
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    for (name, digest) in sorted {
        hasher.write(&(name.len() as u32).to_le_bytes());
        hasher.write(name.as_bytes());
        hasher.write(&digest.to_le_bytes());
    }
    hasher.finish()
}

/// What a rail is to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Of the same pool.
    Peer,
    /// Of another pool. It may have other keys or not list this rail, and then never answers, which
    /// says nothing: it is taken for alive until it has been heard once.
    Remote,
}

/// What is known of another rail.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// What it is to this rail.
    pub relation: Relation,
    /// It answers.
    pub alive: bool,
    /// When a probe of it counted last.
    pub heard_at: Option<Nanos>,
    /// How often it sends one, as it says.
    interval: Duration,
    /// Fingerprint of the tables its pool wants, if it was heard.
    pub digest: Option<u64>,
    /// Probes sent to it.
    pub sent: u64,
    /// Probes of it that counted.
    pub counted: u64,
    /// Probes of it that did not: old ones, or meant for a life of this rail that is over.
    pub stale: u64,
    /// How often it died.
    pub deaths: u64,
    challenge: u64,
    theirs: u64,
    /// Highest sequence number that counted under the challenge.
    sequence: u64,
    next: Nanos,
    warned: bool,
}

impl Known {
    fn new(name: String, relation: Relation, challenge: u64) -> Self {
        Known {
            name,
            relation,
            alive: false,
            heard_at: None,
            interval: Duration::ZERO,
            digest: None,
            sent: 0,
            counted: 0,
            stale: 0,
            deaths: 0,
            challenge,
            theirs: 0,
            sequence: 0,
            next: Nanos(0),
            warned: false,
        }
    }

    /// The next probe to it, without its tag.
    fn probe(&mut self, interval: Duration, digest: u64) -> ProbeHeader {
        self.sent += 1;
        let millis = interval.as_millis() as u16;
        ProbeHeader::new(millis, self.sent, self.challenge, self.theirs, digest)
    }

    /// It is dead. What was said under the old challenge is over.
    fn end(&mut self, challenge: u64) {
        self.alive = false;
        self.challenge = challenge;
        self.theirs = 0;
        self.sequence = 0;
    }

    /// Whether packets may be sent to it.
    pub fn is_usable(&self) -> bool {
        self.alive || (self.relation == Relation::Remote && self.counted == 0)
    }
}

/// The other rails, by address.
#[derive(Debug, Clone)]
pub struct Peering {
    known: BTreeMap<IpAddr, Known>,
    interval: Duration,
    /// Fingerprint of the tables this rail's pool wants.
    digest: u64,
    random: RandomState,
    challenges: u64,
}

impl Peering {
    /// The rails of a configuration, none of them heard yet.
    pub fn new(config: &Config) -> Self {
        let mut peering = Peering {
            known: BTreeMap::new(),
            interval: Duration::ZERO,
            digest: 0,
            random: RandomState::new(),
            challenges: 0,
        };
        peering.configure(config);
        peering
    }

    /// Takes over another configuration. What is known of rails that stay is kept.
    pub fn configure(&mut self, config: &Config) {
        self.interval = config.timeouts.peer_probe;
        let mut old = std::mem::take(&mut self.known);
        let peers = config.other_peers();
        let peers = peers.map(|p| (p.address, &p.name, Relation::Peer));
        let remotes = config.pool.remotes.iter();
        let remotes = remotes.map(|r| (r.address, &r.name, Relation::Remote));
        for (address, name, relation) in peers.chain(remotes) {
            let same = |known: &Known| known.name == name.as_str() && known.relation == relation;
            let known = old.remove(&address).filter(same);
            let challenge = self.challenge();
            let known = known.unwrap_or_else(|| Known::new(name.to_string(), relation, challenge));
            self.known.insert(address, known);
        }
    }

    /// The pool wants other tables.
    pub fn set_digest(&mut self, digest: u64) {
        self.digest = digest;
    }

    /// The rails, by address.
    pub fn known(&self) -> impl Iterator<Item = (IpAddr, &Known)> {
        self.known.iter().map(|(address, known)| (*address, known))
    }

    /// Whether packets may be sent to a rail.
    pub fn is_usable(&self, address: IpAddr) -> bool {
        self.known.get(&address).is_some_and(Known::is_usable)
    }

    /// Whether a rail wants other tables than this one.
    pub fn mismatch(&self, known: &Known) -> bool {
        known.relation == Relation::Peer
            && known.alive
            && known.digest.is_some_and(|digest| digest != self.digest)
    }

    /// A probe with the right tag has come. Returns whether it changed which rails are usable.
    pub fn hear(&mut self, heard: &Heard, now: Nanos) -> bool {
        let own = self.digest;
        let Some(known) = self.known.get_mut(&heard.from) else {
            return false;
        };
        let (before, probe) = (known.is_usable(), &heard.probe);
        let echoed = probe.echo.get() == known.challenge;
        if !echoed || probe.sequence.get() <= known.sequence {
            known.stale += 1;
            // It does not know us yet. While it is alive only a probe that counts may change what we
            // echo, or an old one could make it believe that we do not hear it.
            if !known.alive && !echoed {
                known.theirs = probe.challenge.get();
            }
            return false;
        }
        known.counted += 1;
        known.sequence = probe.sequence.get();
        known.theirs = probe.challenge.get();
        known.interval = Duration::from_millis(probe.interval_ms.get().max(1).into());
        known.digest = Some(probe.digest.get());
        known.heard_at = Some(now);
        if probe.is_leaving() {
            tracing::info!(rail = %known.name, address = %heard.from, "leaves");
            let challenge = self.challenge();
            if let Some(known) = self.known.get_mut(&heard.from) {
                known.end(challenge);
                return known.is_usable() != before;
            }
            return false;
        }
        if !known.alive {
            known.alive = true;
            tracing::info!(rail = %known.name, address = %heard.from, "alive");
        }
        let differs = known.relation == Relation::Peer && probe.digest.get() != own;
        if differs && !known.warned {
            tracing::warn!(
                rail = %known.name,
                "has other tables than this rail: give all rails the same services, backends and hash_key"
            );
        } else if known.warned && !differs {
            tracing::info!(rail = %known.name, "has the same tables again");
        }
        known.warned = differs;
        known.is_usable() != before
    }

    /// Lets rails die whose probes are missing. Returns whether one did.
    pub fn expire(&mut self, now: Nanos) -> bool {
        let mut any = false;
        for address in self.known.keys().copied().collect::<Vec<_>>() {
            let challenge = self.challenge();
            let Some(known) = self.known.get_mut(&address) else {
                continue;
            };
            let silent = now.since(known.heard_at.unwrap_or(now));
            if !known.alive || silent < known.interval.min(LONGEST) * MISSED {
                continue;
            }
            known.deaths += 1;
            known.end(challenge);
            any = true;
            let sent = known.sent;
            tracing::warn!(rail = %known.name, %address, sent, "dead: {MISSED} probes missed");
        }
        any
    }

    /// The probes that are to be sent now, without their tags.
    pub fn due(&mut self, now: Nanos) -> Vec<(IpAddr, ProbeHeader)> {
        let (interval, digest) = (self.interval, self.digest);
        let due = self.known.iter_mut().filter(|(_, known)| known.next <= now);
        due.map(|(address, known)| {
            // In step, but without making up for a time in which nothing was done.
            let step = known.next + interval;
            known.next = if step > now { step } else { now + interval };
            if known.relation == Relation::Remote && known.theirs == 0 {
                known.next = now + interval.max(UNKNOWN);
            }
            (*address, known.probe(interval, digest))
        })
        .collect()
    }

    /// The last probes, without their tags, to those that hear this rail: it ends.
    pub fn leave(&mut self) -> Vec<(IpAddr, ProbeHeader)> {
        let (interval, digest) = (self.interval, self.digest);
        let heard = self.known.iter_mut().filter(|(_, known)| known.alive);
        heard
            .map(|(address, known)| (*address, known.probe(interval, digest).leaving()))
            .collect()
    }

    /// A number that nobody can foretell, and never zero, which is the echo of nothing.
    fn challenge(&mut self) -> u64 {
        self.challenges += 1;
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.challenges);
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests;
