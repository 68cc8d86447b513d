//! The canonical text of values: lines that `git show` prints and `git diff` compares.
//!
//! A value's text is a function of the value, so equal values are equal blobs; and what is not exactly the text of a
//! value is refused, so two readers never see one value in two blobs. [`read`] checks that by
//! encoding what it decoded.
//!
//! Bytes that would not survive a line are escaped: `\\`, `\n`, `\t`, `\r`, `\xHH` for other control characters and for
//! what is not UTF-8, `\x20` for a space at either end, and `\e` for no bytes at all. A value inside
//! another stands behind its key in one of three forms, by what its own text is:
//!
//! ```text
//! key text          one line
//! key               several lines, indented by two spaces
//!   first line
//!   second line
//! key \text         anything else, escaped
//! ```

use std::iter::Peekable;
use std::str::Lines;

use super::super::error::StoreError;
use super::super::merge::Content;

/// What stands before each line of a value inside another.
const INDENT: &str = "  ";

/// A type whose values are text in one blob.
pub trait Text: Sized {
    /// Reads the text. May accept more than [`print`](Self::print) writes; the error says what is wrong, and in which line.
    fn parse(text: &str) -> Result<Self, String>;

    /// The canonical text.
    fn print(&self) -> String;
}

/// Decodes a value of the type `type_name`, and refuses a blob that is not exactly its canonical text.
pub fn read<T: Text>(type_name: &str, content: &Content) -> Result<T, StoreError> {
    let error = |detail: String| StoreError::value(type_name, detail);
    let bytes = content
        .as_blob()
        .ok_or_else(|| error("it is a directory, not a file".to_owned()))?;
    let text = std::str::from_utf8(bytes)
        .map_err(|utf8| error(format!("byte {} is not UTF-8", utf8.valid_up_to())))?;
    let value = T::parse(text).map_err(error)?;
    match difference(text, &value.print()) {
        None => Ok(value),
        Some(detail) => Err(error(detail)),
    }
}

/// The blob of a value.
pub fn write<T: Text>(value: &T) -> Content {
    Content::blob(value.print().into_bytes())
}

/// Where a text departs from the canonical one, or `None` if they are equal.
fn difference(text: &str, canonical: &str) -> Option<String> {
    if text == canonical {
        return None;
    }
    let mut lines = text.split('\n').zip(canonical.split('\n')).enumerate();
    Some(match lines.find(|(_, (found, wanted))| found != wanted) {
        Some((index, (found, wanted))) => format!(
            "line {} is {found:?} where the canonical form has {wanted:?}",
            index + 1
        ),
        None => "it is longer or shorter than its canonical form".to_owned(),
    })
}

/// Bytes as one piece of a line.
pub fn escape(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "\\e".to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => {
                    escape_bytes(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text)
                }
                c => text.push(c),
            }
        }
        escape_bytes(chunk.invalid(), &mut text);
    }
    if text.ends_with(' ') {
        text.pop();
        text.push_str("\\x20");
    }
    if text.starts_with(' ') {
        text.replace_range(..1, "\\x20");
    }
    text
}

/// Bytes as a piece of a line without a space in it.
pub fn escape_word(bytes: &[u8]) -> String {
    escape(bytes).replace(' ', "\\x20")
}

fn escape_bytes(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push_str("\\x");
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
}

