//! The counter: what each node added and took away. Counts of different nodes add up, so two sides that
//! both count one more make two more.

use std::collections::BTreeMap;

use super::super::error::StoreError;
use super::super::merge::{Content, MergeError, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::stamp::Node;
use super::text::{self, Text};

/// The type's name.
pub const NAME: &str = "counter";

/// What one node counted. Both only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    up: u64,
    down: u64,
}

/// Ups and downs per node. Text: a line `<node> +<up> -<down>` for each node that counted anything,
/// in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// No count in here is zero both ways.
    nodes: BTreeMap<Node, Count>,
}

impl Counter {
    /// Zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ups less downs, of all nodes.
    pub fn value(&self) -> i128 {
        let sum =
            |total: i128, count: &Count| total + i128::from(count.up) - i128::from(count.down);
        self.nodes.values().fold(0, sum)
    }

    /// Counts up, or down if `by` is negative, in the name of `node`. A node's ups and downs each stop at
    /// `u64::MAX`.
    pub fn add(&mut self, node: &Node, by: i64) {
        if by == 0 {
            return;
        }
        let count = self.nodes.entry(node.clone()).or_default();
        let side = if by > 0 {
            &mut count.up
        } else {
            &mut count.down
        };
        *side = side.saturating_add(by.unsigned_abs());
    }

    fn count(&self, node: &Node) -> Count {
        self.nodes.get(node).copied().unwrap_or_default()
    }
}

/// A node's counts grow on that node alone, so of two that both moved on the higher has seen the lower.
fn merge_count(base: Count, ours: Count, theirs: Count) -> Count {
    if ours == base {
        theirs
    } else if theirs == base {
        ours
    } else {
        Count {
            up: ours.up.max(theirs.up),
            down: ours.down.max(theirs.down),
        }
    }
}

impl Text for Counter {
    fn parse(text: &str) -> Result<Self, String> {
        let mut nodes = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let (node, count) =
                parse_line(line).map_err(|detail| format!("line {}: {detail}", index + 1))?;
            nodes.insert(node, count);
        }
        nodes.retain(|_, count| *count != Count::default());
        Ok(Self { nodes })
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for (node, Count { up, down }) in &self.nodes {
            text.push_str(&format!("{node} +{up} -{down}\n"));
        }
        text
    }
}

fn parse_line(line: &str) -> Result<(Node, Count), String> {
    let number = |text: Option<&str>, sign| text?.strip_prefix(sign)?.parse::<u64>().ok();
    let mut words = line.split(' ');
    let node = words.next().unwrap_or_default().parse()?;
    match (
        number(words.next(), '+'),
        number(words.next(), '-'),
        words.next(),
    ) {
        (Some(up), Some(down), None) => Ok((node, Count { up, down })),
        _ => Err(format!("{line:?} is not of the form \"node +1 -0\"")),
    }
}

impl Value for Counter {
    fn tag() -> TypeTag {
        super::tag(NAME, Vec::new())
    }

    fn read(_: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        text::read(NAME, content)
    }

    fn write(&self, _: &dyn Objects) -> Result<Content, StoreError> {
        Ok(text::write(self))
    }

    fn merge(
        _: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        let mut nodes = BTreeMap::new();
        for node in ours.nodes.keys().chain(theirs.nodes.keys()) {
            let base = base.map(|base| base.count(node)).unwrap_or_default();
            let count = merge_count(base, ours.count(node), theirs.count(node));
            if count != Count::default() {
                nodes.insert(node.clone(), count);
            }
        }
        Ok(Self { nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;

    fn counter(counts: &[(&str, i64)]) -> Counter {
        let mut counter = Counter::new();
        for (node, by) in counts {
            counter.add(&node.parse().unwrap(), *by);
        }
        counter
    }

    #[test]
    fn both_at_one_more_make_two_more() {
        let objects = MemoryObjects::new();
        let base = counter(&[("a", 3), ("b", -1)]);
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        ours.add(&"a".parse().unwrap(), 1);
        theirs.add(&"b".parse().unwrap(), 1);
        let merged = Counter::merge(&objects, Some(&base), &ours, &theirs).unwrap();
        assert_eq!((base.value(), merged.value()), (2, 4));
    }

    #[test]
    fn lines_that_people_can_read() {
        let text = "rail-a +3 -1\nrail-b +0 -2\n";
        assert_eq!(
            counter(&[("rail-b", -2), ("rail-a", 3), ("rail-a", -1)]).print(),
            text
        );
        assert_eq!(counter(&[("a", 0)]), Counter::new());
        for bad in [
            "a +0 -0\n",
            "b +1 -0\na +1 -0\n",
            "a +1 -0\na +1 -0\n",
            "a +1 -0",
            "a +01 -0\n",
            "a +1\n",
            "a +1 -0 \n",
            "A +1 -0\n",
            "a +18446744073709551616 -0\n",
        ] {
            assert!(
                text::read::<Counter>(NAME, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn counts_stop_at_their_limit() {
        let mut full = counter(&[]);
        let node = "a".parse().unwrap();
        for _ in 0..4 {
            full.add(&node, i64::MAX);
        }
        full.add(&node, i64::MIN);
        assert_eq!(full.value(), i128::from(u64::MAX) - (1 << 63));
    }
}
