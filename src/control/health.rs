//! Whether a rail is well: what `/healthz` answers.

use std::net::IpAddr;
use std::time::Duration;

use crate::table::Nanos;
use crate::table::neighbor::NeighborTable;

use super::compile::gateways;
use super::rail::Rail;

/// A worker whose loop has made no round for so long has missed its heartbeat: a thousand times the
/// longest sleep of an idle worker.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// When the rounds of each worker were last seen to advance. Time passes only with [`Self::sample`], so
/// a control core that comes late does not blame the workers for it.
#[derive(Debug, Default)]
pub struct Heartbeats {
    beats: Vec<Beat>,
    sampled: Nanos,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    rounds: u64,
    advanced: Nanos,
}

impl Heartbeats {
    /// Takes note of the workers' rounds, by worker index.
    pub fn sample(&mut self, now: Nanos, rounds: impl IntoIterator<Item = u64>) {
        self.sampled = now;
        for (index, rounds) in rounds.into_iter().enumerate() {
            let beat = Beat {
                rounds,
                advanced: now,
            };
            match self.beats.get_mut(index) {
                None => self.beats.push(beat),
                Some(known) if known.rounds != rounds => *known = beat,
                Some(_) => {}
            }
        }
    }

    /// The workers that have missed their heartbeat, and the time since their last round.
    pub fn missed(&self) -> impl Iterator<Item = (usize, Duration)> {
        let beats = self.beats.iter().enumerate();
        beats
            .map(|(index, beat)| (index, self.sampled.since(beat.advanced)))
            .filter(|(_, silent)| *silent >= HEARTBEAT)
    }
}

/// How a rail is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from forwarding as it should, a line each.
    pub problems: Vec<String>,
    /// What is worth knowing besides, a line each.
    pub notes: Vec<String>,
}

impl Health {
    /// Looks at the workers and at the next hops.
    ///
    /// A rail that has once been ready stays so: a backend whose station falls silent, or is new, is no
    /// reason to take the whole rail out. Without any gateway it can forward nothing beyond its links.
    pub fn of(rail: &Rail) -> Self {
        let mut health = Health::default();
        for (index, silent) in rail.heartbeats().missed() {
            let core = rail.workers().get(index).map_or(0, |w| w.core);
            health.problems.push(format!(
                "worker {index} on core {core} has missed its heartbeat: no round for {:.1} s",
                silent.as_secs_f64()
            ));
        }
        let neighbors = rail.neighbors();
        let unresolved: Vec<_> = neighbors.unresolved().collect();
        let gateways: Vec<_> = gateways(rail.config()).map(|(_, g)| g).collect();
        if !rail.is_ready() {
            let hops = list(&unresolved);
            health
                .problems
                .push(format!("not ready: next hops not resolved yet: {hops}"));
        } else if none_known(neighbors, &gateways) {
            let hops = list(&gateways);
            health.problems.push(format!("no gateway answers: {hops}"));
        } else if !unresolved.is_empty() {
            let hops = list(&unresolved);
            health
                .notes
                .push(format!("next hops that do not answer: {hops}"));
        }
        health
    }

    /// Nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }
}

