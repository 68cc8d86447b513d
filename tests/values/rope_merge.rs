//! Merges of ropes against what was done to strings.

use proptest::prelude::*;
use rustyrail::store::merge::{Authors, MergeError, Value, merge_content, merge_content_by};
use rustyrail::store::rope::{Rope, RopeRule};
use rustyrail::store::{MemoryObjects, Objects};

use super::support::lines;
use super::text::{bytes, check, content, range, rope, text};

/// What a side does to one line.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, String),
    Delete(usize, usize),
    Replace(usize, usize, String),
}

fn edit() -> impl Strategy<Value = Edit> {
    let text = || "[A-Z]{1,40}";
    prop_oneof![
        (any::<usize>(), text()).prop_map(|(at, text)| Edit::Insert(at, text)),
        (any::<usize>(), 1..30_usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        (any::<usize>(), 1..30_usize, text())
            .prop_map(|(at, count, text)| Edit::Replace(at, count, text)),
    ]
}

fn apply(line: &str, edit: &Edit) -> String {
    let (place, new) = match edit {
        Edit::Insert(at, text) => ((*at, 0), text.as_str()),
        Edit::Delete(at, count) => ((*at, *count), ""),
        Edit::Replace(at, count, text) => ((*at, *count), text.as_str()),
    };
    let mut line = line.to_owned();
    let range = range(line.chars().count(), place);
    line.replace_range(bytes(&line, &range), new);
    line
}

/// Merges, in both orders of the sides, which must come to the same.
fn merge(
    objects: &dyn Objects,
    base: Option<&str>,
    ours: &str,
    theirs: &str,
) -> Result<String, String> {
    let [base, ours, theirs] = [base, Some(ours), Some(theirs)]
        .map(|side| side.map(|side| rope(objects, side).write(objects).unwrap()));
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let merge = |ours, theirs| match merge_content(&RopeRule, objects, base.as_ref(), ours, theirs)
    {
        Ok(content) => {
            let merged = Rope::read(objects, &content).unwrap();
            let text = text(objects, &merged);
            assert_eq!(check(objects, &merged, &text), content);
            Ok(text)
        }
        Err(MergeError::Conflict(conflict)) => Err(conflict.reason),
        Err(MergeError::Store(error)) => panic!("{error}"),
    };
    let merged = merge(&ours, &theirs);
    assert_eq!(merge(&theirs, &ours), merged);
    merged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each side edits lines of its own, with untouched lines between.
    #[test]
    fn edits_of_different_places_both_apply(
        seed: u64,
        edits in prop::collection::vec((edit(), 0..3_usize), 0..40),
    ) {
        let objects = MemoryObjects::new();
        let base = lines(seed, 2 * edits.len());
        let (mut ours, mut theirs, mut both) = (base.clone(), base.clone(), base.clone());
        for (at, (edit, side)) in edits.iter().enumerate() {
            let new = apply(&base[2 * at], edit);
            let sides: &mut [&mut Vec<String>] = match side {
                0 => &mut [&mut ours, &mut both],
                1 => &mut [&mut theirs, &mut both],
                _ => &mut [&mut ours, &mut theirs, &mut both],
            };
            for side in sides {
                side[2 * at].clone_from(&new);
            }
        }
        let merged = merge(&objects, Some(&base.concat()), &ours.concat(), &theirs.concat());
        prop_assert_eq!(merged, Ok(both.concat()));
    }

    /// The rule itself, which the library asks only where both sides differ from the base.
    #[test]
    fn edits_that_were_found_lead_from_one_text_to_the_other(base in content(), side in content()) {
        let objects = MemoryObjects::new();
        let (base, side) = (rope(&objects, &base), rope(&objects, &side));
        let merged = Rope::merge(&objects, Some(&base), &side, &base).unwrap();
        prop_assert_eq!(text(&objects, &merged), text(&objects, &side));
    }

    /// Whatever the texts: the same in both orders, or the same conflict, which `merge` checks.
    #[test]
    fn merge_is_symmetric(
        base in content(),
        places in prop::collection::vec(((any::<usize>(), 0..50_usize), "[a-d]{0,20}"), 2..8),
        has_base: bool,
    ) {
        let objects = MemoryObjects::new();
        let mut sides = [base.clone(), base.clone()];
        for (at, (place, new)) in places.iter().enumerate() {
            let side = &mut sides[at % 2];
            let range = range(side.chars().count(), *place);
            side.replace_range(bytes(side, &range), new);
        }
        let [ours, theirs] = sides;
        let merged = merge(&objects, has_base.then_some(&base), &ours, &theirs);
        prop_assert!(has_base || merged.is_ok());
    }

}

#[test]
fn one_place_and_overlaps() {
    let objects = MemoryObjects::new();
    let check = |base: &str, ours: &str, theirs: &str, merged: Result<&str, &str>| {
        let merged = merged.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(
            merge(&objects, Some(base), ours, theirs),
            merged,
            "{ours:?} {theirs:?}"
        );
    };
    let base = "The quick brown fox jumps.";
    check(
        base,
        "The very quick brown fox jumps.",
        "The quick brown fox jumps high.",
        Ok("The very quick brown fox jumps high."),
    );
    check(
        base,
        "The quick brown fox jumps.\nb",
        "The quick brown fox jumps.\na",
        Ok("The quick brown fox jumps.\na\nb"),
    );
    check(
        base,
        "The quick fox jumps.",
        "The quick fox jumps.!",
        Ok("The quick fox jumps.!"),
    );
    check(
        base,
        "The slow brown fox jumps.",
        "The fast brown fox jumps.",
        Err("both sides changed characters 4 to 9 of the text they had in common"),
    );
    check(
        base,
        "The fox jumps.",
        "The quick brown-red fox jumps.",
        Err("both sides changed characters 4 to 16 of the text they had in common"),
    );
    check(
        base,
        "The brown fox jumps.",
        "The quick fox jumps.",
        Ok("The fox jumps."),
    );
    check("", "b", "a", Ok("ab"));
    check("x", "", "xa", Ok("a"));
}

#[test]
fn inserts_at_one_place_stand_in_node_order() {
    let objects = MemoryObjects::new();
    let [base, ours, theirs] =
        ["12", "1a2", "1b2"].map(|text| rope(&objects, text).write(&objects).unwrap());
    let merge = |our_node, their_node| {
        let authors = Authors {
            ours: our_node,
            theirs: their_node,
        };
        let merged =
            merge_content_by(&RopeRule, &objects, authors, Some(&base), &ours, &theirs).unwrap();
        let turned = merge_content_by(
            &RopeRule,
            &objects,
            authors.turned(),
            Some(&base),
            &theirs,
            &ours,
        )
        .unwrap();
        assert_eq!(merged, turned);
        text(&objects, &Rope::read(&objects, &merged).unwrap())
    };
    assert_eq!(merge(Some("rail-a"), Some("rail-b")), "1ab2");
    assert_eq!(merge(Some("rail-b"), Some("rail-a")), "1ba2");
    assert_eq!(merge(Some("rail-a"), Some("rail-a")), "1ab2");
    assert_eq!(merge(Some("rail-b"), None), "1ab2");
}

/// Two nodes that each begin a text have no base: what they have in common stands once.
#[test]
fn without_a_base_common_text_stands_once() {
    let objects = MemoryObjects::new();
    let check = |ours: &str, theirs: &str, merged: &str| {
        assert_eq!(merge(&objects, None, ours, theirs).as_deref(), Ok(merged));
    };
    check("b\n", "a\n", "a\nb\n");
    let title = "The outage of May\n";
    check(
        &format!("{title}b\n"),
        &format!("{title}a\n"),
        &format!("{title}a\nb\n"),
    );
    let ours = format!("ours\n{title}1\n{title}2\n");
    let theirs = format!("theirs\n{title}1\n{title}3\n");
    check(
        &ours,
        &theirs,
        &format!("ours\ntheirs\n{title}1\n{title}2\n3\n"),
    );
    check("", "x", "x");
}
