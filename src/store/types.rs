//! Names of value types, and which merge rule stands behind each name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::merge::{Merge, Plain};

/// Nesting of type arguments beyond which a tag is refused.
const MAX_TAG_DEPTH: usize = 8;

/// The name of a type and its arguments: `counter`, `map(register)`, `pair(counter,plain)`. Names
/// are `[a-z][a-z0-9-]*`; the text form has no spaces and parses back to an equal tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeTag {
    name: String,
    arguments: Vec<TypeTag>,
}

impl TypeTag {
    /// The tag of values without one.
    pub fn plain() -> Self {
        Self {
            name: Plain::NAME.to_owned(),
            arguments: Vec::new(),
        }
    }

    /// A tag without arguments, or `None` if `name` is not a type's name.
    pub fn new(name: &str) -> Option<Self> {
        Self::with(name, Vec::new())
    }

    /// A tag with arguments, or `None` if `name` is not a type's name or the arguments nest too deep.
    pub fn with(name: &str, arguments: Vec<TypeTag>) -> Option<Self> {
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let tag = Self {
            name: name.to_owned(),
            arguments,
        };
        (starts && name.chars().all(rest) && tag.depth() <= MAX_TAG_DEPTH).then_some(tag)
    }

    /// The type's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The types it is made of.
    pub fn arguments(&self) -> &[TypeTag] {
        &self.arguments
    }

    /// Whether this is the tag of values without one.
    pub fn is_plain(&self) -> bool {
        self.name == Plain::NAME && self.arguments.is_empty()
    }

    fn depth(&self) -> usize {
        1 + self.arguments.iter().map(Self::depth).max().unwrap_or(0)
    }
}

impl fmt::Display for TypeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if index == 0 { '(' } else { ',' })?;
        }
        if self.arguments.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

/// The text is not a type tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type: expected a name such as counter or map(register)")]
pub struct ParseTagError(String);

impl FromStr for TypeTag {
    type Err = ParseTagError;

    fn from_str(text: &str) -> Result<Self, ParseTagError> {
        match parse_tag(text, MAX_TAG_DEPTH) {
            Some((tag, "")) => Ok(tag),
            _ => Err(ParseTagError(text.to_owned())),
        }
    }
}

/// One tag at the start of `text`, and what follows it.
fn parse_tag(text: &str, depth: usize) -> Option<(TypeTag, &str)> {
    let depth = depth.checked_sub(1)?;
    let end = text.find(['(', ')', ',']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut arguments = Vec::new();
    if let Some(inner) = rest.strip_prefix('(') {
        rest = inner;
        loop {
            let (argument, after) = parse_tag(rest, depth)?;
            arguments.push(argument);
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None => {
                    rest = after.strip_prefix(')')?;
                    break;
                }
            }
        }
    }
    Some((TypeTag::with(name, arguments)?, rest))
}

/// Makes a type's rule from the rules of its arguments; `None` if their number is wrong.
pub type Constructor = Box<dyn Fn(&[Arc<dyn Merge>]) -> Option<Arc<dyn Merge>> + Send + Sync>;

/// The types a store knows.
pub struct Registry {
    types: BTreeMap<String, Constructor>,
}

impl Registry {
    /// Only the plain type.
    pub fn new() -> Self {
        let mut registry = Self {
            types: BTreeMap::new(),
        };
        registry.register(Plain::NAME, || Plain);
        registry
    }

    /// Every type of this library.
    pub fn standard() -> Self {
        let mut registry = Self::new();
        super::value::register_all(&mut registry);
        registry
    }

    /// Adds a type without arguments, or replaces it.
    pub fn register<R: Merge + 'static>(&mut self, name: &str, rule: fn() -> R) {
        self.register_with(
            name,
            Box::new(move |arguments| arguments.is_empty().then(|| Arc::new(rule()) as Arc<_>)),
        );
    }

    /// Adds a type that takes others as arguments, or replaces it.
    pub fn register_with(&mut self, name: &str, constructor: Constructor) {
        self.types.insert(name.to_owned(), constructor);
    }

    /// The rule for a tag; `None` if it, or one of its arguments, is unknown here.
    pub fn rule(&self, tag: &TypeTag) -> Option<Arc<dyn Merge>> {
        let arguments: Option<Vec<_>> = tag.arguments.iter().map(|tag| self.rule(tag)).collect();
        self.types.get(&tag.name)?(&arguments?)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::standard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_parses_back_to_itself() {
        for text in [
            "counter",
            "map(option(counter))",
            "pair(counter,plain)",
            "expiring-map(plain)",
        ] {
            assert_eq!(text.parse::<TypeTag>().unwrap().to_string(), text);
        }
        let deep = format!(
            "{}x{}",
            "a(".repeat(MAX_TAG_DEPTH),
            ")".repeat(MAX_TAG_DEPTH)
        );
        for bad in [
            "", "(", "map(", "map()", "map(a", "map(a))", "Map", "1st", "a b", "a,b", &deep,
        ] {
            assert!(bad.parse::<TypeTag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_type_or_argument_has_no_rule() {
        let registry = Registry::new();
        assert!(registry.rule(&TypeTag::plain()).is_some());
        for unknown in ["nothing", "plain(plain)", "nothing(plain)"] {
            assert!(
                registry.rule(&unknown.parse().unwrap()).is_none(),
                "{unknown}"
            );
        }
    }
}
