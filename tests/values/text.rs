//! Ropes beside the strings they stand for.

use std::ops::Range;

use proptest::prelude::*;
use rustyrail::store::Objects;
use rustyrail::store::merge::{Content, Value};
use rustyrail::store::rope::Rope;

pub fn rope(objects: &dyn Objects, text: &str) -> Rope {
    Rope::from_text(objects, text).unwrap()
}

pub fn text(objects: &dyn Objects, rope: &Rope) -> String {
    rope.slice(objects, 0..rope.len()).unwrap()
}

/// Checks that a rope is this text, in the one form it has, and that it reads back.
pub fn check(objects: &dyn Objects, edited: &Rope, model: &str) -> Content {
    assert_eq!(edited.len(), model.chars().count() as u64);
    assert_eq!(text(objects, edited), model);
    let content = edited.write(objects).unwrap();
    assert_eq!(content, rope(objects, model).write(objects).unwrap());
    let read = Rope::read(objects, &content).unwrap();
    read.check(objects).unwrap();
    assert_eq!(text(objects, &read), model);
    content
}

/// Text of all kinds: varied, of few letters, repetitive, and with characters of several bytes.
pub fn content() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z \n]{0,2000}",
        "[ab]{0,1500}",
        "[\u{e9}\u{4e2d}\u{1f600}x]{0,800}",
        ("[a-c]{1,7}", 0..800_usize).prop_map(|(unit, count)| unit.repeat(count)),
        ("[a-z]{1,300}", 0..20_usize, "[a-z]{0,9}", 0..20_usize)
            .prop_map(|(a, m, b, n)| a.repeat(m) + &b + &a.repeat(n)),
        Just(String::new()),
    ]
}

/// A part of a text, by two numbers that a test made up.
pub fn range(length: usize, (at, count): (usize, usize)) -> Range<usize> {
    let start = at % (length + 1);
    start..start + count % (length - start + 1)
}

/// The bytes of a range of characters.
pub fn bytes(text: &str, range: &Range<usize>) -> Range<usize> {
    let position = |at| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    position(range.start)..position(range.end)
}

pub fn chars(range: &Range<usize>) -> Range<u64> {
    range.start as u64..range.end as u64
}
