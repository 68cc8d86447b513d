//! One table of the document: typed access to its keys.
//!
//! Every getter answers `None` both for an absent key and for a bad value; a bad value has been
//! reported by then, so that the caller goes on with a default and finds what else is wrong.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::keys::{TABLES, Table};
use super::reader::{Finding, Reader, owners, suggest, type_name, unknown_word};
use crate::pool::{Item, Name, Place};

/// A table of the document together with what it may hold.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    content: &'a DeTable<'a>,
    table: &'static Table,
    header: Range<usize>,
}

impl<'a> Fields<'a> {
    /// A table whose header stands at `header`.
    pub fn new(content: &'a DeTable<'a>, table: &'static Table, header: Range<usize>) -> Self {
        Self {
            content,
            table,
            header,
        }
    }

    /// What it holds, for tables in it.
    pub fn content(&self) -> &'a DeTable<'a> {
        self.content
    }

    /// Remembers where its keys stand, as those of `item`.
    pub fn record(&self, reader: &mut Reader, item: Item) {
        reader.place(Place::new(item, ""), self.header.clone());
        for key in self.table.keys {
            let Some(value) = self.content.get(key.name) else {
                continue;
            };
            reader.place(Place::new(item, key.name), value.span());
            for (index, element) in value.get_ref().as_array().into_iter().flatten().enumerate() {
                reader.place(Place::element(item, key.name, index), element.span());
            }
        }
    }

    /// Reports keys it may not hold.
    pub fn report_unknown(&self, reader: &mut Reader) {
        for key in self.content.keys() {
            let name = key.get_ref().as_ref();
            if self.table.key(name).is_some() || self.has_subtable(name) {
                continue;
            }
            let known = self.table.keys.iter().map(|key| key.name);
            let help = match (suggest(name, known.clone()), owners(name)) {
                (Some(close), _) => format!("did you mean `{close}`?"),
                (None, Some(owners)) => format!("`{name}` belongs in {owners}"),
                (None, None) => format!("its keys are {}", known.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("unknown key `{name}` in {}", self.table.header());
            reader.report(Finding::error(key.span(), message).help(help));
        }
    }

    /// Reports that `key` is not there, which it must be.
    pub fn report_missing(&self, reader: &mut Reader, key: &'static str) {
        let message = format!("{} lacks `{key}`", self.table.header());
        let finding = Finding::error(self.header.clone(), message);
        reader.report(finding.help(self.example(key, "add")).structural());
    }

    /// Reports a bad value of `key`; the help shows a good one.
    pub fn report_bad(
        &self,
        reader: &mut Reader,
        key: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) {
        reader.report(Finding::error(span, message).help(self.example(key, "as in")));
    }

    /// Whether the key is there, be its value good or bad.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            self.table.key(key).is_some(),
            "{key} is not in the list of keys"
        );
        self.content.get(key)
    }

