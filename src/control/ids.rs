//! Rail-wide backend ids: who has which, and when a used one may be given out again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::pool::{Name, Pool};
use crate::table::{BackendId, IdSet};

/// Which backend of which service an id names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName {
    /// The service.
    pub service: Name,
    /// The backend within it.
    pub backend: Name,
}

/// The ids of a rail. An id names one backend of one service for as long as either the pool or any
/// connection table knows it, so a pin can never reach a stranger that inherited the number.
#[derive(Debug, Clone, Default)]
pub struct BackendIds {
    names: HashMap<BackendName, BackendId>,
    /// Ids whose backend is gone, and which one it was.
    retired: BTreeMap<BackendId, BackendName>,
    free: BTreeSet<BackendId>,
    highest: u32,
}

/// More backends alive or still pinned than ids exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no backend id is free: {} are in use or still pinned by connections", BackendId::MAX.get())]
pub struct NoFreeId;

impl BackendIds {
    /// Gives every backend of the pool an id and retires the ids of those that left it. One that comes
    /// back while its id is still retired gets it again, and with it the connections pinned to it. On an
    /// error nothing has changed.
    pub fn assign(&mut self, pool: &Pool) -> Result<(), NoFreeId> {
        let wanted: Vec<_> = pool
            .services
            .iter()
            .flat_map(|s| {
                s.backends.iter().map(|b| BackendName {
                    service: s.name.clone(),
                    backend: b.name.clone(),
                })
            })
            .collect();
        let back: HashMap<_, _> = self.retired.iter().map(|(id, name)| (name, *id)).collect();
        let back: HashMap<BackendName, BackendId> = wanted
            .iter()
            .filter_map(|name| Some((name.clone(), *back.get(name)?)))
            .collect();
        let is_known = |name| self.names.contains_key(name) || back.contains_key(name);
        let fresh = wanted.iter().filter(|name| !is_known(name)).count();
        let available = self.free.len() + (BackendId::MAX.get() - self.highest) as usize;
        if fresh > available {
            return Err(NoFreeId);
        }
        for (name, id) in back {
            self.retired.remove(&id);
            self.names.insert(name, id);
        }
        for name in &wanted {
            if !self.names.contains_key(name) {
                let id = self.take().ok_or(NoFreeId)?;
                self.names.insert(name.clone(), id);
            }
        }
        let wanted: std::collections::HashSet<_> = wanted.into_iter().collect();
        self.names.retain(|name, id| {
            let kept = wanted.contains(name);
            if !kept {
                self.retired.insert(*id, name.clone());
            }
            kept
        });
        Ok(())
    }

    /// The id of a backend.
    pub fn get(&self, name: &BackendName) -> Option<BackendId> {
        self.names.get(name).copied()
    }

    /// Every backend that has an id now.
    pub fn iter(&self) -> impl Iterator<Item = (&BackendName, BackendId)> {
        self.names.iter().map(|(name, id)| (name, *id))
    }

    /// The backend an id names now.
    pub fn name(&self, id: BackendId) -> Option<&BackendName> {
        self.names.iter().find(|(_, i)| **i == id).map(|(n, _)| n)
    }

    /// Ids whose backend is gone and that some table may still name.
    pub fn retired(&self) -> impl Iterator<Item = BackendId> {
        self.retired.keys().copied()
    }

    /// Frees the retired ids that a scan of all connection tables did not find. The scan must have
    /// begun after every worker left the last snapshot that knew the ids.
    pub fn reclaim(&mut self, still_named: &IdSet) {
        let (kept, freed) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(id, _)| still_named.contains(*id));
        self.retired = kept;
        self.free.extend(freed.into_keys());
    }

    /// One more than the largest id ever given out: the length of an array indexed by id.
    pub fn places(&self) -> usize {
        self.highest as usize + 1
    }

    fn take(&mut self) -> Option<BackendId> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = BackendId::new(self.highest + 1).ok()?;
        self.highest += 1;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Config, Environment, parse};

    fn config(backends: &[&str]) -> Config {
        let mut text = String::from(
            "[node]\nname = \"a\"\nworkers = [1]\ncontrol_core = 0\n\
             [[port]]\ndevice = \"net_null0\"\naddress = [\"192.0.2.10/24\"]\n\
             [pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
             [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\n",
        );
        for (i, name) in backends.iter().enumerate() {
            let last = i + 20;
            text +=
                &format!("[[service.backend]]\nname = \"{name}\"\naddress = \"192.0.2.{last}\"\n");
        }
        parse(&text, "test.toml", &Environment::any())
            .expect("valid")
            .0
    }

    fn id(ids: &BackendIds, backend: &str) -> Option<u32> {
        let (name, id) = ids.iter().find(|(n, _)| n.backend.as_str() == backend)?;
        assert_eq!(ids.name(id), Some(name));
        Some(id.get())
    }

    #[test]
    fn a_retired_id_waits_until_no_table_names_it() {
        let mut ids = BackendIds::default();
        ids.assign(&config(&["a", "b"]).pool).expect("room");
        assert_eq!((id(&ids, "a"), id(&ids, "b")), (Some(1), Some(2)));

        ids.assign(&config(&["b", "c"]).pool).expect("room");
        assert_eq!((id(&ids, "b"), id(&ids, "c")), (Some(2), Some(3)));
        assert_eq!(id(&ids, "a"), None);

        let mut named = IdSet::new();
        named.insert(BackendId::new(1).expect("an id"));
        ids.reclaim(&named);
        ids.assign(&config(&["b", "c", "d"]).pool).expect("room");
        assert_eq!(id(&ids, "d"), Some(4), "1 is still pinned");

        ids.reclaim(&IdSet::new());
        ids.assign(&config(&["b", "c", "d", "e"]).pool)
            .expect("room");
        assert_eq!(id(&ids, "e"), Some(1));
        assert_eq!(ids.places(), 5);
    }

    #[test]
    fn a_backend_that_comes_back_in_time_gets_its_id_again() {
        let mut ids = BackendIds::default();
        ids.assign(&config(&["a", "b"]).pool).expect("room");
        ids.assign(&config(&["b"]).pool).expect("room");
        ids.assign(&config(&["c", "b", "a"]).pool).expect("room");
        assert_eq!((id(&ids, "a"), id(&ids, "c")), (Some(1), Some(3)));
        assert_eq!(ids.retired().count(), 0);
    }
}
