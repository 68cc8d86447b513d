//! Laws that hold for every type: what a merge of one value must be, whatever the value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;

use rustyrail::store::merge::{Content, MergeError, Value, merge_content};
use rustyrail::store::queue::Queue;
use rustyrail::store::rope::Rope;
use rustyrail::store::value::{Clock, Counter, Expiring, ExpiringMap, Register};
use rustyrail::store::{MemoryObjects, Objects, Registry, Store};

use super::support::{at, clock, node};

/// One step of a replica: what to do is up to the type.
type Edit = u8;

/// A type under test.
trait Subject: Value + Clone + Debug {
    /// Whether any two changes can be united.
    const NEVER_CONFLICTS: bool;

    /// What all replicas begin with.
    fn start(objects: &dyn Objects) -> Self;

    /// A change by replica number `replica`, its `step`th.
    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit);
}

/// Times of different steps differ, those of different replicas may be equal.
fn time(step: u64) -> rustyrail::store::value::Millis {
    at(1_000 + step)
}

impl Subject for Vec<u8> {
    const NEVER_CONFLICTS: bool = false;

    fn start(_: &dyn Objects) -> Self {
        b"start".to_vec()
    }

    fn edit(&mut self, _: &dyn Objects, _: usize, _: u64, edit: Edit) {
        *self = vec![edit % 4];
    }
}

impl Subject for Register {
    const NEVER_CONFLICTS: bool = true;

    fn start(_: &dyn Objects) -> Self {
        Register::new(&mut clock(9), at(0), b"start").unwrap()
    }

    fn edit(&mut self, _: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        let mut clock = clock(replica);
        self.overwrite(&mut clock, time(step), &[edit]).unwrap();
    }
}

impl Subject for Counter {
    const NEVER_CONFLICTS: bool = true;

    fn start(_: &dyn Objects) -> Self {
        Counter::new()
    }

    fn edit(&mut self, _: &dyn Objects, replica: usize, _: u64, edit: Edit) {
        self.add(&node(replica), i64::from(edit % 7) - 3);
    }
}

/// Elements that are removed were there from the start, those that are added were not: an element that goes and
/// comes again depends on the order of pulling, as the type says.
impl Subject for BTreeSet<String> {
    const NEVER_CONFLICTS: bool = true;

    fn start(_: &dyn Objects) -> Self {
        (0..8).map(|number| format!("old {number}")).collect()
    }

    fn edit(&mut self, _: &dyn Objects, _: usize, _: u64, edit: Edit) {
        if edit.is_multiple_of(2) {
            self.insert(format!("new {}", edit % 16));
        } else {
            self.remove(&format!("old {}", edit % 8));
        }
    }
}

impl Subject for Expiring {
    const NEVER_CONFLICTS: bool = true;

    fn start(_: &dyn Objects) -> Self {
        Expiring {
            expiry: at(0),
            value: Vec::new(),
        }
    }

    fn edit(&mut self, _: &dyn Objects, _: usize, step: u64, edit: Edit) {
        let expiry = self.expiry.max(time(step + u64::from(edit % 3)));
        *self = Expiring {
            expiry,
            value: vec![edit],
        };
    }
}

impl Subject for ExpiringMap {
    const NEVER_CONFLICTS: bool = true;

    fn start(objects: &dyn Objects) -> Self {
        let entries = (0..8).map(|key| (format!("old {key}"), Expiring::start(objects)));
        ExpiringMap {
            entries: entries.collect(),
        }
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        if edit.is_multiple_of(4) {
            self.entries.remove(&format!("old {}", edit % 8));
        } else {
            let key = format!("new {}", edit % 5);
            let entry = self
                .entries
                .entry(key)
                .or_insert_with(|| Expiring::start(objects));
            entry.edit(objects, replica, step, edit);
        }
    }
}

/// A key that one side removes while the other changes it is a conflict.
impl Subject for BTreeMap<String, Counter> {
    const NEVER_CONFLICTS: bool = false;

    fn start(_: &dyn Objects) -> Self {
        let mut counter = Counter::new();
        counter.add(&node(9), 5);
        (0..4)
            .map(|key| (key.to_string(), counter.clone()))
            .collect()
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        let key = (edit % 6).to_string();
        if edit % 8 == 7 {
            self.remove(&key);
        } else {
            self.entry(key)
                .or_default()
                .edit(objects, replica, step, edit);
        }
    }
}