    /// A string, and where it stands.
    pub fn string(
        &self,
        reader: &mut Reader,
        key: &'static str,
    ) -> Option<(&'a str, Range<usize>)> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.as_ref(), value.span())),
            other => {
                self.report_type(reader, key, value.span(), "a string", other);
                None
            }
        }
    }

    /// A string that must be there.
    pub fn required(
        &self,
        reader: &mut Reader,
        key: &'static str,
    ) -> Option<(&'a str, Range<usize>)> {
        if !self.has(key) {
            self.report_missing(reader, key);
        }
        self.string(reader, key)
    }

    /// A value of a type that has a text form.
    pub fn parsed<T>(&self, reader: &mut Reader, key: &'static str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let (text, span) = self.string(reader, key)?;
        self.parse(reader, key, text, span)
    }

    /// Such a value that must be there.
    pub fn required_parsed<T>(&self, reader: &mut Reader, key: &'static str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let (text, span) = self.required(reader, key)?;
        self.parse(reader, key, text, span)
    }

    /// A name that must be there.
    pub fn name(&self, reader: &mut Reader) -> Option<Name> {
        self.required_parsed(reader, "name")
    }

    /// An address that must be there.
    pub fn address(&self, reader: &mut Reader) -> Option<IpAddr> {
        self.required_parsed::<Address>(reader, "address")
            .map(|address| address.0)
    }

    /// A list of values with a text form; a single one may stand without brackets. Bad ones are
    /// reported and left out.
    pub fn list<T>(&self, reader: &mut Reader, key: &'static str) -> Option<Vec<T>>
    where
        T: FromStr<Err: Display>,
    {
        let value = self.get(key)?;
        let mut found = Vec::new();
        for element in elements(value) {
            match element.get_ref() {
                DeValue::String(text) => {
                    found.extend(self.parse::<T>(reader, key, text, element.span()));
                }
                other => {
                    self.report_type(reader, key, element.span(), "an array of strings", other)
                }
            }
        }
        Some(found)
    }

    /// A whole number within bounds.
    pub fn integer<T>(
        &self,
        reader: &mut Reader,
        key: &'static str,
        bounds: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.bounded(reader, key, self.get(key)?, &bounds)
    }

    /// A list of whole numbers within bounds; a single one may stand without brackets. Bad ones are
    /// reported and left out.
    pub fn integers<T>(
        &self,
        reader: &mut Reader,
        key: &'static str,
        bounds: RangeInclusive<T>,
    ) -> Option<Vec<T>>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let value = self.get(key)?;
        let found = elements(value).iter();
        Some(
            found
                .filter_map(|element| self.bounded(reader, key, element, &bounds))
                .collect(),
        )
    }

    /// `true` or `false`.
    pub fn boolean(&self, reader: &mut Reader, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(is) => Some(*is),
            other => {
                self.report_type(reader, key, value.span(), "true or false", other);
                None
            }
        }
    }

    /// A time within bounds.
    pub fn duration(
        &self,
        reader: &mut Reader,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.get(key)?;
        let span = value.span();
        let text = match value.get_ref() {
            DeValue::String(text) => text,
            other => {
                self.report_type(
                    reader,
                    key,
                    span,
                    "a string with a number and a unit",
                    other,
                );
                return None;
            }
        };
        match duration::parse(text) {
            Ok(time) if bounds.contains(&time) => Some(time),
            Ok(_) => {
                let (low, high) = (
                    duration::write(*bounds.start()),
                    duration::write(*bounds.end()),
                );
                let message = format!("{key} {text:?} is out of range: {low} to {high}");
                self.report_bad(reader, key, span, message);
                None
            }
            Err(error) => {
                self.report_bad(reader, key, span, format!("{key} {text:?}: {error}"));
                None
            }
        }
    }

    /// One of several words.
    pub fn word<T: Copy>(
        &self,
        reader: &mut Reader,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let (text, span) = self.string(reader, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words = words.iter().map(|(word, _)| *word);
        reader.report(unknown_word(key, text, span, words));
        None
    }

    fn parse<T>(
        &self,
        reader: &mut Reader,
        key: &'static str,
        text: &str,
        span: Range<usize>,
    ) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report_bad(reader, key, span, format!("{key} {text:?}: {error}"));
                None
            }
        }
    }

    fn bounded<T>(
        &self,
        reader: &mut Reader,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        bounds: &RangeInclusive<T>,
    ) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let DeValue::Integer(number) = value.get_ref() else {
            self.report_type(reader, key, value.span(), "an integer", value.get_ref());
            return None;
        };
        let wide = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let found = wide.and_then(|wide| T::try_from(wide).ok());
        if let Some(found) = found
            && bounds.contains(&found)
        {
            return Some(found);
        }
        let (low, high) = (bounds.start(), bounds.end());
        let message = format!("{key} {number} is out of range: {low} to {high}");
        self.report_bad(reader, key, value.span(), message);
        None
    }

    fn report_type(
        &self,
        reader: &mut Reader,
        key: &'static str,
        span: Range<usize>,
        wanted: &str,
        found: &DeValue<'_>,
    ) {
        let message = format!("`{key}` is {wanted}, not {}", type_name(found));
        self.report_bad(reader, key, span, message);
    }

    /// "as in `key = value`", with the example of the list of keys.
    fn example(&self, key: &'static str, verb: &str) -> String {
        let example = self.table.key(key).map_or("...", |key| key.example);
        format!("{verb} {key} = {example}")
    }

    fn has_subtable(&self, name: &str) -> bool {
        let sub = |table: &&Table| table.path.strip_prefix(self.table.path)?.strip_prefix('.');
        TABLES.iter().any(|table| sub(table) == Some(name))
    }
}

/// An IP address without a prefix length; exists for its error message.
pub struct Address(pub IpAddr);

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(address) => Ok(Self(address)),
            Err(_) => match text.split_once('/') {
                Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
                    Err("one address is wanted, without a prefix length")
                }
                _ => Err("not an IP address"),
            },
        }
    }
}

/// The elements of an array, or the value itself as the only one.
fn elements<'v, 'a>(value: &'v Spanned<DeValue<'a>>) -> &'v [Spanned<DeValue<'a>>] {
    match value.get_ref() {
        DeValue::Array(elements) => elements,
        _ => std::slice::from_ref(value),
    }
}
