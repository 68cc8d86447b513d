//! What a rail writes down of what it observes, for its own branch of the store.

use crate::table::Nanos;

use super::desired::diary::Seen;
use super::rail::Rail;

impl Rail {
    /// Writes down what is new, when it is time. Not before the rail is ready: until then it knows nothing yet.
    pub(super) fn note(&mut self, now: Nanos) {
        if !self.is_ready() {
            return;
        }
        let diary = self.following.as_mut().map(|following| following.diary());
        if !diary.is_some_and(|diary| diary.is_due(now)) {
            return;
        }
        let seen = self.seen();
        if let Some(following) = &mut self.following {
            following.diary().note(seen);
        }
    }

    /// What the rail runs and why it is not something else, its tables, its next hops, the other rails.
    fn seen(&self) -> Seen {
        let mut seen = Seen::new();
        if let Some(following) = self.following() {
            seen.insert("running".to_owned(), following.running().to_string());
            if let Some(problem) = following.problem() {
                seen.insert("problem".to_owned(), problem.replace('\n', " "));
            }
        }
        seen.insert(
            "generation".to_owned(),
            self.snapshot().generation.to_string(),
        );
        let compiled = self.snapshot().services.iter();
        for (service, compiled) in self.config().pool.services.iter().zip(compiled) {
            let name = &service.name;
            let effective = compiled.maglev.digest();
            let desired = self.desired_digest(name).unwrap_or(effective);
            seen.insert(format!("services/{name}/desired"), desired.to_string());
            seen.insert(format!("services/{name}/effective"), effective.to_string());
        }
        for (address, neighbor) in self.neighbors().iter() {
            let mac = neighbor.mac().map(|mac| mac.to_string());
            let mac = mac.unwrap_or_else(|| "unknown".to_owned());
            seen.insert(format!("neighbors/{address}"), mac);
        }
        for (_, known) in self.peering().known() {
            let state = if known.alive { "alive" } else { "dead" };
            seen.insert(format!("peers/{}", known.name), state.to_owned());
        }
        seen
    }
}