impl Subject for Option<Counter> {
    const NEVER_CONFLICTS: bool = false;

    fn start(_: &dyn Objects) -> Self {
        Some(Counter::new())
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        if edit % 8 == 7 {
            *self = None;
        } else {
            let counter = self.get_or_insert_with(Counter::new);
            counter.edit(objects, replica, step, edit);
        }
    }
}

impl Subject for (Counter, BTreeSet<String>) {
    const NEVER_CONFLICTS: bool = true;

    fn start(objects: &dyn Objects) -> Self {
        (Counter::start(objects), BTreeSet::start(objects))
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        if edit < 128 {
            self.0.edit(objects, replica, step, edit);
        } else {
            self.1.edit(objects, replica, step, edit);
        }
    }
}

impl Subject for Queue {
    const NEVER_CONFLICTS: bool = true;

    fn start(_: &dyn Objects) -> Self {
        let mut queue = Queue::new();
        let mut clock = clock(9);
        for number in 0..5 {
            queue
                .push(&mut clock, at(number), &[b'a' + number as u8])
                .unwrap();
        }
        queue
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, step: u64, edit: Edit) {
        if edit.is_multiple_of(3) {
            self.pop(objects).unwrap();
        } else {
            let mut clock: Clock = clock(replica);
            let payload = format!("{replica} {step}");
            self.push(&mut clock, time(step), payload.as_bytes())
                .unwrap();
        }
    }
}

impl Subject for Rope {
    const NEVER_CONFLICTS: bool = false;

    fn start(objects: &dyn Objects) -> Self {
        Rope::from_text(objects, "the quick brown fox jumps over the lazy dog\n").unwrap()
    }

    fn edit(&mut self, objects: &dyn Objects, replica: usize, _: u64, edit: Edit) {
        let place = u64::from(edit) % (self.len() + 1);
        if edit.is_multiple_of(3) {
            let end = self.len().min(place + 3);
            self.delete(objects, place..end).unwrap();
        } else {
            self.insert(objects, place, &replica.to_string()).unwrap();
        }
    }
}

/// A merge, with a conflict's reason instead of the conflict.
fn merge<T: Subject>(
    objects: &dyn Objects,
    base: &Content,
    ours: &Content,
    theirs: &Content,
) -> Result<Content, String> {
    let rule = Registry::standard().rule(&T::tag()).unwrap();
    merge_content(&*rule, objects, Some(base), ours, theirs).map_err(|error| match error {
        MergeError::Conflict(conflict) => conflict.reason,
        MergeError::Store(error) => panic!("{error}"),
    })
}

/// The laws, for what three replicas made of one start.
fn check<T: Subject>(edits: &[Vec<Edit>; 3]) {
    let objects = MemoryObjects::new();
    let base = T::start(&objects);
    let o = base.write(&objects).unwrap();
    let sides: Vec<Content> = (0..)
        .zip(edits)
        .map(|(replica, edits)| {
            let mut value = base.clone();
            for (step, edit) in (0..).zip(edits) {
                value.edit(&objects, replica, step, *edit);
            }
            let content = value.write(&objects).unwrap();
            // What is written reads as the same value: it is written the same.
            let read = T::read(&objects, &content).unwrap();
            assert_eq!(read.write(&objects).unwrap(), content);
            content
        })
        .collect();
    let m =
        |base: &Content, ours: &Content, theirs: &Content| merge::<T>(&objects, base, ours, theirs);
    for x in &sides {
        assert_eq!(m(&o, &o, x).as_ref(), Ok(x));
        assert_eq!(m(&o, x, &o).as_ref(), Ok(x));
        assert_eq!(m(&o, x, x).as_ref(), Ok(x), "the same change is made once");
    }
    let (a, b) = (&sides[0], &sides[1]);
    let merged = m(&o, a, b);
    assert_eq!(merged, m(&o, b, a));
    if let Ok(merged) = &merged {
        // Whoever has merged gains nothing by merging again.
        assert_eq!(m(a, merged, a).as_ref(), Ok(merged));
        assert_eq!(m(b, b, merged).as_ref(), Ok(merged));
    }
    if !T::NEVER_CONFLICTS {
        return;
    }
    let mut orders = Vec::new();
    for [x, y, z] in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let two = m(&o, &sides[x], &sides[y]).unwrap();
        orders.push(m(&o, &two, &sides[z]).unwrap());
        // The other two may have met before: their merge is then one side.
        let others = m(&o, &sides[y], &sides[z]).unwrap();
        orders.push(m(&o, &sides[x], &others).unwrap());
    }
    assert!(orders.iter().all(|value| *value == orders[0]), "{edits:?}");
}

