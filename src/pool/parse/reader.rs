//! Collects what is wrong while a document is read, and remembers where everything stands.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeString};

use super::fields::Fields;
use super::keys::{TABLES, Table};
use crate::pool::{Item, Place, Severity, Violation};

/// Findings of one document, and the places of what was read from it.
#[derive(Debug, Default)]
pub struct Reader {
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
    spans: HashMap<Place, Range<usize>>,
}

/// Something wrong with a stretch of the document.
#[derive(Debug)]
pub struct Finding {
    pub severity: Severity,
    /// The bytes of the document it is about.
    pub span: Range<usize>,
    /// Another place it is about, and what that one is.
    pub also: Option<(Range<usize>, &'static str)>,
    pub message: String,
    pub help: Option<String>,
    /// Whether it complains of what is not there, or of a table it stands in: a broken line
    /// before it may be the cause.
    pub structural: bool,
}

impl Finding {
    /// A finding that refuses the document.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            severity: Severity::Error,
            span,
            also: None,
            message,
            help: None,
            structural: false,
        }
    }

    /// Adds the way out.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Marks a complaint that a broken line elsewhere may be the cause of.
    pub fn structural(self) -> Self {
        Self {
            structural: true,
            ..self
        }
    }
}

impl Reader {
    /// Adds a finding.
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The number of errors so far.
    pub fn errors(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count()
    }

    /// Adds a broken rule, at the place in the document where its subject stands.
    pub fn violation(&mut self, violation: Violation) {
        let finding = Finding {
            severity: violation.severity,
            span: self.span(violation.at),
            also: violation
                .also
                .map(|(place, label)| (self.span(place), label)),
            message: violation.message,
            help: violation.help,
            structural: false,
        };
        self.findings.push(finding);
    }

    /// Remembers where something stands.
    pub fn place(&mut self, place: Place, span: Range<usize>) {
        self.spans.insert(place, span);
    }

    /// Where something stands: the element, else its key, else its table, else the document.
    fn span(&self, place: Place) -> Range<usize> {
        let wider = [
            place,
            Place::new(place.item, place.key),
            Place::new(place.item, ""),
        ];
        wider
            .iter()
            .find_map(|place| self.spans.get(place))
            .cloned()
            .unwrap_or(0..0)
    }

    /// The table `table` of the document, if it is there.
    pub fn single<'a>(
        &mut self,
        root: &'a DeTable<'a>,
        table: &'static Table,
        item: Item,
    ) -> Option<Fields<'a>> {
        let (key, value) = root.get_key_value(table.path)?;
        let fields = match value.get_ref() {
            DeValue::Table(content) => Fields::new(content, table, header(key, value)),
            DeValue::Array(tables) if matches!(tables.first(), Some(t) if t.get_ref().is_table()) =>
            {
                let message = format!("[[{}]] is one table, not several", table.path);
                let help = format!("write {} once", table.header());
                self.report(Finding::error(key.span(), message).help(help));
                let first = tables.first()?;
                Fields::new(first.get_ref().as_table()?, table, first.span())
            }
            other => {
                self.report(not_a_table(table, key, other));
                return None;
            }
        };
        fields.report_unknown(self);
        fields.record(self, item);
        Some(fields)
    }

    /// The tables of an array such as `[[port]]`, which `parent` holds as `name`.
    pub fn several<'a>(
        &mut self,
        parent: &'a DeTable<'a>,
        name: &str,
        table: &'static Table,
    ) -> Vec<Fields<'a>> {
        let Some((key, value)) = parent.get_key_value(name) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        match value.get_ref() {
            DeValue::Array(tables) => {
                for element in tables {
                    match element.get_ref() {
                        DeValue::Table(content) => {
                            found.push(Fields::new(content, table, element.span()));
                        }
                        other => {
                            let span = Spanned::new(element.span(), key.get_ref().clone());
                            self.report(not_a_table(table, &span, other));
                        }
                    }
                }
            }
            DeValue::Table(content) => {
                let message = format!("[{}] needs two brackets: there can be several", table.path);
                let help = format!("write {}", table.header());
                self.report(Finding::error(key.span(), message).help(help));
                found.push(Fields::new(content, table, header(key, value)));
            }
            other => self.report(not_a_table(table, key, other)),
        }
        for fields in &found {
            fields.report_unknown(self);
        }
        found
    }

    /// Reports what stands at the top of the document and is no table of it.
    pub fn report_unknown_tables<'a>(&mut self, root: &'a DeTable<'a>) {
        let tables: Vec<_> = TABLES
            .iter()
            .filter(|table| !table.path.contains('.'))
            .collect();
        for (key, value) in root.iter() {
            let name = key.get_ref().as_ref();
            if tables.iter().any(|table| table.path == name) {
                continue;
            }
            let is_table = value.get_ref().is_table() || value.get_ref().is_array();
            let close = suggest(name, tables.iter().map(|table| table.path));
            let close = close.and_then(|path| tables.iter().find(|table| table.path == path));
            let help = match (is_table, close, owners(name)) {
                (true, Some(table), _) => format!("did you mean {}?", table.header()),
                (_, _, Some(owners)) => format!("`{name}` belongs in {owners}"),
                _ => {
                    let known: Vec<_> = tables.iter().map(|table| table.header()).collect();
                    format!("the tables are {}", known.join(", "))
                }
            };
            let what = if is_table { "table" } else { "key" };
            let message = format!("unknown {what} `{name}`");
            self.report(Finding::error(key.span(), message).help(help).structural());
        }
    }
}

/// The tables that have a key called `name`, in words.
pub fn owners(name: &str) -> Option<String> {
    let owners = TABLES.iter().filter(|table| table.key(name).is_some());
    let owners: Vec<_> = owners.map(|table| table.header()).collect();
    (!owners.is_empty()).then(|| owners.join(" or "))
}

/// The candidate that `word` is probably a misspelling of.
pub fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// A longer word is not a misspelling of anything, and comparing it would take long.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    // A third of the letters may be wrong, which keeps "port" from being taken for "peer".
    let near = |candidate: &str| candidate.len().max(lower.len()).div_ceil(3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance < near(candidate).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The finding that a word is none of those a key can have.
pub fn unknown_word<'w>(
    key: &str,
    text: &str,
    span: Range<usize>,
    words: impl Iterator<Item = &'w str> + Clone,
) -> Finding {
    let help = match suggest(text, words.clone()) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("one of {}", words.collect::<Vec<_>>().join(", ")),
    };
    Finding::error(span, format!("unknown {key} {text:?}")).help(help)
}

/// The stretch that names a table: its header, or for `a.b = 1` its key.
fn header(key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    if value.span().is_empty() {
        key.span()
    } else {
        value.span()
    }
}

fn not_a_table(table: &Table, key: &Spanned<DeString<'_>>, found: &DeValue<'_>) -> Finding {
    let message = format!("`{}` is a table, not {}", key.get_ref(), type_name(found));
    Finding::error(key.span(), message).help(format!("write {}", table.header()))
}

/// What kind of value this is, with its article.
pub fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
