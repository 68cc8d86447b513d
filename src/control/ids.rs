//! Rail-wide backend ids: who has which, and when a used one may be given out again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::pool::{Backend, Name, Service};
use crate::table::{BackendId, IdSet};

/// Which backend of which service an id names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName {
    /// The service.
    pub service: Name,
    /// The backend within it.
    pub backend: Name,
}

impl BackendName {
    fn new(service: &Name, backend: &Name) -> Self {
        BackendName {
            service: service.clone(),
            backend: backend.clone(),
        }
    }
}

/// The backends of one service and their ids. A copy shares both.
#[derive(Debug, Clone)]
pub struct ServiceIds {
    /// In byte order: the order Maglev slots index.
    names: Arc<[Name]>,
    /// By place in `names`.
    ids: Arc<[BackendId]>,
}

impl ServiceIds {
    /// The ids, in byte order of the backends' names.
    pub fn ids(&self) -> &Arc<[BackendId]> {
        &self.ids
    }

    fn get(&self, backend: &Name) -> Option<BackendId> {
        let place = self.names.binary_search(backend).ok()?;
        self.ids.get(place).copied()
    }

    fn named(&self, service: &Name) -> impl Iterator<Item = (BackendName, BackendId)> {
        let names = self.names.iter();
        let names = names.map(move |backend| BackendName::new(service, backend));
        names.zip(self.ids.iter().copied())
    }
}

/// The ids of a rail. An id names one backend of one service for as long as either the pool or any
/// connection table knows it, so a pin can never reach a stranger that inherited the number.
///
/// A copy shares the lists of all services, and keeps those of services whose backends stay.
#[derive(Debug, Clone, Default)]
pub struct BackendIds {
    services: HashMap<Name, ServiceIds>,
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
    /// Gives every backend of a pool an id and retires the ids of those that left it; the pool comes
    /// [`in_order`](super::compile::in_order). A backend that comes back while its id is still retired gets it again, and
    /// with it the connections pinned to it. On an error nothing has changed.
    pub fn assign(&mut self, in_order: &[(&Service, Vec<&Backend>)]) -> Result<(), NoFreeId> {
        let services = in_order.iter().map(|(s, by_name)| (&s.name, by_name));
        let changed: Vec<_> = services
            .filter(|(service, backends)| !self.names_these(service, backends))
            .collect();
        let back = self.retired.iter().map(|(id, name)| (name.clone(), *id));
        let mut back: HashMap<_, _> = match changed.is_empty() {
            true => HashMap::new(),
            false => back.collect(),
        };
        let fresh = |(service, backends): &(&Name, &Vec<&Backend>)| {
            let names = backends.iter().map(|b| BackendName::new(service, &b.name));
            let unknown = |name: &BackendName| self.get(name).is_none() && !back.contains_key(name);
            names.filter(unknown).count()
        };
        let available = self.free.len() + (BackendId::MAX.get() - self.highest) as usize;
        if changed.iter().map(fresh).sum::<usize>() > available {
            return Err(NoFreeId);
        }
        for (service, backends) in changed {
            let (mut names, mut ids) = (Vec::new(), Vec::new());
            for backend in backends {
                let name = BackendName::new(service, &backend.name);
                ids.push(match (self.get(&name), back.remove(&name)) {
                    (Some(id), _) => id,
                    (None, Some(id)) => {
                        self.retired.remove(&id);
                        id
                    }
                    (None, None) => self.take().ok_or(NoFreeId)?,
                });
                names.push(name.backend);
            }
            let new = ServiceIds {
                names: names.into(),
                ids: ids.into(),
            };
            let old = self.services.insert(service.clone(), new);
            self.retire(service, old);
        }
        if self.services.len() > in_order.len() {
            let names: HashSet<_> = in_order.iter().map(|(s, _)| &s.name).collect();
            let gone = self.services.extract_if(|name, _| !names.contains(name));
            for (service, ids) in gone.collect::<Vec<_>>() {
                self.retire(&service, Some(ids));
            }
        }
        Ok(())
    }

    /// Whether the service has just these backends.
    fn names_these(&self, service: &Name, backends: &[&Backend]) -> bool {
        let here = self.services.get(service);
        here.is_some_and(|here| {
            let names = here.names.iter();
            names.eq(backends.iter().map(|backend| &backend.name))
        })
    }

    /// Retires those ids of a service that are no longer its backends'.
    fn retire(&mut self, service: &Name, ids: Option<ServiceIds>) {
        for (name, id) in ids.iter().flat_map(|ids| ids.named(service)) {
            if self.get(&name) != Some(id) {
                self.retired.insert(id, name);
            }
        }
    }

    /// The backends of a service and their ids.
    pub fn of(&self, service: &Name) -> Option<&ServiceIds> {
        self.services.get(service)
    }

    /// The id of a backend.
    pub fn get(&self, name: &BackendName) -> Option<BackendId> {
        self.services.get(&name.service)?.get(&name.backend)
    }

    /// Every backend that has an id now.
    pub fn iter(&self) -> impl Iterator<Item = (BackendName, BackendId)> {
        let services = self.services.iter();
        services.flat_map(|(service, here)| here.named(service))
    }

    /// Every backend that has an id here which is not its id there.
    pub fn beyond<'a>(
        &'a self,
        there: &'a BackendIds,
    ) -> impl Iterator<Item = (BackendName, BackendId)> + 'a {
        let is_shared = |service, here: &ServiceIds| {
            let there = there.of(service);
            there.is_some_and(|there| Arc::ptr_eq(&there.ids, &here.ids))
        };
        let services = self.services.iter();
        let changed = services.filter(move |(service, here)| !is_shared(*service, here));
        let all = changed.flat_map(|(service, here)| here.named(service));
        all.filter(|(name, id)| there.get(name) != Some(*id))
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
    use super::super::compile::in_order;
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
        assert_eq!(ids.get(&name), Some(id));
        Some(id.get())
    }

    #[test]
    fn a_retired_id_waits_until_no_table_names_it() {
        let mut ids = BackendIds::default();
        ids.assign(&in_order(&config(&["a", "b"]).pool))
            .expect("room");
        assert_eq!((id(&ids, "a"), id(&ids, "b")), (Some(1), Some(2)));

        ids.assign(&in_order(&config(&["b", "c"]).pool))
            .expect("room");
        assert_eq!((id(&ids, "b"), id(&ids, "c")), (Some(2), Some(3)));
        assert_eq!(id(&ids, "a"), None);

        let mut named = IdSet::new();
        named.insert(BackendId::new(1).expect("an id"));
        ids.reclaim(&named);
        ids.assign(&in_order(&config(&["b", "c", "d"]).pool))
            .expect("room");
        assert_eq!(id(&ids, "d"), Some(4), "1 is still pinned");

        ids.reclaim(&IdSet::new());
        ids.assign(&in_order(&config(&["b", "c", "d", "e"]).pool))
            .expect("room");
        assert_eq!(id(&ids, "e"), Some(1));
        assert_eq!(ids.places(), 5);
    }

    #[test]
    fn a_backend_that_comes_back_in_time_gets_its_id_again() {
        let mut ids = BackendIds::default();
        ids.assign(&in_order(&config(&["a", "b"]).pool))
            .expect("room");
        ids.assign(&in_order(&config(&["b"]).pool)).expect("room");
        ids.assign(&in_order(&config(&["c", "b", "a"]).pool))
            .expect("room");
        assert_eq!((id(&ids, "a"), id(&ids, "c")), (Some(1), Some(3)));
        assert_eq!(ids.retired().count(), 0);
    }
}