/// What [`escape`] and [`escape_word`] undo.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let wrong = || format!("{:?} is no escape", format!("\\{escaped}"));
        let mut chars = escaped.chars();
        match chars.next().ok_or_else(wrong)? {
            '\\' => bytes.push(b'\\'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'e' => {}
            'x' => {
                let mut digit = || chars.next().and_then(|c| c.to_digit(16)).ok_or_else(wrong);
                bytes.push((digit()? << 4 | digit()?) as u8);
            }
            _ => return Err(wrong()),
        }
        rest = chars.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// [`unescape`] for what must be UTF-8.
pub fn unescape_string(text: &str) -> Result<String, String> {
    String::from_utf8(unescape(text)?).map_err(|_| format!("{text:?} is not UTF-8"))
}

/// Appends a key and the content of the value behind it, in one of the three forms.
pub fn print_entry(out: &mut String, key: &str, value: &[u8]) {
    out.push_str(&escape_word(key.as_bytes()));
    let clean = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.strip_suffix('\n'))
        .filter(|text| !text.contains(|c: char| c.is_control() && c != '\n'));
    match clean {
        Some(text) if text.contains('\n') => {
            for line in text.split('\n') {
                out.push('\n');
                out.push_str(INDENT);
                out.push_str(line);
            }
        }
        Some(text) if !text.starts_with('\\') => {
            out.push(' ');
            out.push_str(text);
        }
        _ => {
            out.push_str(" \\");
            out.push_str(&escape(value));
        }
    }
    out.push('\n');
}

/// The entries of a text that [`print_entry`] wrote.
pub struct EntryReader<'a> {
    lines: Peekable<Lines<'a>>,
}

impl<'a> EntryReader<'a> {
    /// Reads entries from this text.
    pub fn new(text: &'a str) -> Self {
        Self {
            lines: text.lines().peekable(),
        }
    }
}

impl Iterator for EntryReader<'_> {
    type Item = Result<(String, Vec<u8>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        let (key, value) = match line.split_once(' ') {
            Some((key, value)) => match value.strip_prefix('\\') {
                Some(escaped) => (key, unescape(escaped)),
                None => (key, Ok(format!("{value}\n").into_bytes())),
            },
            None => {
                let mut text = String::new();
                while let Some(inner) = self.lines.peek().and_then(|line| line.strip_prefix(INDENT))
                {
                    text.push_str(inner);
                    text.push('\n');
                    self.lines.next();
                }
                (line, Ok(text.into_bytes()))
            }
        };
        Some(unescape_string(key).and_then(|key| Ok((key, value?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_those_of_the_module() {
        let check = |bytes: &[u8], text: &str| {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).as_deref(), Ok(bytes));
        };
        check(b"", "\\e");
        check(b"plain text", "plain text");
        check(" \u{e9}\u{4e2d} ".as_bytes(), "\\x20\u{e9}\u{4e2d}\\x20");
        check(b" ", "\\x20");
        check(b"a\\b\nc\td\re\0\x7f", "a\\\\b\\nc\\td\\re\\x00\\x7f");
        check(b"\xff\xc3", "\\xff\\xc3");
        assert_eq!(escape_word(b"a b"), "a\\x20b");
        for bad in ["\\", "\\q", "\\x", "\\x1", "\\xg0"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_take_the_form_their_value_needs() {
        let check = |value: &[u8], text: &str| {
            let mut out = String::new();
            print_entry(&mut out, "a key", value);
            assert_eq!(out, text);
            let entries: Vec<_> = EntryReader::new(&out).collect();
            assert_eq!(entries, [Ok(("a key".to_owned(), value.to_vec()))]);
        };
        check(b"one line\n", "a\\x20key one line\n");
        check(b"two\nlines\n", "a\\x20key\n  two\n  lines\n");
        check(b"\n\n", "a\\x20key\n  \n  \n");
        check(b"\n", "a\\x20key \n");
        check(b"no end", "a\\x20key \\no end\n");
        check(b"\\start\n", "a\\x20key \\\\\\start\\n\n");
        check(b"", "a\\x20key \\\\e\n");
    }

    proptest! {
        #[test]
        fn any_entries_read_back(entries in prop::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..5)) {
            let mut text = String::new();
            for (key, value) in &entries {
                print_entry(&mut text, key, value);
            }
            let read: Result<Vec<_>, _> = EntryReader::new(&text).collect();
            prop_assert_eq!(read, Ok(entries));
        }

        #[test]
        fn a_line_never_breaks(bytes: Vec<u8>) {
            let text = escape(&bytes);
            prop_assert!(!text.contains(char::is_control) && !text.is_empty());
            prop_assert_eq!(text.trim_matches(' '), &text);
            prop_assert_eq!(unescape(&text), Ok(bytes));
        }
    }
}
