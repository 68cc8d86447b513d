//! Names of places: paths of values in a tree, and branches.
//!
//! What is accepted is what Git, its `fsck --strict`, and a checkout on a common file system accept,
//! so every tree the store writes can be cloned and edited with plain Git.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest path in bytes: Linux's `PATH_MAX` less room for a checkout's own directory.
pub const MAX_PATH: usize = 3072;
/// Longest segment in bytes: `NAME_MAX` of the common file systems.
pub const MAX_SEGMENT: usize = 255;
/// Most segments of a path; bounds every recursion over a tree.
pub const MAX_DEPTH: usize = 64;
/// Longest branch name in bytes, so that the ref's lock file stays below `NAME_MAX`.
const MAX_BRANCH: usize = 200;

/// The entry of a directory that records the types of its values. No path may name it.
pub const TYPES_NAME: &str = ".types";

/// The place of a value or a directory: segments joined by `/`, none for the root. Parsing accepts
/// one leading and one trailing slash; the text form has neither.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

/// Why a text is not a path or not a branch name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {reason}")]
pub struct PathError {
    text: String,
    what: &'static str,
    reason: &'static str,
}

impl Path {
    /// The directory that holds everything.
    pub fn root() -> Self {
        Self("".into())
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments from the root on.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The path of `name` inside this directory.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        check_segment(name).map_err(|reason| error(name, "name", reason))?;
        let joined = self.child(name);
        check_lengths(&joined.0).map_err(|reason| error(&joined.0, "path", reason))?;
        Ok(joined)
    }

    /// The directory this stands in, and its name there; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &str)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.rsplit_once('/') {
            Some((parent, name)) => (Self(parent.into()), name),
            None => (Self::root(), &self.0),
        })
    }

    /// The directory this stands in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(parent, _)| parent)
    }

    /// Whether `other` is this path or below it.
    pub fn contains(&self, other: &Self) -> bool {
        match other.0.strip_prefix(&*self.0) {
            Some(rest) => self.is_root() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of an entry found in a tree, whose name somebody else may have chosen.
    pub(crate) fn child(&self, name: &str) -> Self {
        if self.is_root() {
            Self(name.into())
        } else {
            Self(format!("{}/{name}", self.0).into())
        }
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let check = || {
            check_lengths(inner)?;
            if inner.is_empty() {
                Ok(())
            } else {
                inner.split('/').try_for_each(check_segment)
            }
        };
        check().map_err(|reason| error(text, "path", reason))?;
        Ok(Self(inner.into()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// The name of a branch, such as `main` or `node/rail-a`: what stands after `refs/heads/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(Arc<str>);

impl BranchName {
    /// The branch that holds the desired state.
    pub fn main() -> Self {
        Self("main".into())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BranchName {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+=@#".contains(c);
        let reason = if text.len() > MAX_BRANCH {
            Some("it is longer than 200 bytes")
        } else if !text
            .split('/')
            .all(|part| part.chars().all(allowed) && !part.is_empty())
        {
            Some("its parts are letters, digits and ._-+=@#")
        } else if text.split('/').any(|part| part.starts_with(['.', '-'])) {
            Some("a part begins with a dot or a dash")
        } else if text
            .split('/')
            .any(|part| part.ends_with(".lock") || part.ends_with('.'))
        {
            Some("a part ends in a dot or in .lock")
        } else if text.contains("..") || text == "@" || text == "HEAD" {
            Some("Git gives it another meaning")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(error(text, "branch name", reason)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

fn error(text: &str, what: &'static str, reason: &'static str) -> PathError {
    PathError {
        text: text.to_owned(),
        what,
        reason,
    }
}

fn check_lengths(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_PATH {
        return Err("it is longer than 3072 bytes");
    }
    if text.split('/').count() > MAX_DEPTH {
        return Err("it has more than 64 segments");
    }
    Ok(())
}

/// `fsck --strict` refuses names that some file system would take for `.git` or one of Git's own
/// files: HFS+ ignores some characters that are neither letters nor digits, and NTFS knows
/// `git~1` as a short name. The rules here leave no room for either.
fn check_segment(name: &str) -> Result<(), &'static str> {
    let allowed =
        |c: char| c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric());
    let starts_like_git = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if name.is_empty() || name == "." || name == ".." {
        Err("a segment is empty or made of dots")
    } else if name.len() > MAX_SEGMENT {
        Err("a segment is longer than 255 bytes")
    } else if name.contains(['/', '\\']) || !name.chars().all(allowed) {
        Err("a segment has a slash, a backslash or an unprintable character")
    } else if name.starts_with(' ') || name.ends_with(' ') {
        Err("a segment begins or ends with a space")
    } else if starts_like_git(".git") || (starts_like_git("gi") && name.contains('~')) {
        Err("Git gives a segment another meaning")
    } else if name == TYPES_NAME {
        Err(".types is where the types of values are recorded")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn one_place_has_one_text() {
        for text in ["a/b", "/a/b", "a/b/", "/a/b/"] {
            assert_eq!(path(text).as_str(), "a/b");
        }
        assert_eq!(path("/"), Path::root());
        assert_eq!(path("a/b").split_last(), Some((path("a"), "b")));
        assert_eq!(path("a").split_last(), Some((Path::root(), "a")));
        assert_eq!(path("a").join("b"), Ok(path("a/b")));
        assert_eq!(
            path("fe80::1/mac").segments().collect::<Vec<_>>(),
            ["fe80::1", "mac"]
        );
    }

    #[test]
    fn containment_goes_by_segments() {
        let check = |outer: &str, inner: &str, expected| {
            assert_eq!(
                path(outer).contains(&path(inner)),
                expected,
                "{outer} {inner}"
            );
        };
        check("", "a/b", true);
        check("a", "a", true);
        check("a", "a/b", true);
        check("a", "ab", false);
        check("a/b", "a", false);
    }

    #[test]
    fn what_git_refuses_is_refused() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(65);
        for bad in [
            "a//b",
            "./a",
            "a/..",
            ".git",
            "a/.GIT/b",
            ".gitmodules",
            "git~1",
            "GITMOD~1",
            "a\\b",
            "a\nb",
            "a\0b",
            ".g\u{200c}it",
            " a",
            "a ",
            "a/.types",
            &long,
            &deep,
        ] {
            assert!(bad.parse::<Path>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn branch_names_are_refs_everywhere() {
        for good in ["main", "node/rail-a", "v1.2"] {
            assert_eq!(good.parse::<BranchName>().unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "a//b", "a/", ".a", "-a", "a.lock", "a.", "a..b", "HEAD", "@", "a b", "a:b",
            "a~1",
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
        }
    }
}
