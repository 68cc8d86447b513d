//! Services that are steered by hashes alone: from a packet's key to the slot of its flow, and from there to the way
//! it goes, each of them found in one cache line.

use super::BackendId;
use super::adjacency::Adjacency;
use super::exact::Spread;
use super::hash::FlowHash;
use super::service::{ExactKey, ServiceIndex, ServiceMap, V4Key};
use super::slots::Slots;
use super::snapshot::Service;

/// See the module.
#[derive(Debug)]
pub struct Routes {
    /// By the keys of IPv4 services that are one address, protocol and port; behind those the routes of all others.
    places: Box<[Route]>,
    spread: Spread,
    /// The places of services, by index.
    of_services: Box<[u32]>,
    /// The ways to the backends of all these services, one service behind the other.
    ways: Box<[Adjacency]>,
    /// Their ids, likewise.
    ids: Box<[BackendId]>,
}

/// What finds the backend of a flow of one service.
#[derive(Debug, Clone)]
struct Route {
    /// The service's key, or [`Route::NO_KEY`].
    key: u64,
    slots: Slots,
    /// How many these are.
    size: u32,
    /// Where its backends begin among those of all services.
    first: u32,
}

// Two to a line, and none in two.
const _: () = assert!(size_of::<Route>() == 32);

impl Route {
    /// The key of no packet.
    const NO_KEY: u64 = u64::MAX;

    #[inline(always)]
    fn slot(&self, hash: FlowHash) -> u32 {
        hash.slot(self.size)
    }
}

/// The slot of a flow, and where the route is that it belongs to. It means nothing under another snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    slot: u32,
    place: u32,
}

/// The place of what has none.
const NOWHERE: u32 = u32::MAX;

impl Slot {
    /// Of no service.
    pub const NONE: Slot = Slot {
        slot: 0,
        place: NOWHERE,
    };
}

impl Routes {
    /// The routes of those of the services that are `steered` by hashes alone; `way` tells the way to a backend.
    pub fn new(
        map: &ServiceMap,
        services: &[Service],
        steered: impl Fn(&Service) -> bool,
        way: impl Fn(BackendId) -> Adjacency,
    ) -> Self {
        let all = (0..).map(ServiceIndex).zip(services);
        let steered: Vec<_> = all.filter(|(_, service)| steered(service)).collect();
        let key = |index| match map.exact_key(index) {
            Some(ExactKey::V4(key)) => Some(key.word()),
            _ => None,
        };
        let words: Vec<_> = steered
            .iter()
            .filter_map(|(index, _)| key(*index))
            .collect();
        let spread = Spread::new(&words);
        let empty = Route {
            key: Route::NO_KEY,
            slots: Slots::new(&[], 0),
            size: 0,
            first: 0,
        };
        let mut places = vec![empty; if steered.is_empty() { 0 } else { spread.len() }];
        let mut of_services = vec![NOWHERE; services.len()];
        let (mut ways, mut ids) = (Vec::new(), Vec::new());
        for (index, service) in steered {
            let home = key(index).map(|word| (word, spread.home(word)));
            // Where another one is, that one is looked for by the services' own map.
            let home = home.filter(|(_, home)| places[*home].key == Route::NO_KEY);
            let route = Route {
                key: home.map_or(Route::NO_KEY, |(word, _)| word),
                slots: service.maglev.slots().clone(),
                size: service.maglev.slots().len(),
                first: ids.len() as u32,
            };
            ids.extend_from_slice(&service.backends);
            ways.extend(service.backends.iter().map(|id| way(*id)));
            let place = home.map_or(places.len(), |(_, home)| home);
            of_services[usize::from(index.0)] = place as u32;
            match places.get_mut(place) {
                Some(empty) => *empty = route,
                None => places.push(route),
            }
        }
        Routes {
            places: places.into(),
            spread,
            of_services: of_services.into(),
            ways: ways.into(),
            ids: ids.into(),
        }
    }

    /// Whether no service is steered by hashes alone.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The slot of a flow of the service with this key, which is asked for; `None` if the key does not say enough.
    #[inline(always)]
    pub fn slot_v4(&self, key: V4Key, hash: FlowHash) -> Option<Slot> {
        let place = self.spread.home(key.word());
        let route = self.places.get(place)?;
        if route.key != key.word() {
            return None;
        }
        let slot = route.slot(hash);
        route.slots.prefetch(slot);
        Some(Slot {
            slot,
            place: place as u32,
        })
    }

    /// The slot of a flow of a service, which is asked for; `None` if the service is not steered by hashes alone.
    #[inline(always)]
    pub fn slot_of(&self, service: ServiceIndex, hash: FlowHash) -> Option<Slot> {
        let place = *self.of_services.get(usize::from(service.0))?;
        let route = self.places.get(place as usize)?;
        let slot = route.slot(hash);
        route.slots.prefetch(slot);
        Some(Slot { slot, place })
    }

