//! Elements of a queue, and where groups of them end.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher24;

use super::super::value::Stamp;
use super::super::value::text;

/// An element ends a group of level 1 if this many low bits of its hash are zero: groups of 32 elements on average.
const LEAF_BITS: u32 = 5;

/// It ends one of each further level for this many zero bits more: 16 members on average.
const LEVEL_BITS: u32 = 4;

/// What was pushed, and by whom and when. Queues are ordered by stamp; no two elements have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub stamp: Stamp,
    pub payload: Arc<[u8]>,
}

impl Element {
    /// The line it is in a blob.
    pub fn print(&self, out: &mut String) {
        out.push_str(&self.stamp.to_string());
        out.push(' ');
        out.push_str(&text::escape(&self.payload));
        out.push('\n');
    }

    fn parse(line: &str) -> Result<Self, String> {
        let (stamp, payload) = line
            .split_once(' ')
            .ok_or_else(|| format!("{line:?} is not a stamp, a space and a payload"))?;
        Ok(Self {
            stamp: stamp.parse()?,
            payload: text::unescape(payload)?.into(),
        })
    }
}

/// The highest level of which a stamp ends a group; 0 for most.
///
/// It depends on the stamp alone, so whether a group ends at an element has nothing to do with its
/// neighbours, with how the queue came to be, or with where it is.
pub fn level(stamp: &Stamp) -> usize {
    // The key is zero because everybody must find the same groups. Whoever wants long groups can find stamps
    // that give them, and makes the queue that he may write to slow, not wrong.
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(&stamp.time.get().to_le_bytes());
    hasher.write(&stamp.sequence().to_le_bytes());
    hasher.write(stamp.node.as_str().as_bytes());
    let zeros = hasher.finish().trailing_zeros();
    match zeros.checked_sub(LEAF_BITS) {
        None => 0,
        Some(more) => 1 + (more / LEVEL_BITS) as usize,
    }
}

/// The text of elements: a line each.
pub fn print<'a>(elements: impl IntoIterator<Item = &'a Element>) -> String {
    let mut out = String::new();
    for element in elements {
        element.print(&mut out);
    }
    out
}

/// The elements in a text, which must be exactly what [`print`] writes for them, in order.
pub fn parse(bytes: &[u8]) -> Result<Vec<Element>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let elements: Vec<Element> = text.lines().map(Element::parse).collect::<Result<_, _>>()?;
    if let Some(pair) = elements
        .windows(2)
        .find(|pair| pair[0].stamp >= pair[1].stamp)
    {
        return Err(format!("{} is out of order", pair[1].stamp));
    }
    if print(&elements) != text {
        return Err("a line is not in its canonical form".to_owned());
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::value::Millis;

    fn stamp(sequence: u32) -> Stamp {
        Stamp::new(Millis::default(), "a".parse().unwrap(), sequence).unwrap()
    }

    #[test]
    fn groups_end_as_often_as_intended() {
        let total = 100_000;
        let levels: Vec<usize> = (0..total).map(|sequence| level(&stamp(sequence))).collect();
        let share = |least| levels.iter().filter(|&&level| level >= least).count();
        // The expected numbers are 3125, 195 and 12; the limits are five standard deviations away.
        assert!((2850..3400).contains(&share(1)), "{}", share(1));
        assert!((125..265).contains(&share(2)), "{}", share(2));
        assert!(share(3) < 30, "{}", share(3));
    }

    #[test]
    fn text_is_strict() {
        let elements: Vec<_> = (0..3)
            .map(|sequence| Element {
                stamp: stamp(sequence),
                payload: format!("job {sequence}\n").into_bytes().into(),
            })
            .collect();
        let text = print(&elements);
        assert!(text.starts_with("19700101T000000.000Z,a,000000 job 0\\n\n"));
        assert_eq!(parse(text.as_bytes()), Ok(elements));
        let line = "19700101T000000.000Z,a,000001 x\n";
        for bad in [
            line.trim_end(),
            &line.repeat(2),
            "x\n",
            &text[1..],
            &line.replace('x', "\\x78"),
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
