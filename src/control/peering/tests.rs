use super::*;
use crate::pool::{Environment, parse};

const INTERVAL: Duration = Duration::from_millis(500);
const A: &str = "192.0.2.10";
const B: &str = "192.0.2.11";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn config(name: &str, own: &str, more: &str) -> Config {
    let text = format!(
        "[node]\nname = \"{name}\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\n\
         address = [\"{own}/24\"]\n[pool]\npeer_key = 1\n\
         hash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
         [timeouts]\npeer_probe = \"500ms\"\n{more}"
    );
    let parsed = parse(&text, "test.toml", &Environment::any());
    parsed.expect("valid").0
}

fn peers(name: &str, own: &str) -> Config {
    let both = [("rail-a", A), ("rail-b", B)];
    let list = both.map(|(n, a)| format!("[[peer]]\nname = \"{n}\"\naddress = \"{a}\"\n"));
    config(name, own, &list.concat())
}

/// Two rails and what lies between them.
struct Pair {
    a: Peering,
    b: Peering,
    now: Nanos,
    /// Everything that was ever sent to `a`.
    recorded: Vec<ProbeHeader>,
}

impl Pair {
    fn new() -> Self {
        Pair {
            a: Peering::new(&peers("rail-a", A)),
            b: Peering::new(&peers("rail-b", B)),
            now: Nanos::from_secs(100),
            recorded: Vec::new(),
        }
    }

    /// One interval; what is sent arrives at once, or not at all.
    fn interval(&mut self, to_b: bool, to_a: bool) {
        self.now = self.now + INTERVAL;
        let (from_a, from_b) = (self.a.due(self.now), self.b.due(self.now));
        for (_, probe) in from_a.into_iter().filter(|_| to_b) {
            let from = address(A);
            self.b.hear(&Heard { from, probe }, self.now);
        }
        for (_, probe) in from_b {
            self.recorded.push(probe);
            if to_a {
                let from = address(B);
                self.a.hear(&Heard { from, probe }, self.now);
            }
        }
        self.a.expire(self.now);
        self.b.expire(self.now);
    }

    fn alive(&self) -> (bool, bool) {
        (self.a.is_usable(address(B)), self.b.is_usable(address(A)))
    }

    fn met() -> Self {
        let mut pair = Pair::new();
        for _ in 0..4 {
            pair.interval(true, true);
        }
        assert_eq!(pair.alive(), (true, true));
        pair
    }
}

#[test]
fn rails_that_hear_each_other_are_alive_within_three_intervals() {
    let mut pair = Pair::new();
    pair.interval(true, true);
    assert_ne!(
        pair.alive(),
        (true, true),
        "a challenge was not yet answered"
    );
    pair.interval(true, true);
    pair.interval(true, true);
    assert_eq!(pair.alive(), (true, true));
}

#[test]
fn three_missed_probes_and_it_is_dead() {
    let mut pair = Pair::met();
    pair.interval(true, false);
    pair.interval(true, false);
    assert_eq!(pair.alive(), (true, true));
    pair.interval(true, true);
    assert_eq!(pair.alive(), (true, true), "the third one came");
    for missed in 1..=3 {
        assert!(pair.alive().0, "{missed}");
        pair.interval(true, false);
    }
    assert!(!pair.alive().0);
    let known = pair.a.known().next().expect("one").1;
    assert_eq!((known.deaths, known.alive), (1, false));
}

/// A rail that is not heard by the other is no owner of anything there, so it must not be one here.
#[test]
fn it_must_hear_us_too() {
    let mut pair = Pair::met();
    for _ in 0..6 {
        pair.interval(false, true);
    }
    assert_eq!(pair.alive(), (false, false));
    for _ in 0..3 {
        pair.interval(true, true);
    }
    assert_eq!(pair.alive(), (true, true));
}

