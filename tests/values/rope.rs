//! The rope against a plain string, and what its operations read and write.

use proptest::prelude::*;
use rustyrail::store::entries::Entries;
use rustyrail::store::merge::{Content, Value, merge_content};
use rustyrail::store::rope::{Rope, RopeRule};
use rustyrail::store::{Kind, MemoryObjects, ObjectId, Objects};

use super::support::{Counting, lines};
use super::text::{bytes, chars, check, content, range, rope};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rope_does_what_a_string_does(
        start in content(),
        edits in prop::collection::vec(((any::<usize>(), 0..700_usize), content()), 0..6),
    ) {
        let objects = MemoryObjects::new();
        let mut model = start;
        let mut rope = rope(&objects, &model);
        let mut versions = Vec::new();
        for (place, new) in edits {
            versions.push((rope.clone(), check(&objects, &rope, &model), model.clone()));
            let range = range(model.chars().count(), place);
            rope.replace(&objects, chars(&range), &new).unwrap();
            model.replace_range(bytes(&model, &range), &new);
        }
        check(&objects, &rope, &model);
        for (version, content, model) in versions {
            prop_assert_eq!(check(&objects, &version, &model), content);
        }
    }

    #[test]
    fn split_and_append_are_those_of_strings(left in content(), right in content(), place: (usize, usize)) {
        let objects = MemoryObjects::new();
        let mut joined = rope(&objects, &left);
        joined.append(&objects, &rope(&objects, &right)).unwrap();
        let model = left + &right;
        check(&objects, &joined, &model);
        let range = range(model.chars().count(), place);
        let part = bytes(&model, &range);
        let (before, after) = joined.split(&objects, range.start as u64).unwrap();
        check(&objects, &before, &model[..part.start]);
        check(&objects, &after, &model[part.start..]);
        check(&objects, &joined.sub(&objects, chars(&range)).unwrap(), &model[part.clone()]);
        prop_assert_eq!(joined.slice(&objects, chars(&range)).unwrap(), &model[part]);
        if let Some(c) = model.chars().nth(range.start) {
            prop_assert_eq!(joined.get(&objects, range.start as u64).unwrap(), c);
            let mut set = joined.clone();
            set.set(&objects, range.start as u64, '!').unwrap();
            let mut model = model;
            let start = bytes(&model, &range).start;
            model.replace_range(start..start + c.len_utf8(), "!");
            check(&objects, &set, &model);
        }
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let objects = MemoryObjects::new();
        let content = Content::blob(bytes);
        if let Ok(rope) = Rope::read(&objects, &content) {
            prop_assert_eq!(rope.write(&objects).unwrap(), content);
        }
    }
}

/// A character a million times, and longer patterns: a few objects, and edits that read a few.
#[test]
fn repetitive_text_is_small_and_quick() {
    for unit in ["a", "ab", "abc", "the same line again and again\n"] {
        let objects = Counting::default();
        let mut long = rope(&objects, unit);
        for _ in 0..20 {
            let half = long.clone();
            long.append(&objects, &half).unwrap();
        }
        assert_eq!(long.len(), (unit.chars().count() as u64) << 20);
        let (content, _, writes) = objects.count(|| long.write(&objects).unwrap());
        assert!(writes < 60, "{writes} writes for {unit:?}");
        let mut edited = Rope::read(&objects, &content).unwrap();
        let ((), reads, _) = objects.count(|| edited.insert(&objects, 333_333, "x").unwrap());
        assert!(reads < 60, "{reads} reads for {unit:?}");
        let (written, _, writes) = objects.count(|| edited.write(&objects).unwrap());
        assert!(writes < 90, "{writes} writes for {unit:?}");
        let mut other = Rope::read(&objects, &content).unwrap();
        other.delete(&objects, 999_990..999_995).unwrap();
        let other = other.write(&objects).unwrap();
        let (merged, reads, _) = objects.count(|| {
            merge_content(&RopeRule, &objects, Some(&content), &written, &other).unwrap()
        });
        assert!(reads < 400, "{reads} reads for {unit:?}");
        let merged = Rope::read(&objects, &merged).unwrap();
        assert_eq!(merged.len(), long.len() + 1 - 5);
        assert_eq!(merged.get(&objects, 333_333).unwrap(), 'x');
        merged.check(&objects).unwrap();
        edited.delete(&objects, 333_333..333_334).unwrap();
        assert_eq!(edited.write(&objects).unwrap(), content);
    }
}