    /// The backend that has a slot, and the way there; `None` if no backend of the service has any.
    #[inline(always)]
    pub fn way(&self, Slot { slot, place }: Slot) -> Option<(BackendId, &Adjacency)> {
        let route = self.places.get(place as usize)?;
        let member = (route.first + u32::from(route.slots.get(slot)?)) as usize;
        Some((*self.ids.get(member)?, self.ways.get(member)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::table::HashKey;
    use crate::table::maglev::{Maglev, TableSize};
    use crate::table::service::ServiceKey;

    /// A service with so many backends, whose ids begin at `first`.
    fn service(backends: u32, first: u32, tracked: bool) -> Service {
        let names: Vec<_> = (0..backends).map(|n| (format!("{n:04}"), 1)).collect();
        let size = TableSize::new(1009).expect("a prime");
        let key = HashKey::from_bytes([7; HashKey::BYTES]);
        let ids = first..first + backends;
        Service {
            name: "one".into(),
            maglev: Arc::new(Maglev::build(size, &key, &names).expect("few backends")),
            backends: ids.map(|id| BackendId::new(id).expect("an id")).collect(),
            source_affinity: false,
            tracked,
            salt: 0,
            limit: None,
        }
    }

    fn key(vip: &str, ports: (u16, u16)) -> ServiceKey {
        let vip = vip.parse::<std::net::IpAddr>().expect("an address");
        ServiceKey {
            vip,
            prefix: if vip.is_ipv4() { 32 } else { 128 },
            protocol: Some(6),
            ports,
        }
    }

    proptest! {
        /// Whatever is asked for by key or by service goes where the service's own table says.
        #[test]
        fn flows_go_where_the_tables_say(
            shapes in prop::collection::vec((0u32..4, any::<bool>(), 0u8..4), 1..40),
            wide in any::<prop::sample::Index>(),
            hashes in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let (mut keys, mut services, mut first) = (Vec::new(), Vec::new(), 1);
            let wide = wide.index(shapes.len());
            for (n, &(backends, tracked, kind)) in shapes.iter().enumerate() {
                let port = n as u16;
                keys.push(match kind {
                    0 => key("2001:db8::1", (port, port)),
                    1 => key("203.0.113.1", (port, port + 1)),
                    _ => key("203.0.113.1", (port, port)),
                });
                let backends = if n == wide { 300 } else { backends };
                services.push(service(backends, first, tracked));
                first += backends;
            }
            let map = ServiceMap::new(&keys);
            let routes = Routes::new(&map, &services, |service| !service.tracked, |_| Adjacency::NONE);
            prop_assert_eq!(routes.is_empty(), services.iter().all(|service| service.tracked));
            for (index, service) in (0..).map(ServiceIndex).zip(&services) {
                for hash in hashes.iter().copied().map(FlowHash) {
                    let slot = routes.slot_of(index, hash);
                    prop_assert_eq!(slot.is_some(), !service.tracked);
                    let own = service.maglev.lookup(hash);
                    let expected = own.map(|backend| service.backends[usize::from(backend)]);
                    let way = |slot| routes.way(slot).map(|(id, _)| id);
                    prop_assert_eq!(slot.and_then(way), expected.filter(|_| !service.tracked));
                    if let Some(ExactKey::V4(key)) = map.exact_key(index)
                        && let Some(slot) = routes.slot_v4(key, hash)
                    {
                        prop_assert!(!service.tracked);
                        prop_assert_eq!(way(slot), expected);
                    }
                }
            }
        }
    }

    /// Keys that share a place: one of them is found by its key, and all by their services.
    #[test]
    fn displaced_keys_have_routes_all_the_same() {
        let ports = (0..500u32).map(|n| (n * n * 7_919 % 65_521) as u16);
        let ports: std::collections::BTreeSet<_> = ports.collect();
        let keys: Vec<_> = ports
            .iter()
            .map(|&port| key("203.0.113.1", (port, port)))
            .collect();
        let services: Vec<_> = (1..)
            .take(keys.len())
            .map(|id| service(1, id, false))
            .collect();
        let map = ServiceMap::new(&keys);
        let routes = Routes::new(&map, &services, |_| true, |_| Adjacency::NONE);
        let mut displaced = 0;
        for (index, service) in (0..).map(ServiceIndex).zip(&services) {
            let Some(ExactKey::V4(key)) = map.exact_key(index) else {
                panic!("an exact IPv4 service");
            };
            let way = |slot| routes.way(slot).map(|(id, _)| id);
            let by_service = routes.slot_of(index, FlowHash(7)).and_then(way);
            assert_eq!(by_service, Some(service.backends[0]));
            match routes.slot_v4(key, FlowHash(7)) {
                Some(slot) => assert_eq!(way(slot), by_service),
                None => displaced += 1,
            }
        }
        assert!(
            (1..250).contains(&displaced),
            "{displaced} of {}",
            keys.len()
        );
    }

    #[test]
    fn what_has_no_route_has_no_way() {
        let map = ServiceMap::default();
        let routes = Routes::new(&map, &[], |_| true, |_| Adjacency::NONE);
        assert!(routes.slot_v4(V4Key::default(), FlowHash(0)).is_none());
        assert!(routes.slot_of(ServiceIndex(0), FlowHash(0)).is_none());
        assert!(routes.way(Slot::NONE).is_none());
    }
}
