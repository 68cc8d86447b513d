//! The Maglev tables of a pool, each of which is built anew only when what it is made of has changed.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::pool::{Backend, Name, Pool, Service};
use crate::table::HashKey;
use crate::table::maglev::{Digest, Maglev, TableSize};

use super::compile::{CompileError, maglev, weight};
use super::ways::RailTables;

/// Maglev tables by what they were built from, so that a change to one service rebuilds one table.
#[derive(Debug, Default)]
pub struct TableCache {
    entries: HashMap<Name, CachedTable>,
    builds: Builds,
    pub(super) rails: RailTables,
}

/// How many tables were built, and how long that took in all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Builds {
    /// Tables.
    pub count: u64,
    /// Time for all of them, whether one after another or side by side.
    pub time: Duration,
}

#[derive(Debug)]
struct CachedTable {
    hash_key: HashKey,
    size: TableSize,
    weights: Vec<(Name, u32)>,
    maglev: Arc<Maglev>,
}

impl CachedTable {
    fn is_of(&self, pool: &Pool, by_name: &[&Backend]) -> bool {
        let own = self.weights.iter().map(|(name, weight)| (name, *weight));
        self.hash_key == pool.hash_key && self.size == pool.table_size && own.eq(weights(by_name))
    }
}

/// The weights of backends, with their names.
fn weights<'p>(backends: &'p [&'p Backend]) -> impl Iterator<Item = (&'p Name, u32)> {
    backends
        .iter()
        .map(|backend| (&backend.name, weight(backend)))
}

impl TableCache {
    /// The tables of a pool's services, in their order. Those that changed are built, side by side where the
    /// calling thread may use several cores; on an error nothing has changed.
    /// `in_order` are its services with their backends by name.
    pub(super) fn update(
        &mut self,
        pool: &Pool,
        in_order: &[(&Service, Vec<&Backend>)],
    ) -> Result<Vec<Arc<Maglev>>, CompileError> {
        let mut tables: Vec<Option<Arc<Maglev>>> = Vec::with_capacity(in_order.len());
        let mut missing = Vec::new();
        for (index, (service, by_name)) in in_order.iter().enumerate() {
            let cached = self.entries.get(&service.name);
            let cached = cached.filter(|entry| entry.is_of(pool, by_name));
            tables.push(cached.map(|entry| Arc::clone(&entry.maglev)));
            if cached.is_none() {
                missing.push((index, *service, by_name));
            }
        }
        let services: Vec<_> = missing.iter().map(|(_, service, _)| *service).collect();
        let built: Vec<_> = side_by_side(&services, |service| {
            let start = Instant::now();
            maglev(pool, service).map(|table| (Arc::new(table), start.elapsed()))
        })
        .into_iter()
        .collect::<Result<_, _>>()?;
        for ((index, service, by_name), (maglev, time)) in missing.into_iter().zip(built) {
            self.builds.count += 1;
            self.builds.time += time;
            tables[index] = Some(Arc::clone(&maglev));
            let weights = weights(by_name).map(|(name, weight)| (name.clone(), weight));
            let entry = CachedTable {
                hash_key: pool.hash_key,
                size: pool.table_size,
                weights: weights.collect(),
                maglev,
            };
            self.entries.insert(service.name.clone(), entry);
        }
        self.retain(&pool.services);
        Ok(tables.into_iter().flatten().collect())
    }

    /// Digests of the tables as the pool last compiled wants them, by service.
    pub fn digests(&self) -> HashMap<Name, Digest> {
        let entries = self.entries.iter();
        entries
            .map(|(name, entry)| (name.clone(), entry.maglev.digest()))
            .collect()
    }

    /// What building has cost so far.
    pub fn builds(&self) -> Builds {
        self.builds
    }

    fn retain(&mut self, services: &[Service]) {
        if self.entries.len() > services.len() {
            let names: HashSet<_> = services.iter().map(|s| &s.name).collect();
            self.entries.retain(|name, _| names.contains(name));
        }
    }
}

