//! What the flows of a burst are: their hashes, what they show about their services, and what is looked for in the
//! connection table or in Maglev tables.

use crate::hw;
use crate::table::HashKey;
use crate::table::claim::{Claim, ClaimKey};
use crate::table::conn::{Look, Wanted};
use crate::table::hash::{BURST, FlowHash};
use crate::table::routes::{Addressing, Homes};
use crate::table::service::ServiceIndex;
use crate::table::shortcuts::Mode;
use crate::table::snapshot::{PortView, Snapshot};

use super::frame::Frame;
use super::plain::{self, Fields, Plain};
use super::stage::{Stage, lanes_of};

/// What flows are hashed with and looked for in: by value what loops over a burst would else read anew for every group.
pub(super) struct Tables<'s> {
    pub(super) key: HashKey,
    pub(super) look: Look<'s>,
    pub(super) addressing: Addressing,
    pub(super) homes: Homes<'s>,
}

/// The flows of a burst, as arrays.
#[derive(Debug)]
pub(super) struct Flows {
    pub(super) hashes: [FlowHash; BURST],
    /// What packets show about their service.
    pub(super) claims: [Claim; BURST],
    /// The entries that packets leave as they are.
    pub(super) wanted: [Wanted; BURST],
    /// The slots of packets whose services are not tracked, and where their routes are.
    pub(super) slots: [u32; BURST],
    pub(super) places: [u32; BURST],
}

impl Flows {
    /// None.
    pub(super) fn new() -> Self {
        Flows {
            hashes: [FlowHash(0); BURST],
            claims: [Claim::NONE; BURST],
            wanted: [Wanted::default(); BURST],
            slots: [0; BURST],
            places: [0; BURST],
        }
    }
}

/// Reads the plain frames of a burst, hashes their flows and finds out what they claim.
#[inline(always)]
pub(super) fn look_up<F: Frame>(
    snapshot: &Snapshot,
    burst: (&PortView, &[F]),
    look: Look<'_>,
    fields: &mut Fields,
    stage: &mut Stage,
) {
    let shortcuts = &snapshot.shortcuts;
    let tables = Tables {
        key: snapshot.hash_key,
        look,
        addressing: shortcuts.routes.addressing(),
        homes: shortcuts.routes.homes(),
    };
    let to = (&mut stage.plain, &mut stage.flows);
    let (lanes, asked) = plain::read(burst, &tables, fields, to);
    stage.lanes = lanes;
    if lanes.v4 != 0 && !shortcuts.claims_by_key.v4 {
        look_up_v4(snapshot, stage, asked);
    }
    if lanes.v6 != 0 {
        let keys = (&snapshot.hash_key, &shortcuts.claim_key);
        stage.flows.read_v6(lanes.v6, &stage.plain, keys, look);
        if !shortcuts.claims_by_key.v6 {
            look_up_v6(snapshot, stage);
        }
    }
    if !tables.homes.is_empty() && stage.tracked() != 0 {
        stage.flows.want(&stage.plain, look);
    }
}

/// Finds the services of IPv4 packets where their own keys do not say enough: they do for those in `known`.
#[inline(never)]
fn look_up_v4(snapshot: &Snapshot, stage: &mut Stage, known: u32) {
    let (map, lanes) = (&snapshot.map, stage.lanes.v4);
    stage.untracked |= lanes & known;
    // What they have claimed so far is their keys.
    stage.claim(snapshot, lanes & !known, |stage, lane| {
        map.lookup_v4(stage.flows.claims[lane].v4_key())
    });
}

/// As [`look_up_v4`], of IPv6 packets.
#[inline(never)]
fn look_up_v6(snapshot: &Snapshot, stage: &mut Stage) {
    let map = &snapshot.map;
    stage.claim(snapshot, stage.lanes.v6, |stage, lane| {
        map.lookup_v6(stage.plain.v6_key(lane))
    });
}

impl Flows {
    /// The entries that the packets of a burst leave as they are.
    #[inline(never)]
    fn want(&mut self, plain: &Plain, look: Look<'_>) {
        hw::vectorised(
            plain,
            self,
            #[inline(always)]
            |plain, flows| {
                for lane in 0..BURST {
                    flows.wanted[lane] = look.wanted(flows.hashes[lane], plain.says[lane]);
                }
            },
        );
    }

