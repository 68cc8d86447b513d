//! What a change of the pool would do, before it is made: which services and backends come, go and change, which
//! share of the Maglev slots moves, and on a running rail which share of the connections.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::compile::{CompileError, by_name, maglev};
use super::desired::values::values;
use super::rail::Rail;
use crate::pool::{Draft, Name, Service};
use crate::store::Path;
use crate::table::BackendId;
use crate::table::maglev::Maglev;

/// Numbers of all tags there are: a slot is a share of these.
const TAGS: u64 = 1 << 32;

/// What happens to a service, a backend or a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It stays and is different.
    Changed,
}

impl Fate {
    /// The sign people know from `diff`.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// One value of the pool that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path in the store.
    pub path: String,
    /// What it is now.
    pub old: Option<String>,
    /// What it will be.
    pub new: Option<String>,
}

/// What happens to one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendPlan {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub fate: Fate,
    /// Backends that come, go or change, by name.
    pub backends: Vec<BackendPlan>,
    /// The share of the flows' hashes that lead to another backend afterwards, 0 to 1. Those of a service that
    /// comes or goes count as moved.
    pub moved: f64,
    /// Slots of the table whose backend is another one, if the table's size stays.
    pub moved_slots: Option<u32>,
    /// Slots of the table.
    pub slots: u32,
    /// On a running rail, what happens to its connections.
    pub connections: Option<Connections>,
}

/// What a change does to the connections of a service in the tables of one rail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Entries in the connection tables.
    pub live: u64,
    /// Those pinned to another backend than the new table names: they stay there while their entry does.
    pub pinned_elsewhere: u64,
    /// Those pinned to a backend that goes, or to another than the table names where none stays pinned: they are
    /// steered anew.
    pub cut: u64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Services that come, go or change, and those whose flows move, by name.
    pub services: Vec<ServicePlan>,
    /// Every value that differs, by path.
    pub settings: Vec<Setting>,
}

impl Plan {
    /// What leads from one pool to another.
    pub fn new(old: &Draft, new: &Draft) -> Result<Self, CompileError> {
        let settings = settings(old, new);
        if settings.is_empty() {
            return Ok(Self::default());
        }
        let by_name = |pool: &'_ Draft| -> BTreeMap<Name, Service> {
            let services = pool.services.iter();
            services.map(|s| (s.name.clone(), s.clone())).collect()
        };
        let (olds, news) = (by_name(old), by_name(new));
        let mut names: Vec<_> = olds.keys().chain(news.keys()).collect();
        names.sort();
        names.dedup();
        let mut services = Vec::new();
        for name in names {
            services.extend(service(
                (old, olds.get(name)),
                (new, news.get(name)),
                &settings,
            )?);
        }
        Ok(Self { services, settings })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Adds what happens to the connections of a running rail if its pool becomes `new`.
    pub fn count_connections(&mut self, rail: &Rail, new: &Draft) -> Result<(), CompileError> {
        let counted = connections(rail, new)?;
        for service in &mut self.services {
            service.connections = Some(
                counted
                    .get(service.name.as_str())
                    .copied()
                    .unwrap_or_default(),
            );
        }
        Ok(())
    }
}

fn settings(old: &Draft, new: &Draft) -> Vec<Setting> {
    let (old, new) = (values(old), values(new));
    let mut paths: Vec<&Path> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path));
    differing
        .map(|path| Setting {
            path: path.to_string(),
            old: old.get(path).cloned(),
            new: new.get(path).cloned(),
        })
        .collect()
}

