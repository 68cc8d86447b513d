//! The queue against a sorted map, and what its operations read and write.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rustyrail::store::merge::{Content, MergeError, Typed, Value, merge_content};
use rustyrail::store::queue::{Element, Queue};
use rustyrail::store::value::Stamp;
use rustyrail::store::{MemoryObjects, Objects};

use super::support::{Counting, at, clock, stamp};

/// What a queue is, without structure.
type Model = BTreeMap<Stamp, Vec<u8>>;

fn elements(objects: &dyn Objects, queue: &Queue) -> Model {
    let element = |element: Element| (element.stamp, element.payload.to_vec());
    queue
        .iter(objects)
        .map(|next| element(next.unwrap()))
        .collect()
}

/// A queue of these elements, pushed one after the other.
fn queue(model: &Model) -> Queue {
    let mut queue = Queue::new();
    for (stamp, payload) in model {
        queue.push_stamped(stamp.clone(), payload).unwrap();
    }
    queue
}

/// The queue as whoever reads it from the store has it.
fn stored(objects: &dyn Objects, queue: &Queue) -> Queue {
    let content = queue.write(objects).unwrap();
    Queue::read(objects, &content).unwrap()
}

/// Checks that a queue holds these elements, in the one form they have, and that it reads back.
fn check(objects: &dyn Objects, queue_: &Queue, model: &Model) -> Content {
    let content = queue_.write(objects).unwrap();
    assert_eq!(content, queue(model).write(objects).unwrap());
    let read = Queue::read(objects, &content).unwrap();
    read.check(objects).unwrap();
    assert_eq!(&elements(objects, &read), model);
    assert_eq!(&elements(objects, queue_), model);
    assert_eq!(queue_.len(), model.len() as u64);
    assert_eq!(queue_.last(), model.keys().next_back());
    let first = queue_.peek(objects).unwrap().map(|element| element.stamp);
    assert_eq!(first.as_ref(), model.keys().next());
    content
}

fn merge(objects: &dyn Objects, base: &Queue, ours: &Queue, theirs: &Queue) -> Queue {
    let [base, ours, theirs] = [base, ours, theirs].map(|queue| queue.write(objects).unwrap());
    let merged =
        merge_content(&Typed::<Queue>::new(), objects, Some(&base), &ours, &theirs).unwrap();
    Queue::read(objects, &merged).unwrap()
}

fn merge_models(base: &Model, ours: &Model, theirs: &Model) -> Model {
    let all = ours.iter().chain(theirs);
    let stays = |(stamp, _): &(&Stamp, &Vec<u8>)| {
        ours.contains_key(stamp) && theirs.contains_key(stamp) || !base.contains_key(stamp)
    };
    let own = |(stamp, payload): (&Stamp, &Vec<u8>)| (stamp.clone(), payload.clone());
    all.filter(stays).map(own).collect()
}

/// What a replica does to its queue.
#[derive(Clone, Debug)]
enum Work {
    /// So many pushes, at intervals of so many milliseconds.
    Push(usize, u64),
    Pop(usize),
}

fn work(most: usize) -> impl Strategy<Value = Vec<Work>> {
    let one = prop_oneof![
        (1..most, 0..5_u64).prop_map(|(count, interval)| Work::Push(count, interval)),
        (1..most).prop_map(Work::Pop),
    ];
    prop::collection::vec(one, 0..6)
}

