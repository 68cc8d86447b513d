//! Next hops: their link addresses, and when to ask for them.
//!
//! A state machine without a socket: the caller sends the requests that [`NeighborTable::poll`] names
//! and reports what stations say with [`NeighborTable::learn`]. The set of next hops comes from the
//! configuration; nothing on the wire can add to it, so it is as bounded as the configuration is.
//!
//! ```text
//!              learn                    life - REFRESH passed
//! Incomplete ---------> Reachable -----------------------------> Refresh
//!     ^                     ^                                     |   |
//!     |                     +------------- learn -----------------+   |
//!     +-------------------- life passed without an answer ------------+
//! ```
//!
//! An address stays in use while it is refreshed, so traffic to a live next hop never waits. Sources:
//! RFC 826 and RFC 1122 section 2.3.2.1 (ARP), RFC 4861 section 7 (ND); the life of 60 s is
//! Irmin-ARP's. Entries of the configuration are static: they win over whatever is learnt.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::table::Nanos;
use crate::wire::MacAddr;

/// The next hops and what is known of them.
#[derive(Clone, Debug)]
pub struct NeighborTable {
    hops: BTreeMap<IpAddr, Neighbor>,
    life: Duration,
    /// Nothing is due before this.
    quiet_until: Nanos,
    generation: u64,
}

/// What is known of one next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbor {
    /// No address known: asked so many times without an answer, to be asked again at `next`.
    Incomplete {
        /// Requests sent.
        asked: u32,
        /// When the next one is due.
        next: Nanos,
    },
    /// The address was confirmed less than a life ago.
    Reachable {
        /// The link address.
        mac: MacAddr,
        /// When it stops being good.
        until: Nanos,
    },
    /// Still good, and being asked for again.
    Refresh {
        /// The link address.
        mac: MacAddr,
        /// When it stops being good.
        until: Nanos,
        /// Requests sent since refreshing began.
        asked: u32,
        /// When the next one is due.
        next: Nanos,
    },
    /// From the configuration.
    Static {
        /// The link address.
        mac: MacAddr,
    },
}

/// A request to send: ARP for an IPv4 address, a neighbour solicitation for an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom to ask for.
    pub address: IpAddr,
    /// Ask this station alone: the one that had the address. `None`: ask everybody.
    pub unicast: Option<MacAddr>,
}

/// What became of a report about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The next hop has a link address now, or another one: packets must go there.
    Changed,
    /// As it was known; its life starts again.
    Confirmed,
    /// Not taken: not a next hop of ours, a static one, or not the address of one station.
    Ignored,
}

impl NeighborTable {
    /// The life of a learnt address unless configured.
    pub const LIFE: Duration = Duration::from_secs(60);
    /// The shortest life: twice what refreshing takes.
    pub const MIN_LIFE: Duration = Duration::from_secs(2 * REFRESH.as_secs());

    /// No next hops yet. A `life` below [`NeighborTable::MIN_LIFE`] counts as that.
    pub fn new(life: Duration) -> Self {
        NeighborTable {
            hops: BTreeMap::new(),
            life: life.max(Self::MIN_LIFE),
            quiet_until: Nanos::default(),
            generation: 0,
        }
    }

    /// The table after a change of which next hops there are and which of them are static (those are next
    /// hops too). It keeps what is known of those that stay.
    pub fn configured(
        &self,
        hops: impl IntoIterator<Item = IpAddr>,
        statics: impl IntoIterator<Item = (IpAddr, MacAddr)>,
        now: Nanos,
    ) -> Self {
        let unknown = Neighbor::Incomplete {
            asked: 0,
            next: now,
        };
        let mut wanted: Vec<_> = hops.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Both in order: one walk over both instead of a search for each.
        let mut old = self.hops.iter().peekable();
        let kept = wanted.into_iter().map(|address| {
            while old.next_if(|(before, _)| **before < address).is_some() {}
            let known = match old.next_if(|(same, _)| **same == address) {
                // Its line left the configuration: the next hop must speak for itself now.
                None | Some((_, Neighbor::Static { .. })) => unknown,
                Some((_, known)) => *known,
            };
            (address, known)
        });
        let mut hops: BTreeMap<_, _> = kept.collect();
        let fixed = |(address, mac)| (address, Neighbor::Static { mac });
        hops.extend(statics.into_iter().map(fixed));
        NeighborTable {
            hops,
            life: self.life,
            quiet_until: Nanos::default(),
            generation: self.generation + 1,
        }
    }

    /// Lets time pass: hands every request that is due to `send`, and forgets addresses whose life is
    /// over. Call it a few times per second; most calls do nothing.
    pub fn poll(&mut self, now: Nanos, mut send: impl FnMut(Request)) {
        if now < self.quiet_until {
            return;
        }
        self.quiet_until = Nanos(u64::MAX);
        for (&address, neighbor) in &mut self.hops {
            let before = neighbor.mac();
            if let Some(unicast) = neighbor.poll(now) {
                send(Request { address, unicast });
            }
            if neighbor.mac() != before {
                self.generation += 1;
            }
            if let Some(due) = neighbor.due() {
                self.quiet_until = self.quiet_until.min(due);
            }
        }
    }

    /// A station said that `address` is at `mac`: in a reply, in a request of its own, or unasked. Updates
    /// next hops only.
    ///
    /// Not for neighbour advertisements without the override flag; they go to
    /// [`NeighborTable::confirm`].
    pub fn learn(&mut self, address: IpAddr, mac: MacAddr, now: Nanos) -> Learned {
        let until = now + self.life;
        let Some(neighbor) = self.hops.get_mut(&address) else {
            return Learned::Ignored;
        };
        if !mac.is_unicast() || matches!(neighbor, Neighbor::Static { .. }) {
            return Learned::Ignored;
        }
        let known = neighbor.mac();
        *neighbor = Neighbor::Reachable { mac, until };
        // A short life may need refreshing before a silent next hop would have been asked again.
        let due = neighbor.due().unwrap_or(until);
        self.quiet_until = self.quiet_until.min(due);
        if known == Some(mac) {
            return Learned::Confirmed;
        }
        self.generation += 1;
        Learned::Changed
    }

