//! The register: one value, and the stamp of who wrote it and when. The later write stands.

use super::super::error::StoreError;
use super::super::merge::{Content, MergeError, Value};
use super::super::object::Objects;
use super::super::types::TypeTag;
use super::stamp::{Clock, EndOfTime, Millis, Stamp};
use super::text::{self, Text};

/// The type's name.
pub const NAME: &str = "register";

/// A value and the stamp it was written with. Text: `<stamp> <escaped value>`, one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    // The order of the fields is the order of registers: stamp first, the value only where stamps are equal, which
    // is so only if two nodes share a name.
    stamp: Stamp,
    value: Vec<u8>,
}

impl Register {
    /// The first write.
    pub fn new(clock: &mut Clock, now: Millis, value: &[u8]) -> Result<Self, EndOfTime> {
        Ok(Self {
            stamp: clock.stamp(now)?,
            value: value.to_vec(),
        })
    }

    /// A write over this one: its stamp is above this one's, whatever the wall clock says.
    pub fn overwrite(
        &mut self,
        clock: &mut Clock,
        now: Millis,
        value: &[u8],
    ) -> Result<(), EndOfTime> {
        clock.observe(&self.stamp);
        *self = Self::new(clock, now, value)?;
        Ok(())
    }

    /// What was written.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// When, and by whom.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

impl Text for Register {
    fn parse(text: &str) -> Result<Self, String> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let (stamp, value) = line
            .split_once(' ')
            .ok_or("it is not a stamp, a space and a value")?;
        Ok(Self {
            stamp: stamp.parse()?,
            value: text::unescape(value)?,
        })
    }

    fn print(&self) -> String {
        format!("{} {}\n", self.stamp, text::escape(&self.value))
    }
}

impl Value for Register {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(name: &str) -> Clock {
        Clock::new(name.parse().unwrap())
    }

    fn at(millis: u64) -> Millis {
        Millis::new(millis).unwrap()
    }

    #[test]
    fn a_write_is_above_what_it_overwrites_though_its_clock_is_behind() {
        let mut register = Register::new(&mut clock("b"), at(5000), b"first").unwrap();
        let first = register.stamp().clone();
        register
            .overwrite(&mut clock("a"), at(10), b"second")
            .unwrap();
        assert!(register.stamp() > &first);
        assert_eq!(register.value(), b"second");
    }

    #[test]
    fn one_line_that_people_can_read() {
        let register = Register::new(&mut clock("rail-a"), at(1_779_789_600_123), b"up\n").unwrap();
        let text = "20260526T100000.123Z,rail-a,000000 up\\n\n";
        assert_eq!(register.print(), text);
        let read: Register = text::read(NAME, &Content::blob(text.as_bytes())).unwrap();
        assert_eq!(read, register);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bad in [
            "",
            "20260526T100000.123Z,rail-a,000000",
            "20260526T100000.123Z,rail-a,000000 up",
            "20260526T100000.123Z,rail-a,000000  up\n",
            "20260526T100000.123Z,rail-a,000000 u\\x70\n",
            "20260526T100000.123Z,rail-a,000000 up\n\n",
        ] {
            assert!(
                text::read::<Register>(NAME, &Content::blob(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
    }
}
