//! [`Name`]: what rails, services, backends, peers and ports are called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: one DNS label, so that a name fits wherever host names do.
pub const MAX_NAME_LEN: usize = 63;

/// A name: `[a-z0-9][a-z0-9._-]{0,62}`, not ending in `.lock`.
///
/// Names are path elements in the store and Prometheus label values, so a valid name needs no
/// escaping in either. They order by their bytes, which is the order in which backends take turns
/// in a Maglev table. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a string is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The string is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The string has more than [`MAX_NAME_LEN`] bytes.
    #[error("a name has at most {MAX_NAME_LEN} bytes")]
    TooLong,
    /// The first character is not a lower-case letter or a digit.
    #[error("a name starts with a lower-case letter or a digit, not with {0:?}")]
    BadStart(char),
    /// A later character is outside `[a-z0-9._-]`.
    #[error("a name holds only a-z, 0-9, '.', '_' and '-', not {0:?}")]
    BadCharacter(char),
    /// The name ends in `.lock`, which Git keeps for its lock files.
    #[error("a name cannot end in \".lock\": Git keeps that ending for its lock files")]
    Lock,
}

impl Name {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if !matches!(first, 'a'..='z' | '0'..='9') {
            return Err(NameError::BadStart(first));
        }
        let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        if let Some(bad) = text.chars().find(|c| !allowed(c)) {
            return Err(NameError::BadCharacter(bad));
        }
        if text.len() > MAX_NAME_LEN {
            return Err(NameError::TooLong);
        }
        if text.ends_with(".lock") {
            return Err(NameError::Lock);
        }
        Ok(Self(text.into()))
    }

    /// Whether the name can be part of a Git reference, as the name of a rail is in its branch
    /// `node/<name>`: Git allows neither a dot at the end nor two in a row (git-check-ref-format).
    pub fn fits_git_reference(&self) -> bool {
        !self.0.ends_with('.') && !self.0.contains("..")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_wrong_with_others() {
        let long = "a".repeat(MAX_NAME_LEN);
        let too_long = "a".repeat(MAX_NAME_LEN + 1);
        let cases: &[(&str, Result<(), NameError>)] = &[
            ("web-1", Ok(())),
            ("0", Ok(())),
            ("a.b_c-d", Ok(())),
            ("web.locks", Ok(())),
            (&long, Ok(())),
            (&too_long, Err(NameError::TooLong)),
            ("", Err(NameError::Empty)),
            ("-web", Err(NameError::BadStart('-'))),
            (".web", Err(NameError::BadStart('.'))),
            ("Web", Err(NameError::BadStart('W'))),
            ("weB", Err(NameError::BadCharacter('B'))),
            ("a/b", Err(NameError::BadCharacter('/'))),
            ("a b", Err(NameError::BadCharacter(' '))),
            ("caf\u{e9}", Err(NameError::BadCharacter('\u{e9}'))),
            ("web.lock", Err(NameError::Lock)),
            ("web.", Ok(())),
        ];
        for (text, expected) in cases {
            let found = Name::new(text).map(|name| assert_eq!(name.as_str(), *text));
            assert_eq!(found, *expected, "{text:?}");
        }
    }

    #[test]
    fn git_references() {
        let fits = |text| Name::new(text).unwrap().fits_git_reference();
        assert!(fits("rail-a.example"));
        assert!(!fits("rail."));
        assert!(!fits("rail..a"));
    }

    #[test]
    fn order_is_by_bytes() {
        let mut names = ["web-2", "web-10", "web.1", "a"].map(|text| Name::new(text).unwrap());
        names.sort();
        assert_eq!(names.map(String::from), ["a", "web-10", "web-2", "web.1"]);
    }
}