/// What `work` makes of each of the `tasks`, in their order. The calling thread works, and so do others on the
/// cores it may use: the control core alone once a rail runs, all of them while it starts.
fn side_by_side<T: Sync, R: Send>(tasks: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let share = || {
        let take = || next.fetch_add(1, Ordering::Relaxed);
        let taken = std::iter::repeat_with(take).map_while(|at| Some((at, tasks.get(at)?)));
        taken.map(|(at, task)| (at, work(task))).collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        // A thread that cannot be had is none to wait for.
        let helpers: Vec<_> = (1..cores.min(tasks.len()))
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, share).ok())
            .collect();
        let mut done = share();
        for helper in helpers {
            let more = helper.join();
            done.extend(more.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::control::compile::{LinkAddresses, compile};
    use crate::control::ids::BackendIds;
    use crate::pool::{Config, Environment, parse};
    use crate::table::snapshot::Snapshot;

    struct Nobody;

    impl LinkAddresses for Nobody {
        fn mac(&self, _: IpAddr) -> Option<[u8; 6]> {
            None
        }
    }

    /// Services of two backends, named and with the weight of the second one.
    fn config(key: &str, services: &[(&str, u16)]) -> Config {
        let mut text = format!(
            "[node]\nname = \"a\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\n\
             address = [\"192.0.2.10/24\"]\n[pool]\ntable_size = 251\nhash_key = \"{key}\"\n"
        );
        for (at, (name, weight)) in services.iter().enumerate() {
            text += &format!(
                "[[service]]\nname = \"{name}\"\nvip = \"203.0.113.{at}\"\n\
                 [[service.backend]]\nname = \"a\"\naddress = \"192.0.2.20\"\n\
                 [[service.backend]]\nname = \"b\"\naddress = \"192.0.2.21\"\nweight = {weight}\n"
            );
        }
        let parsed = parse(&text, "test.toml", &Environment::any());
        parsed.expect("valid").0
    }

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";

    /// The services whose table a snapshot shares with the one before, in its order.
    fn shared(before: &Snapshot, after: &Snapshot) -> Vec<bool> {
        let is_shared = |service: &crate::table::snapshot::Service| {
            let mut others = before.services.iter();
            others.any(|other| Arc::ptr_eq(&other.maglev, &service.maglev))
        };
        after.services.iter().map(is_shared).collect()
    }

    #[test]
    fn a_change_to_one_service_builds_one_table_and_shares_all_others() {
        let (mut ids, mut tables) = (BackendIds::default(), TableCache::default());
        let mut next = |key, services: &[_], previous: Option<&Snapshot>| {
            let built = tables.builds().count;
            let config = config(key, services);
            let snapshot = compile(&config, &[[2; 6]], &mut ids, &Nobody, previous, &mut tables);
            (
                snapshot.expect("a snapshot"),
                tables.builds().count - built,
                tables.digests().len(),
            )
        };
        let three = [("dns", 1), ("mail", 1), ("web", 1)];
        let (first, built, _) = next(KEY, &three, None);
        assert_eq!(built, 3);

        let (again, built, _) = next(KEY, &three, Some(&first));
        assert_eq!((built, shared(&first, &again)), (0, vec![true; 3]));

        let heavier = [("dns", 1), ("mail", 9), ("web", 1)];
        let (changed, built, _) = next(KEY, &heavier, Some(&again));
        assert_eq!(built, 1);
        assert_eq!(shared(&again, &changed), [true, false, true]);
        let shares = |snapshot: &Snapshot| snapshot.services[1].maglev.shares().to_vec();
        // Of 251 slots, beside a backend of weight 100.
        assert_eq!((shares(&again)[1], shares(&changed)[1]), (2, 20));
        let ids = |snapshot: &Snapshot| Arc::clone(&snapshot.services[1].backends);
        assert!(Arc::ptr_eq(&ids(&again), &ids(&changed)));

        // A service that leaves is forgotten, and the place of the others means nothing.
        let (fewer, built, kept) = next(KEY, &[("web", 1), ("dns", 1)], Some(&changed));
        assert_eq!((built, kept), (0, 2));
        assert_eq!(shared(&changed, &fewer), [true, true]);

        let other_key = "ff0102030405060708090a0b0c0d0e0f";
        let (anew, built, _) = next(other_key, &[("web", 1), ("dns", 1)], Some(&fewer));
        assert_eq!((built, shared(&fewer, &anew)), (2, vec![false; 2]));
    }

    #[test]
    fn what_is_done_side_by_side_comes_back_in_order() {
        let tasks: Vec<u32> = (0..1000).collect();
        assert_eq!(
            side_by_side(&tasks, |task| task + 1),
            (1..=1000).collect::<Vec<_>>()
        );
        assert_eq!(side_by_side(&[], |task: &u32| *task), Vec::<u32>::new());
    }
}
