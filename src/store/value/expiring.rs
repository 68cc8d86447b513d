//! Values that count until a point in time: the later expiry stands, and of two with the same expiry the larger
//! value. Merging never conflicts and needs no clock; to drop what has expired is up to whoever has one.

use std::collections::BTreeMap;

use super::super::error::StoreError;
use super::super::merge::{Content, MergeError, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::stamp::Millis;
use super::text::{self, Text};

/// The name of the type of one entry.
pub const NAME: &str = "expiring";

/// The name of the type of a map of them.
pub const MAP_NAME: &str = "expiring-map";

/// A value and when it expires; ordered by expiry, then value. Text: `<time> <escaped value>`, one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiring {
    pub expiry: Millis,
    pub value: Vec<u8>,
}

impl Expiring {
    /// The value, unless it has expired.
    pub fn at(&self, now: Millis) -> Option<&[u8]> {
        (now < self.expiry).then_some(self.value.as_slice())
    }
}

/// Entries that expire one by one. Text: a line `<escaped key> <time> <escaped value>` for each, in the
/// order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiringMap {
    pub entries: BTreeMap<String, Expiring>,
}

impl ExpiringMap {
    /// The value of a key, unless it has expired.
    pub fn get(&self, key: &str, now: Millis) -> Option<&[u8]> {
        self.entries.get(key)?.at(now)
    }

    /// Drops what has expired, and says how many entries that were.
    pub fn expire(&mut self, now: Millis) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now < entry.expiry);
        before - self.entries.len()
    }
}

impl Text for Expiring {
    fn parse(text: &str) -> Result<Self, String> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let (expiry, value) = line
            .split_once(' ')
            .ok_or_else(|| format!("{line:?} is not a time, a space and a value"))?;
        Ok(Self {
            expiry: expiry.parse()?,
            value: text::unescape(value)?,
        })
    }

    fn print(&self) -> String {
        format!("{} {}\n", self.expiry, text::escape(&self.value))
    }
}

impl Text for ExpiringMap {
    fn parse(text: &str) -> Result<Self, String> {
        let entry = |(index, line): (usize, &str)| {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            let entry =
                text::unescape_string(key).and_then(|key| Ok((key, Expiring::parse(rest)?)));
            entry.map_err(|detail| format!("line {}: {detail}", index + 1))
        };
        let entries = text
            .lines()
            .enumerate()
            .map(entry)
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for (key, entry) in &self.entries {
            text.push_str(&format!(
                "{} {}",
                text::escape_word(key.as_bytes()),
                entry.print()
            ));
        }
        text
    }
}

impl Value for Expiring {
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
        _: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        Ok(ours.max(theirs).clone())
    }
}

impl Value for ExpiringMap {
    fn tag() -> TypeTag {
        super::tag(MAP_NAME, Vec::new())
    }

    fn read(_: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        text::read(MAP_NAME, content)
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
        let mut entries = BTreeMap::new();
        for key in ours.entries.keys().chain(theirs.entries.keys()) {
            let base = base.and_then(|base| base.entries.get(key));
            let sides = (ours.entries.get(key), theirs.entries.get(key));
            // An absent entry is one that expired before all others, so a removal that meets a change loses by the
            // same rule as an earlier expiry.
            let merged = match sides {
                (ours, theirs) if theirs == base => ours,
                (ours, theirs) if ours == base => theirs,
                (ours, theirs) => ours.max(theirs),
            };
            if let Some(entry) = merged {
                entries.insert(key.clone(), entry.clone());
            }
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::MemoryObjects;

    fn at(millis: u64) -> Millis {
        Millis::new(millis).unwrap()
    }

    fn map(entries: &[(&str, u64, &str)]) -> ExpiringMap {
        let entry = |&(key, expiry, value): &(&str, u64, &str)| {
            let value = value.as_bytes().to_vec();
            (
                key.to_owned(),
                Expiring {
                    expiry: at(expiry),
                    value,
                },
            )
        };
        ExpiringMap {
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn the_later_expiry_stands_then_the_larger_value() {
        let base = map(&[
            ("moved", 60, "m"),
            ("kept", 60, "m"),
            ("dropped", 60, "m"),
            ("refreshed", 60, "m"),
        ]);
        let ours = map(&[
            ("moved", 80, "a"),
            ("kept", 60, "m"),
            ("refreshed", 70, "m"),
            ("new", 90, "a"),
        ]);
        let theirs = map(&[
            ("moved", 70, "z"),
            ("kept", 60, "m"),
            ("dropped", 60, "m"),
            ("new", 90, "z"),
        ]);
        let wanted = map(&[
            ("moved", 80, "a"),
            ("kept", 60, "m"),
            ("refreshed", 70, "m"),
            ("new", 90, "z"),
        ]);
        let objects = MemoryObjects::new();
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            assert_eq!(
                Value::merge(&objects, Some(&base), ours, theirs).unwrap(),
                wanted
            );
        }
    }

    #[test]
    fn an_entry_counts_until_its_expiry() {
        let mut neighbors = map(&[
            ("192.0.2.1", 60, "02:00:00:00:00:01"),
            ("192.0.2.2", 90, "x"),
        ]);
        assert_eq!(
            neighbors.get("192.0.2.1", at(59)),
            Some(b"02:00:00:00:00:01".as_slice())
        );
        assert_eq!(neighbors.get("192.0.2.1", at(60)), None);
        assert_eq!((neighbors.expire(at(60)), neighbors.entries.len()), (1, 1));
    }

    #[test]
    fn lines_that_people_can_read() {
        let text = "192.0.2.1 20260526T100000.123Z 02:00:00:00:00:01\n";
        assert_eq!(
            map(&[("192.0.2.1", 1_779_789_600_123, "02:00:00:00:00:01")]).print(),
            text
        );
        for bad in [
            &text[..text.len() - 1],
            "a\n",
            "a b c\n",
            &format!("{text}{text}"),
            "\n",
        ] {
            assert!(
                text::read::<ExpiringMap>(MAP_NAME, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