/// Does it as node number `index`, to a queue and to its model.
fn apply(objects: &dyn Objects, index: usize, work: &[Work], queue: &mut Queue, model: &mut Model) {
    let mut clock = clock(index);
    let mut now = queue.last().map_or(0, |last| last.time.get());
    for one in work {
        match *one {
            Work::Push(count, interval) => {
                for _ in 0..count {
                    now += interval;
                    let payload = format!("{index} at {now}").into_bytes();
                    let stamp = queue.push(&mut clock, at(now), &payload).unwrap();
                    model.insert(stamp, payload);
                }
            }
            Work::Pop(count) => {
                for _ in 0..count {
                    let popped = queue.pop(objects).unwrap();
                    let wanted = model.pop_first();
                    assert_eq!(
                        popped.map(|element| (element.stamp, element.payload.to_vec())),
                        wanted
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn queue_does_what_the_model_does(work in work(400)) {
        let objects = MemoryObjects::new();
        let (mut queue, mut model) = (Queue::new(), Model::new());
        apply(&objects, 0, &work, &mut queue, &mut model);
        check(&objects, &queue, &model);
    }

    /// Every prefix of the work is a version that stays as it was.
    #[test]
    fn versions_persist(work in work(200)) {
        let objects = MemoryObjects::new();
        let (mut queue, mut model) = (Queue::new(), Model::new());
        let mut versions = Vec::new();
        for one in &work {
            versions.push((queue.clone(), queue.write(&objects).unwrap(), model.clone()));
            apply(&objects, 0, std::slice::from_ref(one), &mut queue, &mut model);
        }
        for (version, content, model) in versions {
            prop_assert_eq!(&check(&objects, &version, &model), &content);
        }
    }

    #[test]
    fn merge_pops_and_pushes_once(start in work(300), ours in work(300), theirs in work(300)) {
        let objects = MemoryObjects::new();
        let (mut base, mut base_model) = (Queue::new(), Model::new());
        apply(&objects, 0, &start, &mut base, &mut base_model);
        let (mut left, mut left_model) = (base.clone(), base_model.clone());
        apply(&objects, 1, &ours, &mut left, &mut left_model);
        let (mut right, mut right_model) = (base.clone(), base_model.clone());
        apply(&objects, 2, &theirs, &mut right, &mut right_model);
        let merged = merge(&objects, &base, &left, &right);
        let content = check(&objects, &merged, &merge_models(&base_model, &left_model, &right_model));
        let turned = merge(&objects, &base, &right, &left);
        prop_assert_eq!(turned.write(&objects).unwrap(), content);
    }

    /// Any sets of elements, also such as no pushes and pops lead to.
    #[test]
    fn merge_is_that_of_sets(
        seen in prop::collection::vec((0..500_u64, 0..3_usize, 0..8_u8), 0..400),
        stretch in prop::collection::vec((0..300_u64, 0..300_u64), 3),
    ) {
        let objects = MemoryObjects::new();
        let mut models = [const { Model::new() }; 3];
        for (millis, index, sides) in seen {
            for (bit, model) in models.iter_mut().enumerate() {
                if sides >> bit & 1 == 1 {
                    model.insert(stamp(millis, index, 0), b"x".to_vec());
                }
            }
        }
        // Long stretches that two or three have in common, so that there are groups to be shared.
        for (at, (from, length)) in stretch.into_iter().enumerate() {
            for millis in from..from + length {
                for model in models.iter_mut().skip(at % 2) {
                    model.insert(stamp(millis, 3, 0), b"y".to_vec());
                }
            }
        }
        let [base, ours, theirs] = &models;
        let queues = models.each_ref().map(queue);
        let merged = merge(&objects, &queues[0], &queues[1], &queues[2]);
        check(&objects, &merged, &merge_models(base, ours, theirs));
    }

    #[test]
    fn decoding_never_panics_and_takes_only_canonical_text(
        lines in prop::collection::vec("[0-9TZ,. a-b\\\\x\n]{0,40}", 0..3),
    ) {
        let objects = MemoryObjects::new();
        let content = Content::blob(lines.concat().into_bytes());
        if let Ok(queue) = Queue::read(&objects, &content) {
            prop_assert_eq!(queue.write(&objects).unwrap(), content);
        }
    }
}

/// A queue of `count` elements by one node, a millisecond apart, from `from` on.
fn long(from: u64, count: u64) -> Queue {
    let mut queue = Queue::new();
    for millis in from..from + count {
        queue.push_stamped(stamp(millis, 0, 0), b"job").unwrap();
    }
    queue
}

#[test]
fn two_payloads_under_one_stamp_conflict() {
    let objects = MemoryObjects::new();
    let [one, other] = ["one", "other"].map(|payload| {
        let mut queue = Queue::new();
        queue
            .push_stamped(stamp(1, 0, 0), payload.as_bytes())
            .unwrap();
        queue
    });
    let merged = Queue::merge(&objects, None, &one, &other);
    assert!(matches!(merged, Err(MergeError::Conflict(_))), "{merged:?}");
}

#[test]
fn wrong_pushes_are_refused_and_change_nothing() {
    let objects = MemoryObjects::new();
    let mut queue = long(10, 3);
    let before = queue.write(&objects).unwrap();
    assert!(queue.push_stamped(stamp(12, 0, 0), b"again").is_err());
    assert!(queue.push_stamped(stamp(11, 1, 0), b"below").is_err());
    let large = vec![0; rustyrail::store::queue::MAX_PAYLOAD + 1];
    assert!(queue.push_stamped(stamp(20, 0, 0), &large).is_err());
    assert_eq!(queue.write(&objects).unwrap(), before);
}

/// A short queue is a file, a long one a directory, and neither may be dressed up as the other or be cut elsewhere.
#[test]
fn other_forms_of_the_same_elements_are_refused() {
    use rustyrail::store::entries::{Entries, Mode};
    use rustyrail::store::{Kind, ObjectId};
    let objects = MemoryObjects::new();
    let short = long(0, 3).write(&objects).unwrap();
    let text = short.as_blob().unwrap();
    let tree = |names: &[&str]| {
        let mut entries = Entries::new();
        for name in names {
            entries.insert(name, Mode::File, objects.put(Kind::Blob, text).unwrap());
        }
        Content::Tree(entries.store(&objects).unwrap())
    };
    for names in [
        &["front0"][..],
        &["rear0"],
        &["front0", "rear0"],
        &["x"],
        &["front1,x,3"],
        &["rear99"],
        &[],
    ] {
        assert!(Queue::read(&objects, &tree(names)).is_err(), "{names:?}");
    }
    let long = long(0, 2000);
    let lines = long
        .iter(&objects)
        .map(|element| format!("{} job\n", element.unwrap().stamp));
    let blob = Content::blob(lines.collect::<String>().into_bytes());
    assert!(Queue::read(&objects, &blob).is_err());
    let Content::Tree(root) = long.write(&objects).unwrap() else {
        panic!("2000 elements in a blob");
    };
    let entries = Entries::load(&objects, &root).unwrap();
    let absent = ObjectId::of(Kind::Blob, b"absent");
    for entry in entries.iter() {
        let mut without = entries.clone();
        without.remove(entry.name);
        let missing = Queue::read(&objects, &Content::Tree(without.store(&objects).unwrap()));
        assert!(missing.is_err() || missing.unwrap().check(&objects).is_ok());
        let mut broken = entries.clone();
        broken.insert(entry.name, entry.mode, absent);
        let broken = Queue::read(&objects, &Content::Tree(broken.store(&objects).unwrap()));
        assert!(broken.and_then(|queue| queue.check(&objects)).is_err());
    }
}

/// Amortised O(1): the average over many operations does not depend on how many there are.
#[test]
fn push_and_pop_read_and_write_a_group_now_and_then() {
    for count in [4_000, 16_000] {
        let objects = Counting::default();
        let mut queue = long(0, count);
        let (content, reads, writes) = objects.count(|| queue.write(&objects).unwrap());
        assert!(
            reads + writes < count / 10,
            "{writes} writes for {count} pushes"
        );
        let (_, reads, writes) = objects.count(|| {
            queue.push_stamped(stamp(count, 0, 0), b"job").unwrap();
            queue.write(&objects).unwrap()
        });
        assert!(
            reads < 200 && writes < 8,
            "{reads} reads, {writes} writes for another one"
        );
        let mut queue = Queue::read(&objects, &content).unwrap();
        let (_, reads, writes) = objects.count(|| while queue.pop(&objects).unwrap().is_some() {});
        assert_eq!(writes, 0);
        assert!(reads < count / 20, "{reads} reads for {count} pops");
        assert!(queue.is_empty());
    }
}

/// One side's pushes all come after the other's: reads and writes grow with the logarithm, a step for each factor of 16.
#[test]
fn merge_of_one_run_reads_logarithmically() {
    let mut reads_before = None;
    for count in [1_000_u64, 16_000, 256_000] {
        let objects = Counting::default();
        let base = long(0, count);
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        for step in 0..count / 2 {
            ours.push_stamped(stamp(count + step, 0, 0), b"job")
                .unwrap();
            theirs
                .push_stamped(stamp(2 * count + step, 1, 0), b"job")
                .unwrap();
        }
        for _ in 0..count / 3 {
            ours.pop(&objects).unwrap();
        }
        for _ in 0..count / 2 {
            theirs.pop(&objects).unwrap();
        }
        let [base, ours, theirs] = [base, ours, theirs].map(|queue| stored(&objects, &queue));
        let (merged, reads, writes) = objects.count(|| merge(&objects, &base, &ours, &theirs));
        assert_eq!(merged.len(), count - count / 2 + count);
        assert!(writes < 40, "{writes} writes for {count} elements");
        assert!(reads < 40, "{reads} reads for {count} elements");
        if let Some(before) = reads_before {
            assert!(
                reads <= before + 8,
                "{reads} reads for {count} elements, {before} for a sixteenth"
            );
        }
        reads_before = Some(reads);
        merged.check(&objects).unwrap();
    }
}

/// r runs on each side: as many times the cost of one.
#[test]
fn merge_of_many_runs_reads_in_proportion_to_them() {
    let count = 64_000;
    let mut costs = Vec::new();
    for runs in [1, 8, 64] {
        let objects = Counting::default();
        let [ours, theirs] = [0, 1].map(|side| {
            let mut queue = Queue::new();
            for millis in (0..count).filter(|millis| millis * runs / count % 2 == side) {
                queue
                    .push_stamped(stamp(millis, side as usize, 0), b"job")
                    .unwrap();
            }
            stored(&objects, &queue)
        });
        let (merged, reads, _) =
            objects.count(|| Queue::merge(&objects, None, &ours, &theirs).unwrap());
        assert_eq!(merged.len(), count);
        costs.push(reads);
    }
    assert!(costs[1] <= costs[0] + 8 * 20, "{costs:?}");
    assert!(costs[2] <= costs[0] + 64 * 20, "{costs:?}");
}
