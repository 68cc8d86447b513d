//! Draining backends and their deadlines.

use std::collections::HashMap;

use crate::pool::{Name, Pool, State};
use crate::table::Nanos;

use super::ids::BackendName;

/// Since when each draining backend of a service with a deadline drains, and until when. The time of
/// a rail that starts with a draining backend starts with the rail.
#[derive(Debug, Clone, Default)]
pub struct Drains(HashMap<BackendName, Drain>);

#[derive(Debug, Clone, Copy)]
struct Drain {
    since: Nanos,
    until: Nanos,
    over: bool,
}

impl Drains {
    /// Takes a pool: who drained before goes on doing so, with the deadline of now.
    pub fn configure(&mut self, pool: &Pool, now: Nanos) {
        let mut old = std::mem::take(&mut self.0);
        for service in &pool.services {
            let Some(deadline) = service.drain_deadline else {
                continue;
            };
            let draining = service.backends.iter().filter(|b| b.state == State::Drain);
            for backend in draining {
                let name = BackendName {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                };
                let since = old.remove(&name).map_or(now, |drain| drain.since);
                let until = since + deadline;
                let over = until <= now;
                self.0.insert(name, Drain { since, until, over });
            }
        }
    }

    /// Lets time pass. Whether a deadline has come.
    pub fn tick(&mut self, now: Nanos) -> bool {
        let mut come = false;
        for (name, drain) in &mut self.0 {
            if !drain.over && drain.until <= now {
                drain.over = true;
                come = true;
                tracing::info!(service = %name.service, backend = %name.backend, "drained: its time is over");
            }
        }
        come
    }

    /// The deadline of a draining backend has passed: it keeps nothing any more.
    pub fn is_over(&self, service: &Name, backend: &Name) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let name = BackendName {
            service: service.clone(),
            backend: backend.clone(),
        };
        self.0.get(&name).is_some_and(|drain| drain.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::parse_pool;

    fn pool(deadline: &str, state: &str) -> Pool {
        let text = format!(
            "[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\ntable_size = 7\n\
             [[service]]\nname = \"web\"\nvip = \"203.0.113.1\"\n{deadline}\n\
             [[service.backend]]\nname = \"a\"\naddress = \"198.51.100.1\"\nstate = \"{state}\"\n"
        );
        parse_pool(&text, "test.toml").expect("valid").0
    }

    #[test]
    fn a_deadline_comes_once_and_a_reload_does_not_put_it_off() {
        let minute = "drain_deadline = \"60s\"";
        let (web, a) = (
            Name::new("web").expect("a name"),
            Name::new("a").expect("a name"),
        );
        let mut drains = Drains::default();
        drains.configure(&pool(minute, "up"), Nanos::from_secs(0));
        assert!(!drains.tick(Nanos::from_secs(1000)));
        drains.configure(&pool(minute, "drain"), Nanos::from_secs(1000));
        drains.configure(&pool(minute, "drain"), Nanos::from_secs(1059));
        assert!(!drains.tick(Nanos::from_secs(1059)) && !drains.is_over(&web, &a));
        assert!(drains.tick(Nanos::from_secs(1060)) && drains.is_over(&web, &a));
        assert!(!drains.tick(Nanos::from_secs(1061)), "once");
        // Another deadline counts from the same start.
        drains.configure(
            &pool("drain_deadline = \"2m\"", "drain"),
            Nanos::from_secs(1070),
        );
        assert!(!drains.is_over(&web, &a));
        drains.configure(&pool("", "drain"), Nanos::from_secs(1080));
        assert!(
            !drains.tick(Nanos::from_secs(9999)),
            "without a deadline it takes as long as it takes"
        );
        drains.configure(&pool(minute, "up"), Nanos::from_secs(9999));
        drains.configure(&pool(minute, "drain"), Nanos::from_secs(10_000));
        assert!(!drains.is_over(&web, &a), "a new drain has its own time");
    }
}