/// There are gateways, and not one of them has a known link address.
fn none_known(neighbors: &NeighborTable, gateways: &[IpAddr]) -> bool {
    !gateways.is_empty() && gateways.iter().all(|g| neighbors.mac(*g).is_none())
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;

    use super::*;
    use crate::control::rail::{Hardware, WorkerView};
    use crate::pool::{Environment, parse};
    use crate::table::conn::{ConnOwner, ConnSettings};
    use crate::table::counters::Counters;
    use crate::table::fragment::FragmentTable;
    use crate::table::port::PortReport;
    use crate::table::snapshot::PortIndex;

    /// Ports that take every frame and hear nothing.
    struct Deaf;

    impl Hardware for Deaf {
        fn send(&self, _: PortIndex, _: &[u8]) -> bool {
            true
        }

        fn ports(&self) -> Vec<PortReport> {
            Vec::new()
        }

        fn driver(&self) -> String {
            String::new()
        }
    }

    /// A rail with one gateway, before its first tick.
    fn rail(more: &str) -> Rail {
        let text = format!(
            "[node]\nname = \"a\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\n\
             address = [\"192.0.2.10/24\"]\ngateway = [\"192.0.2.1\"]\n\
             [pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n{more}"
        );
        let (config, _) = parse(&text, "test.toml", &Environment::any()).expect("valid");
        let news = Arc::new(ArrayQueue::new(1));
        Rail::new(config, vec![[2; 6]], news, Box::new(Deaf)).expect("compiles")
    }

    #[test]
    fn a_rail_starts_unready_and_says_what_it_waits_for() {
        let mut rail = rail("");
        rail.tick();
        let expected = "not ready: next hops not resolved yet: 192.0.2.1";
        assert_eq!(Health::of(&rail).problems, [expected]);
    }

    #[test]
    fn known_next_hops_make_it_ready() {
        let gateway = "[[neighbor]]\naddress = \"192.0.2.1\"\nmac = \"02:00:00:00:00:fe\"\n";
        let mut rail = rail(gateway);
        assert!(!Health::of(&rail).is_well(), "before the first tick");
        rail.tick();
        assert_eq!(Health::of(&rail), Health::default());
    }

    #[test]
    fn a_worker_without_rounds_is_named_with_its_core() {
        let mut rail = rail("");
        let conns = ConnOwner::new(&ConnSettings {
            flows: 1024,
            timeouts: rail.snapshot().timeouts,
            new_pins_per_second: 1000,
        });
        let counters = Arc::new(Counters::new(0));
        let worker = WorkerView {
            core: 7,
            counters: Arc::clone(&counters),
            conns: Arc::clone(conns.expect("memory").table()),
            tsc_hz: 1,
        };
        let fragments = FragmentTable::new(1, HEARTBEAT).expect("memory");
        rail.attach(vec![worker], Arc::new(fragments), Box::new(Deaf));
        rail.tick();
        std::thread::sleep(HEARTBEAT);
        rail.tick();
        let problems = Health::of(&rail).problems;
        let expected = "worker 0 on core 7 has missed its heartbeat: no round for ";
        assert!(problems[0].starts_with(expected), "{problems:?}");

        counters.rounds.add(1);
        rail.tick();
        assert!(!Health::of(&rail).problems[0].contains("heartbeat"));
    }

    fn at(millis: u64) -> Nanos {
        Nanos(0) + Duration::from_millis(millis)
    }

    fn missed(beats: &Heartbeats) -> Vec<(usize, u128)> {
        beats.missed().map(|(w, d)| (w, d.as_millis())).collect()
    }

    #[test]
    fn a_worker_that_stands_still_is_named() {
        let mut beats = Heartbeats::default();
        beats.sample(at(0), [7, 100]);
        beats.sample(at(500), [8, 100]);
        assert_eq!(missed(&beats), []);
        beats.sample(at(999), [9, 100]);
        assert_eq!(missed(&beats), []);
        beats.sample(at(1000), [10, 100]);
        assert_eq!(missed(&beats), [(1, 1000)]);
        beats.sample(at(1020), [11, 101]);
        assert_eq!(missed(&beats), [], "it goes on");
    }

    #[test]
    fn a_late_look_is_not_the_workers_fault() {
        let mut beats = Heartbeats::default();
        beats.sample(at(0), [7]);
        beats.sample(at(60_000), [8]);
        assert_eq!(missed(&beats), []);
    }

    #[test]
    fn rounds_that_wrap_advance() {
        let mut beats = Heartbeats::default();
        beats.sample(at(0), [u64::MAX]);
        beats.sample(at(2000), [0]);
        assert_eq!(missed(&beats), []);
    }
}
