//! What was forwarded, by backend and by service, though ids change hands and backends leave.

use std::collections::HashMap;

use crate::pool::Name;
use crate::table::BackendId;

use super::ids::BackendIds;

/// Packets and bytes forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Forwarded {
    /// Packets.
    pub packets: u64,
    /// Bytes as they arrived, from the Ethernet header on.
    pub bytes: u64,
}

impl Forwarded {
    /// Adds other traffic.
    pub fn add(&mut self, other: Forwarded) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Workers count by id and never start again; this remembers what of it belongs to whom.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What the counters of an id showed when it was given to the backend that has it now.
    bases: HashMap<BackendId, Forwarded>,
    /// What backends that have left a service were sent while they were in it.
    left: HashMap<Name, Forwarded>,
}

impl Ledger {
    /// What of `counted` for an id is the present backend's.
    pub fn own(&self, id: BackendId, counted: Forwarded) -> Forwarded {
        let base = self.bases.get(&id).copied().unwrap_or_default();
        Forwarded {
            packets: counted.packets.saturating_sub(base.packets),
            bytes: counted.bytes.saturating_sub(base.bytes),
        }
    }

    /// What was sent to backends of a service that are no longer in it.
    pub fn left(&self, service: &Name) -> Forwarded {
        self.left.get(service).copied().unwrap_or_default()
    }

    /// Before the ids of another pool come into force: what a leaving backend was sent stays with its
    /// service, whoever gets an id starts from zero, and a service that is gone is forgotten.
    pub fn hand_over(
        &mut self,
        old: &BackendIds,
        new: &BackendIds,
        counted: impl Fn(BackendId) -> Forwarded,
    ) {
        for (name, id) in old.beyond(new) {
            let own = self.own(id, counted(id));
            self.left.entry(name.service).or_default().add(own);
        }
        self.left.retain(|service, _| new.of(service).is_some());
        for (_, id) in new.beyond(old) {
            self.bases.insert(id, counted(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::in_order;
    use super::*;
    use crate::pool::{Pool, parse_pool};
    use crate::table::IdSet;

    fn pool(services: &[(&str, &[&str])]) -> Pool {
        let mut text = String::from(
            "[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\ntable_size = 7\n",
        );
        for (at, (service, backends)) in services.iter().enumerate() {
            text += &format!("[[service]]\nname = \"{service}\"\nvip = \"203.0.113.{at}\"\n");
            for (at, backend) in backends.iter().enumerate() {
                text += &format!(
                    "[[service.backend]]\nname = \"{backend}\"\naddress = \"198.51.100.{at}\"\n"
                );
            }
        }
        parse_pool(&text, "test.toml").expect("valid").0
    }

    fn sent(packets: u64) -> Forwarded {
        Forwarded {
            packets,
            bytes: 100 * packets,
        }
    }

    #[test]
    fn a_service_keeps_what_its_backends_took_along() {
        let (both, one) = (pool(&[("web", &["a", "b"])]), pool(&[("web", &["b"])]));
        let web = &one.services[0].name;
        let mut ids = BackendIds::default();
        let mut ledger = Ledger::default();
        ids.assign(&in_order(&both)).expect("room");
        ledger.hand_over(&BackendIds::default(), &ids, |_| sent(0));

        let mut without = ids.clone();
        without.assign(&in_order(&one)).expect("room");
        ledger.hand_over(&ids, &without, |id| sent(u64::from(id.get()) * 10));
        assert_eq!(ledger.left(web), sent(10));
        let b = BackendId::new(2).expect("an id");
        assert_eq!(ledger.own(b, sent(25)), sent(25), "b stayed");

        // The id of `a` is free again, and `c` gets it with its counters where they stood.
        without.reclaim(&IdSet::new());
        let other = pool(&[("web", &["b", "c"])]);
        let mut again = without.clone();
        again.assign(&in_order(&other)).expect("room");
        ledger.hand_over(&without, &again, |_| sent(10));
        let c = BackendId::new(1).expect("an id");
        assert_eq!(ledger.own(c, sent(17)), sent(7));
        assert_eq!(ledger.left(web), sent(10));
    }

    #[test]
    fn a_service_that_is_gone_is_forgotten() {
        let (old, new) = (pool(&[("web", &["a"])]), pool(&[("dns", &["a"])]));
        let (mut ids, mut ledger) = (BackendIds::default(), Ledger::default());
        ids.assign(&in_order(&old)).expect("room");
        let mut next = ids.clone();
        next.assign(&in_order(&new)).expect("room");
        ledger.hand_over(&ids, &next, |_| sent(5));
        assert_eq!(ledger.left(&old.services[0].name), sent(0));
    }
}
