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
    addressing: Addressing,
    /// The places of services, by index.
    of_services: Box<[u32]>,
    /// The ways to the backends of all these services, one service behind the other.
    ways: Box<[Adjacency]>,
}

/// What finds the backend of a flow of one service: two to a cache line, and none in two.
#[derive(Debug, Clone)]
#[repr(align(32))]
struct Route {
    /// The service's key, or [`Route::NO_KEY`].
    key: u64,
    slots: Slots,
    /// Where its backends begin among those of all services.
    first: u32,
}

const _: () = assert!(size_of::<Route>() == 32);

impl Route {
    /// The key of no packet.
    const NO_KEY: u64 = u64::MAX;
}

/// Where packets have to look, by their keys and hashes alone: in loops that become vector code.
#[derive(Debug, Clone, Copy)]
pub struct Addressing {
    /// Slots of every table.
    size: u32,
    spread: Spread,
}

impl Addressing {
    /// The slot of a flow.
    #[inline(always)]
    pub fn slot(self, hash: FlowHash) -> u32 {
        hash.slot(self.size)
    }

    /// The place of the route of the service with this key, if it is one and no other is there.
    #[inline(always)]
    pub fn home(self, key: V4Key) -> u32 {
        self.spread.home(key.word()) as u32
    }
}

/// The place of what has none.
const NOWHERE: u32 = u32::MAX;

impl Routes {
    /// The routes of those of the services that are `steered` by hashes alone; `way` tells the way to a backend.
    pub fn new(
        map: &ServiceMap,
        services: &[Service],
        steered: impl Fn(&Service) -> bool,
        way: impl Fn(BackendId) -> Adjacency,
    ) -> Self {
        // All tables of a pool are of one size.
        let size = services
            .first()
            .map_or(0, |service| service.maglev.size().get());
        let steered = |service: &Service| steered(service) && service.maglev.size().get() == size;
        let all = (0..).map(ServiceIndex).zip(services);
        let steered: Vec<_> = all.filter(|(_, service)| steered(service)).collect();
        let key = |index| match map.exact_key(index) {
            // Of two services with one key the map knows the first.
            Some(ExactKey::V4(key)) if map.lookup_v4(key) == index => Some(key.word()),
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
            first: 0,
        };
        let mut places = vec![empty; if steered.is_empty() { 0 } else { spread.len() }];
        let mut of_services = vec![NOWHERE; services.len()];
        let mut ways = Vec::new();
        for (index, service) in steered {
            let home = key(index).map(|word| (word, spread.home(word)));
            // Where another one is, that one is looked for by the services' own map.
            let home = home.filter(|(_, home)| places[*home].key == Route::NO_KEY);
            let route = Route {
                key: home.map_or(Route::NO_KEY, |(word, _)| word),
                slots: service.maglev.slots().clone(),
                first: ways.len() as u32,
            };
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
            addressing: Addressing { size, spread },
            of_services: of_services.into(),
            ways: ways.into(),
        }
    }

    /// Where packets have to look.
    #[inline(always)]
    pub fn addressing(&self) -> Addressing {
        self.addressing
    }

    /// Where the routes of services are that are found by their keys.
    #[inline(always)]
    pub fn homes(&self) -> Homes<'_> {
        Homes(&self.places)
    }

    /// Asks for a slot of a service, and tells the place of its route; `None` if the service is not steered by
    /// hashes alone.
    #[inline(always)]
    pub fn ask(&self, service: ServiceIndex, slot: u32) -> Option<u32> {
        let place = *self.of_services.get(usize::from(service.0))?;
        self.places.get(place as usize)?.slots.prefetch(slot);
        Some(place)
    }

    /// The way to the backend that has a slot of the route in this place; `None` if no backend of the service has any.
    #[inline(always)]
    pub fn way(&self, place: u32, slot: u32) -> Option<&Adjacency> {
        let route = self.places.get(place as usize)?;
        let member = route.first + u32::from(route.slots.get(slot)?);
        self.ways.get(member as usize)
    }
}

/// See [`Routes::homes`].
#[derive(Clone, Copy)]
pub struct Homes<'r>(&'r [Route]);

impl Homes<'_> {
    /// Whether no service is steered by hashes alone.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Asks for a slot of the service with this key, if that one's route is in its home; else `false`: the key does
    /// not say enough.
    #[inline(always)]
    pub fn ask(self, key: V4Key, home: u32, slot: u32) -> bool {
        match self.0.get(home as usize) {
            Some(route) if route.key == key.word() => {
                route.slots.prefetch(slot);
                true
            }
            _ => false,
        }
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
            let routes = Routes::new(&map, &services, |service| !service.tracked, Adjacency::missing);
            prop_assert_eq!(routes.homes().is_empty(), services.iter().all(|service| service.tracked));
            for (index, service) in (0..).map(ServiceIndex).zip(&services) {
                for hash in hashes.iter().copied().map(FlowHash) {
                    let slot = routes.addressing().slot(hash);
                    let place = routes.ask(index, slot);
                    prop_assert_eq!(place.is_some(), !service.tracked);
                    let own = service.maglev.lookup(hash);
                    let expected = own.map(|backend| service.backends[usize::from(backend)].get());
                    let to = |place| routes.way(place, slot).map(Adjacency::id);
                    prop_assert_eq!(place.and_then(to), expected.filter(|_| !service.tracked));
                    if let Some(ExactKey::V4(key)) = map.exact_key(index) {
                        let home = routes.addressing().home(key);
                        if routes.homes().ask(key, home, slot) {
                            prop_assert_eq!(Some(home), place);
                        }
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
        let routes = Routes::new(&map, &services, |_| true, Adjacency::missing);
        let mut displaced = 0;
        for (index, service) in (0..).map(ServiceIndex).zip(&services) {
            let Some(ExactKey::V4(key)) = map.exact_key(index) else {
                panic!("an exact IPv4 service");
            };
            let slot = routes.addressing().slot(FlowHash(7));
            let place = routes.ask(index, slot).expect("a route");
            let to = routes.way(place, slot).map(Adjacency::id);
            assert_eq!(to, Some(service.backends[0].get()));
            let home = routes.addressing().home(key);
            if routes.homes().ask(key, home, slot) {
                assert_eq!(home, place);
            } else {
                displaced += 1;
            }
        }
        assert!(
            (1..250).contains(&displaced),
            "{displaced} of {}",
            keys.len()
        );
    }

    #[test]
    fn a_key_is_the_first_services() {
        let keys = [key("203.0.113.1", (53, 53)); 2];
        let services = [service(1, 1, true), service(1, 2, false)];
        let map = ServiceMap::new(&keys);
        let routes = Routes::new(&map, &services, |s| !s.tracked, Adjacency::missing);
        let Some(ExactKey::V4(key)) = map.exact_key(ServiceIndex(1)) else {
            panic!("an exact IPv4 service");
        };
        assert!(!routes.homes().ask(key, routes.addressing().home(key), 0));
        assert!(routes.ask(ServiceIndex(1), 0).is_some());
    }

    #[test]
    fn what_has_no_route_has_no_way() {
        let map = ServiceMap::default();
        let routes = Routes::new(&map, &[], |_| true, Adjacency::missing);
        let home = routes.addressing().home(V4Key::default());
        assert!(!routes.homes().ask(V4Key::default(), home, 0));
        assert!(routes.ask(ServiceIndex(0), 0).is_none());
        assert!(routes.way(NOWHERE, 0).is_none());
    }
}