    /// The hashes of the IPv6 packets in `lanes`, what they claim by themselves, and the entries they leave as they are.
    fn read_v6(
        &mut self,
        lanes: u32,
        plain: &Plain,
        (key, secret): (&HashKey, &ClaimKey),
        look: Look<'_>,
    ) {
        let (key, secret) = (*key, *secret);
        hw::vectorised(
            plain,
            self,
            #[inline(always)]
            |plain, flows| {
                for lane in 0..BURST {
                    let hash = plain.v6.hash(&key, lane);
                    let read = 0u64.wrapping_sub(u64::from(lanes >> lane & 1));
                    let (old, new) = (flows.hashes[lane].0 & !read, hash.0 & read);
                    flows.hashes[lane] = FlowHash(old | new);
                    let claim = Claim::of_v6(plain.v6_key(lane), &secret);
                    flows.claims[lane] = flows.claims[lane].or(claim, read);
                    let wanted = look.wanted(hash, plain.says[lane]);
                    flows.wanted[lane] = flows.wanted[lane].or(wanted, read);
                }
            },
        );
    }
}

impl Stage {
    /// Notes the services of plain packets. Those without one, and those whose service steers by source, are not
    /// plain.
    #[inline(always)]
    fn claim(
        &mut self,
        snapshot: &Snapshot,
        lanes: u32,
        look_up: impl Fn(&Stage, usize) -> ServiceIndex,
    ) {
        let routes = &snapshot.shortcuts.routes;
        let (mut untracked, mut others) = (0u32, 0u32);
        for lane in lanes_of(lanes) {
            let index = look_up(self, lane);
            self.flows.claims[lane] = Claim::of_service(index);
            let hash = self.flows.hashes[lane];
            let slot = routes.addressing().slot(hash);
            if let Some(place) = routes.ask(index, slot) {
                (self.flows.places[lane], self.flows.slots[lane]) = (place, slot);
                untracked |= 1 << lane;
            } else if snapshot.shortcuts.mode(index) != Some(Mode::Connection) {
                others |= 1 << lane;
            }
        }
        self.untracked |= untracked;
        self.lanes = self.lanes.without(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::conn::{ConnOwner, ConnSettings};
    use crate::table::service::Families;
    use crate::testkit::traffic::NODE;
    use crate::testkit::{Frame, Rail, ether};

    const V4: &str = "203.0.113.10";
    const V6: &str = "2001:db8:1::10";

    /// A service with a backend of its own.
    fn service(vip: &str, port: u16, what: &str) -> String {
        let name = format!("{}-{port}", vip.replace([':', '.'], "-"));
        let last = port % 250;
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\n{what}\n\
             backend = [{{ name = \"one\", address = \"198.18.0.{last}\" }}]\n"
        )
    }

    /// Else no known flow would be recognised by a look at its entry alone.
    #[test]
    fn packets_claim_what_the_ways_to_their_backends_want() {
        let exact = |vip, port| service(vip, port, &format!("port = {port}"));
        let three = [exact(V4, 443), exact(V6, 444), exact(V6, 445)].concat();
        let with = |more: String| [NODE, &three, &more].concat();
        let conns = ConnOwner::new(&ConnSettings {
            flows: 1,
            ..ConnSettings::default()
        });
        let conns = conns.expect("a small table");
        for (pool, by_key) in [
            (with(String::new()), (true, true)),
            (with(service("203.0.113.11", 1, "")), (false, true)),
            (with(service("2001:db8:1::11", 1, "")), (true, false)),
            (
                with(service(V4, 1, "port = 1\ntrack = false")),
                (false, false),
            ),
        ] {
            let rail = Rail::new(&pool);
            let snapshot = rail.snapshot();
            let (v4, v6) = by_key;
            assert_eq!(snapshot.shortcuts.claims_by_key, Families { v4, v6 });
            let v6 = |port| ether().ipv6("2001:db8::7", V6).tcp(7, port).ack();
            let v4 = ether().ipv4("198.51.100.7", V4).tcp(7, 443).ack();
            let frames =
                [v4.build(), v6(444).build(), v6(445).build()].map(|bytes| Frame::new(&bytes));
            let mut stage = Stage::new();
            let burst = (&snapshot.ports[0], frames.as_slice());
            let fields = &mut Fields::default();
            look_up(snapshot, burst, conns.look(), fields, &mut stage);
            for (lane, claims_by_key) in [by_key.0, by_key.1, by_key.1].into_iter().enumerate() {
                let claim = stage.flows.claims[lane];
                assert_eq!(claim.service().is_none(), claims_by_key);
                let index = stage.service(snapshot, lane).expect("a service");
                let id = snapshot.service(index).expect("it").backends[0];
                let way = snapshot.shortcuts.adjacency(id.get()).expect("a way");
                assert_eq!(way.claim, claim, "lane {lane}");
            }
        }
    }
}