    /// As [`NeighborTable::learn`], but a different address that is known already is not replaced: its
    /// owner is asked at once instead (RFC 4861, section 7.2.5, override flag clear).
    pub fn confirm(&mut self, address: IpAddr, mac: MacAddr, now: Nanos) -> Learned {
        match self.hops.get_mut(&address) {
            Some(neighbor) if neighbor.mac().is_some_and(|known| known != mac) => {
                if let Neighbor::Reachable { mac, until } = *neighbor {
                    let (asked, next) = (0, now);
                    *neighbor = Neighbor::Refresh {
                        mac,
                        until,
                        asked,
                        next,
                    };
                    self.quiet_until = now;
                }
                Learned::Ignored
            }
            _ => self.learn(address, mac, now),
        }
    }

    /// The link address of a next hop, if it is known.
    pub fn mac(&self, address: IpAddr) -> Option<MacAddr> {
        self.hops.get(&address)?.mac()
    }

    /// Do all next hops have a link address? Until then the rail is not ready.
    pub fn all_resolved(&self) -> bool {
        self.unresolved().next().is_none()
    }

    /// Next hops without a link address, to be named to people.
    pub fn unresolved(&self) -> impl Iterator<Item = IpAddr> {
        let hops = self.hops.iter();
        hops.filter(|(_, neighbor)| neighbor.mac().is_none())
            .map(|(&address, _)| address)
    }

    /// All next hops in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Neighbor)> {
        self.hops
            .iter()
            .map(|(&address, &neighbor)| (address, neighbor))
    }

    /// Grows whenever an answer of [`NeighborTable::mac`] may have changed: time for a new snapshot.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Default for NeighborTable {
    fn default() -> Self {
        NeighborTable::new(Self::LIFE)
    }
}

impl Neighbor {
    /// The link address, if there is one.
    pub fn mac(&self) -> Option<MacAddr> {
        match *self {
            Neighbor::Incomplete { .. } => None,
            Neighbor::Reachable { mac, .. }
            | Neighbor::Refresh { mac, .. }
            | Neighbor::Static { mac } => Some(mac),
        }
    }

    /// One word for people: `incomplete`, `reachable`, `refresh`, `static`.
    pub fn state(&self) -> &'static str {
        match self {
            Neighbor::Incomplete { .. } => "incomplete",
            Neighbor::Reachable { .. } => "reachable",
            Neighbor::Refresh { .. } => "refresh",
            Neighbor::Static { .. } => "static",
        }
    }

    /// When the address stops being good; `None` if there is none, or for good.
    pub fn until(&self) -> Option<Nanos> {
        match *self {
            Neighbor::Reachable { until, .. } | Neighbor::Refresh { until, .. } => Some(until),
            Neighbor::Incomplete { .. } | Neighbor::Static { .. } => None,
        }
    }

    /// Steps to the state that holds at `now`. Some: send a request, to the station named if any.
    fn poll(&mut self, now: Nanos) -> Option<Option<MacAddr>> {
        if self.until().is_some_and(|until| now >= until) {
            let (asked, next) = (0, now);
            *self = Neighbor::Incomplete { asked, next };
        }
        if let Neighbor::Reachable { mac, until } = *self
            && now + REFRESH >= until
        {
            let (asked, next) = (0, now);
            *self = Neighbor::Refresh {
                mac,
                until,
                asked,
                next,
            };
        }
        match self {
            Neighbor::Incomplete { asked, next } if now >= *next => {
                *next = now + pause(*asked);
                *asked = asked.saturating_add(1);
                Some(None)
            }
            Neighbor::Refresh {
                mac, asked, next, ..
            } if now >= *next => {
                *next = now + RETRY;
                *asked = asked.saturating_add(1);
                // First the station itself; if it does not answer, whoever has the address now.
                Some((*asked <= UNICAST_TRIES).then_some(*mac))
            }
            _ => None,
        }
    }

    /// When there is something to do next, as of the last poll.
    fn due(&self) -> Option<Nanos> {
        match *self {
            Neighbor::Incomplete { next, .. } => Some(next),
            Neighbor::Reachable { until, .. } => {
                let refresh = until.0.saturating_sub(REFRESH.as_nanos() as u64);
                Some(Nanos(refresh))
            }
            Neighbor::Refresh { until, next, .. } => Some(next.min(until)),
            Neighbor::Static { .. } => None,
        }
    }
}

/// Time after the `asked`-th request (from 0) without an answer until the next: a second each for the
/// first few, then doubling, because a next hop that is down for long must not cost a request per second
/// for ever, and one that comes back says so in requests of its own.
fn pause(asked: u32) -> Duration {
    let doublings = asked.saturating_add(2).saturating_sub(EAGER_TRIES);
    RETRY.saturating_mul(1 << doublings.min(MAX_DOUBLINGS))
}

/// Time between two requests.
const RETRY: Duration = Duration::from_secs(1);
/// How long before the end of its life an address is asked for again.
const REFRESH: Duration = Duration::from_secs(15);
/// Requests to the known station before everybody is asked.
const UNICAST_TRIES: u32 = 3;
/// Requests for an unknown address that follow one another by [`RETRY`].
const EAGER_TRIES: u32 = 10;
/// The longest pause: 32 times [`RETRY`].
const MAX_DOUBLINGS: u32 = 5;
