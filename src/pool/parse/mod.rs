//! From a configuration file to a [`Config`], with every error found on the way.

pub mod duration;
mod eal;
mod fields;
pub mod keys;
mod node;
mod pool;
mod port;
mod reader;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use self::reader::{Finding, Reader};
use super::diagnostic::Lines;
use super::{Config, Diagnostic, Environment, Pool, Severity, Violation, check};

/// What [`parse`] answers: a configuration with warnings, or errors and warnings, both in the order
/// in which they stand in the file.
pub type Parsed = Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>>;

/// The largest file read, in bytes: several times what the largest pool takes.
pub const MAX_FILE: u64 = 64 << 20;

/// Reads and parses the configuration file of a rail on this machine.
///
/// # Errors
/// Everything that is wrong with it; a file that cannot be read is one error.
pub fn load(path: &Path) -> Parsed {
    load_for(path, &Environment::this_machine())
}

/// Reads and parses the configuration file of a rail on some machine.
///
/// # Errors
/// As [`load`].
pub fn load_for(path: &Path, environment: &Environment) -> Parsed {
    let text = read_text(path).map_err(|found| vec![*found])?;
    parse(&text, &path.display().to_string(), environment)
}

/// The text of a configuration file, right or wrong.
///
/// # Errors
/// Why there is none: no such file, not text, far too large.
pub fn read_text(path: &Path) -> Result<String, Box<Diagnostic>> {
    let name = path.display().to_string();
    let bytes = read(path).map_err(|(message, help)| Box::new(unreadable(&name, message, help)))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        Box::new(not_text(&name, error.as_bytes(), good))
    })
}

/// Parses the text of a configuration file. `file_name` is how messages call it.
///
/// # Errors
/// Every error, not only the first. When the text is not even TOML, complaints of what is missing
/// and of what contradicts something else are left for the next time, since what the broken lines
/// meant to say is not known; likewise warnings, while a value is bad.
pub fn parse(text: &str, file_name: &str, environment: &Environment) -> Parsed {
    parse_with(text, file_name, |reader, root, whole| {
        read_document(reader, root, environment, whole)
    })
}

/// Parses the pool in the text of a configuration file; what concerns one rail alone is not looked
/// at, and need not be there.
///
/// # Errors
/// As [`parse`].
pub fn parse_pool(text: &str, file_name: &str) -> Result<(Pool, Vec<Diagnostic>), Vec<Diagnostic>> {
    parse_with(text, file_name, |reader, root, whole| {
        reader.report_unknown_tables(root);
        let draft = pool::pool(reader, root);
        hold_against_rules(reader, whole, || check::pool(&draft));
        Pool::new(draft).ok()
    })
}

/// Whether a text describes a rail, not only a pool: it has a `[node]`.
pub fn describes_rail(text: &str) -> bool {
    let (document, _) = DeTable::parse_recoverable(text);
    document.get_ref().contains_key(keys::NODE.path)
}

/// Parses a text by `read`, which is told whether the text was TOML throughout.
fn parse_with<T>(
    text: &str,
    file_name: &str,
    read: impl FnOnce(&mut Reader, &DeTable<'_>, bool) -> Option<T>,
) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut reader = Reader::default();
    let (document, syntax) = DeTable::parse_recoverable(text);
    let value = read(&mut reader, document.get_ref(), syntax.is_empty());

    let lines = Lines::new(text);
    if !syntax.is_empty() {
        keep_syntax_errors(&mut reader, &syntax, text, &lines);
    }
    let diagnostics = diagnostics(reader.findings, text, file_name, &lines);
    let refused = diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error);
    match value {
        Some(value) if !refused => Ok((value, diagnostics)),
        _ => Err(diagnostics),
    }
}

/// Reads all tables, then holds them against the rules.
fn read_document(
    reader: &mut Reader,
    root: &DeTable<'_>,
    environment: &Environment,
    whole: bool,
) -> Option<Config> {
    reader.report_unknown_tables(root);
    let node = node::node(reader, root);
    let dpdk = node::dpdk(reader, root);
    let (ports, ports_complete) = port::ports(reader, root);
    let neighbors = port::neighbors(reader, root);
    let tunnel = node::tunnel(reader, root, &ports);
    let timeouts = node::timeouts(reader, root);
    let limits = node::limits(reader, root);
    let draft = pool::pool(reader, root);
    hold_against_rules(reader, whole, || {
        let mut violations = check::pool(&draft);
        violations.extend(check::rail(&check::Rail {
            node: node.as_ref(),
            ports: &ports,
            ports_complete,
            neighbors: &neighbors,
            tunnel: &tunnel,
            timeouts: &timeouts,
            limits: &limits,
            pool: &draft,
            environment,
        }));
        violations
    });
    // A pool that breaks a rule has been reported just now.
    let pool = Pool::new(draft).ok()?;
    Some(Config {
        node: node?,
        dpdk,
        ports,
        neighbors,
        tunnel,
        timeouts,
        limits,
        pool,
    })
}