/// What happens to one service of two pools; `None` if nothing does.
fn service(
    (old_pool, old): (&Draft, Option<&Service>),
    (new_pool, new): (&Draft, Option<&Service>),
    settings: &[Setting],
) -> Result<Option<ServicePlan>, CompileError> {
    let Some(name) = old.or(new).map(|service| service.name.to_string()) else {
        return Ok(None);
    };
    let fate = fate(old.is_some(), new.is_some());
    let table = |pool, service: Option<&Service>| service.map(|s| maglev(pool, s)).transpose();
    let (old_table, new_table) = (table(old_pool, old)?, table(new_pool, new)?);
    let directory = format!("services/{name}/");
    let touched = settings
        .iter()
        .any(|setting| setting.path.starts_with(&directory));
    let (moved, moved_slots) = match (old, &old_table, new, &new_table) {
        // Every hash changes: where a flow goes now says nothing of where it will go.
        (Some(_), _, Some(_), _) if old_pool.hash_key != new_pool.hash_key => (1.0, None),
        (Some(old), Some(old_table), Some(new), Some(new_table)) => {
            share((old, old_table), (new, new_table))
        }
        _ => (1.0, None),
    };
    if !touched && moved == 0.0 {
        return Ok(None);
    }
    let slots = new_table
        .or(old_table)
        .map_or(0, |table| table.size().get());
    Ok(Some(ServicePlan {
        backends: backends(&format!("{directory}backends/"), old, new, settings),
        name,
        fate,
        moved,
        moved_slots,
        slots,
        connections: None,
    }))
}

fn fate(before: bool, after: bool) -> Fate {
    match (before, after) {
        (false, _) => Fate::Added,
        (true, false) => Fate::Removed,
        (true, true) => Fate::Changed,
    }
}

fn backends(
    directory: &str,
    old: Option<&Service>,
    new: Option<&Service>,
    settings: &[Setting],
) -> Vec<BackendPlan> {
    let paths = settings
        .iter()
        .filter_map(|setting| setting.path.strip_prefix(directory));
    let mut names: Vec<&str> = paths.filter_map(|rest| rest.split('/').next()).collect();
    names.dedup();
    let has = |service: Option<&Service>, name: &str| {
        service.is_some_and(|service| service.backends.iter().any(|b| b.name.as_str() == name))
    };
    let plans = names.into_iter().map(|name| BackendPlan {
        name: name.to_owned(),
        fate: fate(has(old, name), has(new, name)),
    });
    plans.collect()
}

/// The share of all tags whose backend differs between two tables; and of slots, if there are as many.
fn share(
    (old, old_table): (&Service, &Maglev),
    (new, new_table): (&Service, &Maglev),
) -> (f64, Option<u32>) {
    let (old_names, new_names) = (by_name(old), by_name(new));
    let name = |names: &[&crate::pool::Backend], table: &Maglev, slot: u64| {
        let backend = u32::try_from(slot).ok().and_then(|slot| table.slot(slot));
        backend.and_then(|b| names.get(usize::from(b)).map(|b| b.name.clone()))
    };
    let (m, n) = (
        u64::from(old_table.size().get()),
        u64::from(new_table.size().get()),
    );
    let (mut tag, mut moved, mut moved_slots) = (0, 0, 0);
    while tag < TAGS {
        let (i, j) = (tag * m / TAGS, tag * n / TAGS);
        // The first tags of the next slots.
        let end = ((i + 1) * TAGS)
            .div_ceil(m)
            .min(((j + 1) * TAGS).div_ceil(n))
            .min(TAGS);
        if name(&old_names, old_table, i) != name(&new_names, new_table, j) {
            moved += end - tag;
            moved_slots += 1;
        }
        tag = end;
    }
    (moved as f64 / TAGS as f64, (m == n).then_some(moved_slots))
}

