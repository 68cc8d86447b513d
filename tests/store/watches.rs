//! Watches: scopes, order, completeness.

use std::collections::BTreeMap;
use std::time::Duration;

use rustyrail::store::diff::Change;
use rustyrail::store::{Event, Scope, Watch};

use super::fixture::*;

fn drain(watch: &mut Watch) -> Vec<Event> {
    std::iter::from_fn(|| watch.poll().unwrap()).collect()
}

fn line(event: &Event) -> String {
    let sign = match event.change {
        Change::Added(_) => '+',
        Change::Removed(_) => '-',
        Change::Updated { .. } => '~',
    };
    format!("{sign}{}:{}", event.branch, event.path)
}

fn lines(watch: &mut Watch) -> Vec<String> {
    drain(watch).iter().map(line).collect()
}

pub fn every_state_is_reported(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "a", "1");
    let mut watch = store.watch(Scope::Branch(branch("main"))).unwrap();
    assert!(watch.next(Duration::ZERO).unwrap().is_none());
    set(&main, "a", "2");
    set(&main, "a", "1");
    set(&main, "b", "1");
    main.remove(&path("a"), &info("remove")).unwrap();
    let events = drain(&mut watch);
    let all: Vec<_> = events.iter().map(line).collect();
    assert_eq!(all, ["~main:a", "~main:a", "+main:b", "-main:a"]);
    assert!(events.iter().all(|event| !event.coalesced));
    assert_eq!(events.last().unwrap().head, main.head().unwrap());
}

pub fn scopes_select(fixture: &Fixture) {
    let store = fixture.store();
    let (main, node) = (store.main(), store.branch(&branch("node/a")));
    let subtree = |at| Scope::Subtree(branch("main"), path(at));
    let mut all = store.watch(Scope::All).unwrap();
    let mut services = store.watch(subtree("services")).unwrap();
    let mut value = store.watch(subtree("services/web/port")).unwrap();
    set(&main, "services/web/port", "443");
    set(&main, "services/web/vip", "x");
    set(&main, "peers/b", "y");
    set(&node, "health", "up");
    assert_eq!(lines(&mut value), ["+main:services/web/port"]);
    assert_eq!(
        lines(&mut services),
        ["+main:services/web/port", "+main:services/web/vip"]
    );
    assert_eq!(lines(&mut all).len(), 4);
    assert!(node.reset(node.head().unwrap(), None).unwrap());
    assert_eq!(lines(&mut all), ["-node/a:health"]);
    let waiting = std::thread::spawn(move || value.next(Duration::from_secs(60)).unwrap());
    set(&main, "services/web/port", "444");
    assert_eq!(
        line(&waiting.join().unwrap().unwrap()),
        "~main:services/web/port"
    );
}

pub fn a_slow_watch_is_told_that_states_are_missing(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "a", "-");
    let mut watch = store.watch(Scope::All).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..11 {
            let main = &main;
            scope.spawn(move || {
                for number in 0..100 {
                    set(main, "a", &format!("{writer}.{number}"));
                }
            });
        }
    });
    let events = drain(&mut watch);
    assert!(events[0].coalesced);
    assert!(events[1..].iter().all(|event| !event.coalesced));
    assert!(events.len() > 1000 && events.len() < 1100);
    assert_eq!(events.last().unwrap().head, main.head().unwrap());
}

/// Many threads change the branch; a watch that applies all events ends with the same state.
pub fn events_applied_in_order_give_the_state(fixture: &Fixture) {
    let store = fixture.store();
    let main = store.main();
    set(&main, "base", "1");
    let mut copy: BTreeMap<String, String> = BTreeMap::from([("base".into(), "1".into())]);
    let mut watch = store.watch(Scope::All).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let main = &main;
            scope.spawn(move || {
                for round in 0..20 {
                    let mut transaction = main.begin().unwrap();
                    let at = path(&format!("{writer}/{}", round % 3));
                    if round % 5 == 4 {
                        transaction.remove(&at).unwrap();
                    } else {
                        transaction.set(&at, &leaf(&round.to_string())).unwrap();
                    }
                    transaction.commit(&info("change")).unwrap();
                }
            });
        }
    });
    for event in drain(&mut watch) {
        let at = event.path.to_string();
        let view = store.at(&event.head.unwrap()).unwrap();
        match event.change {
            Change::Added(_) => assert_eq!(copy.insert(at.clone(), text(&view, &at)), None),
            Change::Updated { .. } => assert!(copy.insert(at.clone(), text(&view, &at)).is_some()),
            Change::Removed(_) => assert!(copy.remove(&at).is_some()),
        }
        assert!(!event.coalesced);
    }
    let mut copied: Vec<String> = copy
        .iter()
        .map(|(at, text)| format!("{at}={text}"))
        .collect();
    copied.sort();
    let mut real = state(&main);
    real.sort();
    assert_eq!(copied, real);
}