#[test]
fn what_was_recorded_is_worth_nothing() {
    let mut pair = Pair::met();
    for _ in 0..20 {
        pair.interval(true, true);
    }
    let recorded = pair.recorded.clone();
    let replay = |pair: &mut Pair| {
        let (from, now) = (address(B), pair.now);
        for &probe in &recorded {
            pair.a.hear(&Heard { from, probe }, now);
        }
    };
    let counted = |pair: &Pair| pair.a.known().next().expect("one").1.counted;
    let before = counted(&pair);
    replay(&mut pair);
    assert_eq!(counted(&pair), before, "old sequence numbers");
    for _ in 0..3 {
        pair.interval(true, false);
        replay(&mut pair);
    }
    assert!(!pair.alive().0, "it is dead, whatever is repeated");
    // Only those sent to the life before: nothing of them is an answer to the new challenge.
    replay(&mut pair);
    assert!(!pair.alive().0);
    for _ in 0..3 {
        pair.interval(true, true);
    }
    assert_eq!(pair.alive(), (true, true), "the true one comes back");
}

/// A rail that starts again before anybody notices has new challenges and low sequence numbers.
#[test]
fn a_quick_restart_is_a_short_death() {
    let mut pair = Pair::met();
    pair.b = Peering::new(&peers("rail-b", B));
    for _ in 0..6 {
        pair.interval(true, true);
    }
    assert_eq!(pair.alive(), (true, true));
    assert_eq!(pair.a.known().next().expect("one").1.deaths, 1);
}

/// A rail that ends in order is missed at once, and met again as soon as it is back.
#[test]
fn a_rail_that_leaves_is_not_waited_for() {
    let mut pair = Pair::met();
    let last = pair.b.leave();
    assert_eq!(last.len(), 1);
    let (from, probe) = (address(B), last[0].1);
    assert!(pair.a.hear(&Heard { from, probe }, pair.now));
    assert!(!pair.alive().0);
    let known = pair.a.known().next().expect("one").1.clone();
    assert_eq!((known.deaths, known.alive), (0, false));
    assert!(!pair.a.hear(&Heard { from, probe }, pair.now), "once more");
    pair.b = Peering::new(&peers("rail-b", B));
    for _ in 0..3 {
        pair.interval(true, true);
    }
    assert_eq!(pair.alive(), (true, true));
    // Its farewell, recorded, says nothing about its new life.
    assert!(!pair.a.hear(&Heard { from, probe }, pair.now));
    assert_eq!(pair.alive(), (true, true));
    // There is nothing to tell somebody who does not hear us.
    assert_eq!(Peering::new(&peers("rail-b", B)).leave(), []);
}

#[test]
fn other_tables_are_seen() {
    let mut pair = Pair::met();
    let differs = |p: &Peering| p.mismatch(p.known().next().expect("one").1);
    assert!(!differs(&pair.a));
    pair.b.set_digest(8);
    pair.interval(true, true);
    assert!(differs(&pair.a));
    pair.a.configure(&peers("rail-a", A));
    pair.a.set_digest(8);
    pair.interval(true, true);
    assert!(!differs(&pair.a) && !differs(&pair.b));
    assert_eq!(pair.alive(), (true, true), "what was known is kept");
}

#[test]
fn a_remote_that_never_answers_is_used_and_one_that_did_is_watched() {
    let remote = format!("[[remote]]\nname = \"far\"\naddress = \"{B}\"\n");
    let mut a = Peering::new(&config("rail-a", A, &remote));
    let mut now = Nanos::from_secs(1);
    for _ in 0..10 {
        now = now + UNKNOWN;
        a.expire(now);
        assert_eq!(a.due(now).len(), 1);
        assert_eq!(a.due(now + INTERVAL).len(), 0, "seldom");
    }
    let far = address(B);
    assert!(a.is_usable(far));
    let challenge = a.known().next().expect("one").1.challenge;
    let probe = ProbeHeader::new(500, 1, 5, challenge, 99);
    assert!(
        !a.hear(&Heard { from: far, probe }, now),
        "it was usable before"
    );
    assert!(
        !a.mismatch(a.known().next().expect("one").1),
        "of another pool"
    );
    assert!(a.expire(now + INTERVAL * 3));
    assert!(!a.is_usable(far));
}

#[test]
fn probes_keep_their_step_and_none_is_made_up_for() {
    let mut a = Peering::new(&peers("rail-a", A));
    let at = |millis: u64| Nanos(0) + Duration::from_millis(millis);
    let sent: Vec<_> = (0..200)
        .map(|tick| tick * 20)
        .filter(|millis| !a.due(at(*millis)).is_empty())
        .collect();
    assert_eq!(sent, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]);
    assert_eq!(a.due(at(60_000)).len(), 1);
    assert_eq!(a.due(at(60_000)).len(), 0);
}