/// What happens to the connections of each service of a running rail if its pool becomes `new`. A service that is
/// not tracked has none now, and from the change on none stays where only a pin holds it.
fn connections(rail: &Rail, new: &Draft) -> Result<HashMap<String, Connections>, CompileError> {
    let names: HashMap<BackendId, _> = rail.backend_names().map(|(name, id)| (id, name)).collect();
    let mut tables = HashMap::new();
    for service in &new.services {
        tables.insert(
            service.name.clone(),
            (maglev(new, service)?, by_name(service), service.track),
        );
    }
    let same_key = rail.config().pool.hash_key == new.hash_key;
    let mut counted: HashMap<String, Connections> = HashMap::new();
    let entries = rail
        .workers()
        .iter()
        .flat_map(|worker| worker.conns.entries());
    let untracked: HashSet<_> = rail
        .config()
        .pool
        .services
        .iter()
        .filter(|service| !service.track)
        .map(|service| &service.name)
        .collect();
    for (_, entry) in entries {
        let Some(pinned) = names.get(&entry.backend()) else {
            continue;
        };
        if untracked.contains(&pinned.service) {
            continue;
        }
        let count = counted.entry(pinned.service.to_string()).or_default();
        count.live += 1;
        let Some((table, backends, track)) = tables.get(&pinned.service) else {
            count.cut += 1;
            continue;
        };
        let kept = backends
            .iter()
            .find(|backend| backend.name == pinned.backend);
        if !same_key || kept.is_none_or(|backend| backend.state == crate::pool::State::Down) {
            count.cut += 1;
            continue;
        }
        let slot = (u64::from(entry.tag()) * u64::from(table.size().get())) / TAGS;
        let chosen = u32::try_from(slot).ok().and_then(|slot| table.slot(slot));
        let chosen = chosen.and_then(|chosen| backends.get(usize::from(chosen)));
        if chosen.is_none_or(|chosen| chosen.name != pinned.backend) {
            let moved = if *track {
                &mut count.pinned_elsewhere
            } else {
                &mut count.cut
            };
            *moved += 1;
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::parse_pool;

    fn pool(table_size: u32, backends: &[&str], more: &str) -> Draft {
        let mut text = format!(
            "[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\ntable_size = {table_size}\n\
             [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\n"
        );
        for (at, backend) in backends.iter().enumerate() {
            text += &format!(
                "[[service.backend]]\nname = \"{backend}\"\naddress = \"198.51.100.{at}\"\n"
            );
        }
        parse_pool(&(text + more), "test.toml")
            .expect("valid")
            .0
            .into_draft()
    }

    #[test]
    fn shares_are_those_of_the_tables() {
        let (old, new) = (pool(251, &["a", "b", "c"], ""), pool(251, &["a", "b"], ""));
        let plan = Plan::new(&old, &new).unwrap();
        let [web] = plan.services.as_slice() else {
            panic!("{plan:?}");
        };
        let tables = [&old, &new].map(|pool| maglev(pool, &pool.services[0]).unwrap());
        // The names are in order, so that equal indices are equal names.
        let moved = (0..251)
            .filter(|slot| tables[0].slot(*slot) != tables[1].slot(*slot))
            .count();
        assert_eq!(web.moved_slots, Some(moved as u32));
        assert!((web.moved - moved as f64 / 251.0).abs() < 1e-6, "{web:?}");
        assert_eq!(web.backends.len(), 1);
        assert_eq!(
            (web.backends[0].name.as_str(), web.backends[0].fate),
            ("c", Fate::Removed)
        );
        assert_eq!(web.fate, Fate::Changed);
    }

    #[test]
    fn tables_of_different_sizes_are_compared_by_what_they_are_for() {
        let (old, new) = (pool(251, &["a"], ""), pool(257, &["a"], ""));
        let plan = Plan::new(&old, &new).unwrap();
        assert_eq!(plan.services, [], "one backend has all slots of either");
        assert_eq!(plan.settings.len(), 1);
        let plan = Plan::new(&pool(251, &["a", "b"], ""), &pool(257, &["a", "b"], "")).unwrap();
        let moved = plan.services[0].moved;
        assert!(moved > 0.1 && moved < 0.9, "{moved}");
        assert_eq!(plan.services[0].moved_slots, None);
    }

    #[test]
    fn services_come_and_go_and_a_new_key_moves_all() {
        let dns = "[[service]]\nname = \"dns\"\nvip = \"203.0.113.11\"\n";
        let (old, new) = (pool(251, &["a"], ""), pool(251, &["a"], dns));
        let fates = |old, new| {
            let plan = Plan::new(old, new).unwrap();
            let fates = plan.services.into_iter().map(|s| (s.name, s.fate, s.moved));
            fates.collect::<Vec<_>>()
        };
        assert_eq!(fates(&old, &new), [("dns".to_owned(), Fate::Added, 1.0)]);
        assert_eq!(fates(&new, &old), [("dns".to_owned(), Fate::Removed, 1.0)]);
        assert!(Plan::new(&old, &old).unwrap().is_empty());
        let mut key = old.clone();
        key.hash_key = crate::pool::HashKey::from_bytes([7; 16]);
        assert_eq!(fates(&old, &key), [("web".to_owned(), Fate::Changed, 1.0)]);
    }
}
