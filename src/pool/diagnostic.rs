//! What is wrong with a configuration file, and where in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Severity;

/// A finding about a configuration file.
///
/// Its `Display` form is one line: `FILE:LINE:COLUMN: SEVERITY: MESSAGE (help: WAY OUT)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the file is refused for it.
    pub severity: Severity,
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Where in the file; `None` if the file could not be read at all.
    pub location: Option<Location>,
    /// What is wrong; names the thing.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// The other place, if two contradict each other, and what that one is.
    pub also: Option<(Location, &'static str)>,
    /// The whole text of the file, for showing the line.
    pub source: Option<Arc<str>>,
}

impl Diagnostic {
    /// An error of a file as a whole.
    pub fn of_file(file: &str, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            location: None,
            message,
            help: None,
            also: None,
            source: None,
        }
    }

    /// A warning about a file as a whole.
    pub fn warning_of_file(file: &str, message: String) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::of_file(file, message)
        }
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes that are meant.
    pub span: Range<usize>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(location) = &self.location {
            write!(f, "{location}:")?;
        }
        write!(f, " {}: {}", self.severity, self.message)?;
        if let Some((location, label)) = &self.also {
            write!(f, " ({}:{location}: {label})", self.file)?;
        }
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Where the lines of a text begin, so that a byte offset becomes line and column.
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the lines of `text`.
    pub fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// The place of `span`. A span beyond the end, or one that cuts a character, is moved back.
    pub fn locate(&self, span: &Range<usize>) -> Location {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.starts.partition_point(|line| *line <= start);
        let column = self.text[self.starts[line - 1]..start].chars().count() + 1;
        Location {
            line,
            column,
            span: start..end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let lines = Lines::new("ab\n\u{e9}\u{e9}x\n\nend");
        let place = |start| lines.locate(&(start..start + 1)).to_string();
        assert_eq!(place(0), "1:1");
        assert_eq!(place(2), "1:3");
        assert_eq!(place(3), "2:1");
        assert_eq!(place(7), "2:3");
        assert_eq!(place(9), "3:1");
        assert_eq!(place(10), "4:1");
        assert_eq!(place(99), "4:4");
        assert_eq!(Lines::new("").locate(&(0..0)).to_string(), "1:1");
    }

    #[test]
    fn one_line() {
        let location = Location {
            line: 3,
            column: 8,
            span: 20..25,
        };
        let other = Location {
            line: 1,
            column: 2,
            span: 1..2,
        };
        let mut diagnostic = Diagnostic {
            severity: Severity::Error,
            file: "rail.toml".into(),
            location: Some(location),
            message: "what".to_owned(),
            help: Some("way out".to_owned()),
            also: Some((other, "first")),
            source: None,
        };
        let line = "rail.toml:3:8: error: what (rail.toml:1:2: first) (help: way out)";
        assert_eq!(diagnostic.to_string(), line);
        diagnostic.location = None;
        diagnostic.also = None;
        diagnostic.help = None;
        diagnostic.severity = Severity::Warning;
        assert_eq!(diagnostic.to_string(), "rail.toml: warning: what");
    }
}