/// Adds the rules that are broken. Of a text that is not TOML too little is known for that, and
/// warnings about stand-ins for bad values would mean nothing.
fn hold_against_rules(
    reader: &mut Reader,
    whole: bool,
    violations: impl FnOnce() -> Vec<Violation>,
) {
    if !whole {
        return;
    }
    let values_are_good = reader.errors() == 0;
    for violation in violations() {
        if values_are_good || violation.severity == Severity::Error {
            reader.violation(violation);
        }
    }
}

/// Adds the first syntax error of every line, and takes away what only follows from one.
fn keep_syntax_errors(
    reader: &mut Reader,
    syntax: &[toml::de::Error],
    text: &str,
    lines: &Lines<'_>,
) {
    let mut broken = BTreeMap::new();
    for error in syntax {
        let line = lines.locate(&error.span().unwrap_or(0..0)).line;
        broken.entry(line).or_insert(error);
    }
    reader.findings.retain(|finding| {
        !finding.structural && !broken.contains_key(&lines.locate(&finding.span).line)
    });
    reader
        .findings
        .extend(broken.into_values().map(|error| syntax_error(error, text)));
}

/// What the parser of TOML said, with the way out where it is known.
fn syntax_error(error: &toml::de::Error, text: &str) -> Finding {
    let span = error.span().unwrap_or(0..0);
    if let Some(bare) = bare_value(text, span.start) {
        let value = &text[bare.clone()];
        let message = format!("not TOML: {value} is no number, and a text needs quotes");
        let help = match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => "write true".to_owned(),
            "false" | "no" | "off" => "write false".to_owned(),
            _ => format!("write \"{value}\""),
        };
        return Finding::error(bare, message).help(help);
    }
    let finding = Finding::error(span, format!("not TOML: {}", error.message()));
    if error.message().starts_with("duplicate key") {
        return finding.help("keep one of the two");
    }
    finding.help("see https://toml.io for how values, keys and tables are written")
}

/// The value without quotes that the fault at `at` is in, if it is in one. The parser of TOML takes
/// it for a bad number or a bad date, by its first letter.
fn bare_value(text: &str, at: usize) -> Option<Range<usize>> {
    let at = text.floor_char_boundary(at);
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let equals = line + text[line..at].rfind('=')?;
    let after = &text[equals + 1..];
    let value = after.trim_start_matches([' ', '\t']);
    let start = equals + 1 + (after.len() - value.len());
    let end = value
        .find(|c: char| c.is_control() || "#,]}\"'=".contains(c))
        .unwrap_or(value.len());
    let value = value[..end].trim_end();
    // A fault beyond the value is not about the value.
    let is_bare = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    (is_bare && at <= start + value.len()).then(|| start..start + value.len())
}

/// Gives every finding its place, and puts them in the order of the file.
fn diagnostics(
    findings: Vec<Finding>,
    text: &str,
    file_name: &str,
    lines: &Lines<'_>,
) -> Vec<Diagnostic> {
    let (file, source): (Arc<str>, Arc<str>) = (file_name.into(), text.into());
    let mut diagnostics: Vec<_> = findings
        .into_iter()
        .map(|finding| Diagnostic {
            severity: finding.severity,
            file: file.clone(),
            location: Some(lines.locate(&finding.span)),
            message: finding.message,
            help: finding.help,
            also: finding
                .also
                .map(|(span, label)| (lines.locate(&span), label)),
            source: Some(source.clone()),
        })
        .collect();
    diagnostics.sort_by_key(|diagnostic| {
        let span = diagnostic
            .location
            .as_ref()
            .map(|location| location.span.start);
        (span, diagnostic.severity)
    });
    diagnostics
}

/// The bytes of a file, or what is wrong and the way out.
fn read(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let failed = |error: io::Error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "name an existing file",
            io::ErrorKind::PermissionDenied => "make it readable for this user",
            io::ErrorKind::IsADirectory => "name the file in it",
            _ => "name a readable file",
        };
        // The number of the error says nothing that its text does not.
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        (format!("cannot be read: {text}"), help.to_owned())
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("is larger than {} MiB", MAX_FILE >> 20);
        return Err((message, "name a configuration file".to_owned()));
    }
    Ok(bytes)
}

fn unreadable(name: &str, message: String, help: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: name.into(),
        location: None,
        message,
        help: Some(help),
        also: None,
        source: None,
    }
}

/// The error that the byte at `good` does not begin a character.
fn not_text(name: &str, bytes: &[u8], good: usize) -> Diagnostic {
    let before = String::from_utf8_lossy(&bytes[..good]);
    let byte = bytes.get(good).copied().unwrap_or_default();
    Diagnostic {
        location: Some(Lines::new(&before).locate(&(good..good))),
        ..unreadable(
            name,
            format!("the byte 0x{byte:02x} is not UTF-8 text"),
            "save the file as UTF-8".to_owned(),
        )
    }
}
