//! A rule that a configuration breaks, and where, in terms of the types rather than of a file.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted, but does something that is rarely meant.
    Warning,
}

impl Severity {
    /// The word of messages and of `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What part of a configuration a finding is about. Numbers are indices into the vectors of
/// [`Config`](super::Config) and [`Draft`](super::Draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// The file as a whole.
    File,
    /// `[node]`
    Node,
    /// `[dpdk]`
    Dpdk,
    /// `[tunnel]`
    Tunnel,
    /// `[timeouts]`
    Timeouts,
    /// `[limits]`
    Limits,
    /// `[pool]`
    Pool,
    /// A `[[port]]`.
    Port(usize),
    /// A `[[neighbor]]`.
    Neighbor(usize),
    /// A `[[peer]]`.
    Peer(usize),
    /// A `[[remote]]`.
    Remote(usize),
    /// A `[[service]]`.
    Service(usize),
    /// A `[[service.backend]]`: the service, then the backend in it.
    Backend(usize, usize),
}

/// A key of an item, or the item itself if the key is empty; an element of its array if there is
/// a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The table of the file.
    pub item: Item,
    /// The key in that table, as the configuration file spells it.
    pub key: &'static str,
    /// The element of the array the key holds.
    pub element: Option<usize>,
}

impl Place {
    /// The key of an item.
    pub const fn new(item: Item, key: &'static str) -> Self {
        Self {
            item,
            key,
            element: None,
        }
    }

    /// One element of an array.
    pub const fn element(item: Item, key: &'static str, element: usize) -> Self {
        Self {
            item,
            key,
            element: Some(element),
        }
    }
}

/// A broken rule: what is wrong, where, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Whether it can be lived with.
    pub severity: Severity,
    /// Where it is.
    pub at: Place,
    /// The other place, if two contradict each other, and what that one is.
    pub also: Option<(Place, &'static str)>,
    /// What is wrong; names the thing.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl Violation {
    /// A finding that refuses the configuration.
    pub fn error(at: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            at,
            also: None,
            message: message.into(),
            help: None,
        }
    }

    /// A finding that does not.
    pub fn warning(at: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(at, message)
        }
    }

    /// Adds the way out.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Adds the other place, and what it is in a few words.
    pub fn also(self, at: Place, label: &'static str) -> Self {
        Self {
            also: Some((at, label)),
            ..self
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}