/// Sixteen times the text costs a few rounds of the parse more.
#[test]
fn operations_read_logarithmically() {
    let mut before = None;
    for count in [600, 9_600] {
        let objects = Counting::default();
        let long: String = lines(7, count).concat();
        let content = rope(&objects, &long).write(&objects).unwrap();
        let middle = long.chars().count() as u64 / 2;
        let read = || Rope::read(&objects, &content).unwrap();
        let mut costs = Vec::new();
        let mut cost = |name, work: &dyn Fn()| {
            let ((), reads, writes) = objects.count(work);
            costs.push((name, reads + writes));
        };
        cost("get", &|| drop(read().get(&objects, middle)));
        cost("insert", &|| {
            let mut rope = read();
            rope.insert(&objects, middle, "x").unwrap();
            rope.write(&objects).unwrap();
        });
        cost("delete most", &|| {
            let mut rope = read();
            rope.delete(&objects, 10..2 * middle - 10).unwrap();
            rope.write(&objects).unwrap();
        });
        cost("split", &|| {
            let (left, right) = read().split(&objects, middle + 5).unwrap();
            left.write(&objects).unwrap();
            right.write(&objects).unwrap();
        });
        cost("append", &|| {
            let mut rope = read();
            rope.append(&objects, &read()).unwrap();
            rope.write(&objects).unwrap();
        });
        cost("merge", &|| {
            let (mut ours, mut theirs) = (read(), read());
            ours.insert(&objects, middle, "ours").unwrap();
            theirs.insert(&objects, middle + 100, "theirs").unwrap();
            let (ours, theirs) = (
                ours.write(&objects).unwrap(),
                theirs.write(&objects).unwrap(),
            );
            merge_content(&RopeRule, &objects, Some(&content), &ours, &theirs).unwrap();
        });
        for (at, (name, cost)) in costs.iter().enumerate() {
            assert!(*cost < 700, "{name} takes {cost} objects");
            let smaller = before
                .as_ref()
                .map_or(*cost, |before: &Vec<(&str, u64)>| before[at].1);
            assert!(
                *cost <= 2 * smaller + 40,
                "{name}: {cost} objects, {smaller} for a sixteenth"
            );
        }
        before = Some(costs);
    }
}

/// Trees that say what is not so are refused, by what reads them or by the check; nothing panics.
#[test]
fn wrong_trees_are_refused() {
    let objects = MemoryObjects::new();
    let long: String = lines(3, 200).concat();
    let Content::Tree(root) = rope(&objects, &long).write(&objects).unwrap() else {
        panic!("a long text in a blob");
    };
    let entries = Entries::load(&objects, &root).unwrap();
    let refused = |entries: &Entries| {
        let content = Content::Tree(entries.store(&objects).unwrap());
        let rope = Rope::read(&objects, &content);
        if let Ok(mut rope) = rope.clone() {
            drop(rope.slice(&objects, 0..rope.len().min(10_000)));
            drop(rope.insert(&objects, rope.len() / 2, "x"));
        }
        rope.and_then(|rope| rope.check(&objects)).is_err()
    };
    assert!(!refused(&entries));
    assert!(refused(&Entries::new()));
    for entry in entries.iter() {
        let mut fields: Vec<&str> = entry.name.split(',').collect();
        let (chars, height): (u64, u64) = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
        let check = |name: &str, id| {
            let mut changed = entries.clone();
            changed.remove(entry.name);
            changed.insert(name, entry.mode, id);
            assert!(refused(&changed), "{name}");
        };
        check(entry.name, ObjectId::of(Kind::Blob, b"absent"));
        check(
            entry.name,
            objects.put(entry.mode.kind(), b"other").unwrap(),
        );
        check(&format!("{},x2", entry.name), entry.id);
        for chars in [0, chars - 1, chars + 1, u64::MAX] {
            check(&format!("{},{chars},{height}", fields[0]), entry.id);
        }
        for height in [0, height - 1, height + 1, 1000] {
            check(&format!("{},{chars},{height}", fields[0]), entry.id);
        }
        fields[0] = "00000999";
        check(&fields.join(","), entry.id);
    }
}
