//! The tables of a pool that is measured.

use std::net::IpAddr;

use super::pool::Shape;
use crate::cli::diagnostics;
use crate::control::compile::{LinkAddresses, TableCache, compile};
use crate::control::ids::BackendIds;
use crate::pool::{Config, Pool, Weight};
use crate::table::snapshot::Snapshot;

/// Makes the tables of one pool, and those of later states of it from what has not changed.
pub struct Tables {
    config: Config,
    ids: BackendIds,
    cache: TableCache,
}

impl Tables {
    /// For a pool of this shape.
    pub fn new(shape: &Shape) -> Result<Self, String> {
        let config = shape.config().map_err(|found| {
            let all: Vec<_> = found.iter().map(diagnostics::graphical).collect();
            all.join("\n")
        })?;
        Ok(Tables {
            config,
            ids: BackendIds::default(),
            cache: TableCache::default(),
        })
    }

    /// The tables, to come after `previous`.
    pub fn compile(&mut self, previous: Option<&Snapshot>) -> Result<Snapshot, String> {
        let port = [[2, 0, 0, 0, 0, 0x10]];
        let (config, ids, cache) = (&self.config, &mut self.ids, &mut self.cache);
        compile(config, &port, ids, &Gateway, previous, cache).map_err(|e| e.to_string())
    }

    /// Services of the pool.
    pub fn services(&self) -> usize {
        self.config.pool.services.len()
    }

    /// Changes the weight of a service's first backend, and with it the service's table; services are counted
    /// round and round.
    pub fn reweigh(&mut self, service: usize, weight: Weight) -> Result<(), String> {
        let mut draft = self.config.pool.clone().into_draft();
        let service = service % self.services().max(1);
        let backends = draft.services.get_mut(service).map(|s| &mut s.backends);
        if let Some(first) = backends.and_then(|backends| backends.first_mut()) {
            first.weight = weight;
        }
        let pool = Pool::new(draft).map_err(|found| format!("{found:?}"))?;
        self.config.pool = pool;
        Ok(())
    }
}

/// Every next hop is there.
struct Gateway;

impl LinkAddresses for Gateway {
    fn mac(&self, _: IpAddr) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0, 0, 0xfe])
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::HIT;
    use super::*;

    #[test]
    fn another_weight_changes_the_table_of_one_service() {
        let mut tables = Tables::new(&HIT.shape(3, 2)).expect("a valid pool");
        let first = tables.compile(None).expect("tables");
        let weight = Weight::new(50).expect("a weight");
        tables.reweigh(4, weight).expect("a valid pool");
        let second = tables.compile(Some(&first)).expect("tables");
        let same = |index: usize| {
            let [a, b] = [&first, &second].map(|s| s.services[index].maglev.digest());
            a == b
        };
        assert_eq!([same(0), same(1), same(2)], [true, false, true]);
    }
}