fn edits() -> impl Strategy<Value = [Vec<Edit>; 3]> {
    let side = || prop::collection::vec(any::<Edit>(), 0..12);
    [side(), side(), side()]
}

macro_rules! laws {
    ($($name:ident: $type:ty,)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(128))]
            $(#[test] fn $name(edits in edits()) { check::<$type>(&edits); })*
        }
    };
}

laws! {
    plain: Vec<u8>,
    register: Register,
    counter: Counter,
    set: BTreeSet<String>,
    expiring: Expiring,
    expiring_map: ExpiringMap,
    map: BTreeMap<String, Counter>,
    option: Option<Counter>,
    pair: (Counter, BTreeSet<String>),
    queue: Queue,
    rope: Rope,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Three replicas count, pop and push, and pull from each other whenever it occurs to them. When all have pulled
    /// from all, they are at one commit, no count is lost or doubled, and what was popped does not return.
    #[test]
    fn replicas_that_pull_in_any_order_agree(steps in prop::collection::vec((0..3_usize, 0..6_u8), 1..40)) {
        let store = Store::in_memory().unwrap();
        let names = ["main", "two", "three"].map(|name| store.branch(&name.parse().unwrap()));
        let info = |replica: usize, step: u64| {
            let author = rustyrail::store::Signature::new(&format!("rail-{replica}"), "", 1_000_000 + step as i64);
            rustyrail::store::Info { author, message: "step".to_owned() }
        };
        let [count, jobs] = ["count", "jobs"].map(|path| path.parse().unwrap());
        let (mut expected, mut pushed, mut popped) = (0_i128, BTreeSet::new(), BTreeSet::new());
        let first = names[0].update(&info(0, 0), |tree, source| {
            tree.write_value(source, &count, &Counter::new())?;
            tree.write_value(source, &jobs, &Queue::new())
        }).unwrap().head;
        for other in &names[1..] {
            other.reset(None, first).unwrap();
        }
        for (step, (replica, what)) in (1..).zip(steps) {
            let branch = &names[replica];
            if what < 2 {
                let other = &names[(replica + 1 + usize::from(what)) % 3];
                branch.merge(&other.head().unwrap().unwrap()).unwrap();
                continue;
            }
            branch.update(&info(replica, step), |tree, source| {
                let mut counter: Counter = tree.read(source, &count)?.unwrap();
                counter.add(&node(replica), 1);
                tree.write_value(source, &count, &counter)?;
                let mut queue: Queue = tree.read(source, &jobs)?.unwrap();
                if what == 2 {
                    popped.extend(queue.pop(source)?.map(|element| element.stamp));
                } else {
                    pushed.insert(queue.push(&mut clock(replica), time(step), b"job")?);
                }
                tree.write_value(source, &jobs, &queue)
            }).unwrap();
            expected += 1;
        }
        for (ours, theirs) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            names[ours].merge(&names[theirs].head().unwrap().unwrap()).unwrap();
        }
        let heads = names.each_ref().map(|branch| branch.head().unwrap());
        prop_assert_eq!(heads[0], heads[1]);
        prop_assert_eq!(heads[0], heads[2]);
        let view = names[0].view().unwrap();
        let counter: Counter = view.read(&count).unwrap().unwrap();
        prop_assert_eq!(counter.value(), expected);
        let queue: Queue = view.read(&jobs).unwrap().unwrap();
        let left: BTreeSet<_> = queue.iter(view.source()).map(|element| element.unwrap().stamp).collect();
        prop_assert_eq!(left, pushed.difference(&popped).cloned().collect::<BTreeSet<_>>());
    }
}

#[test]
fn two_counters_that_both_count_one_make_two() {
    let objects = MemoryObjects::new();
    let o = Counter::new().write(&objects).unwrap();
    let sides = [0, 1].map(|replica| {
        let mut counter = Counter::new();
        counter.add(&node(replica), 1);
        counter.write(&objects).unwrap()
    });
    let merged = merge::<Counter>(&objects, &o, &sides[0], &sides[1]).unwrap();
    assert_eq!(Counter::read(&objects, &merged).unwrap().value(), 2);
}
