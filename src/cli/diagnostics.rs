//! How findings about a configuration file are shown: with the line they are about on a terminal,
//! as one line each elsewhere, or as JSON.

use std::fmt;
use std::io::{IsTerminal, stderr};

use miette::{LabeledSpan, MietteHandler, MietteHandlerOpts, NamedSource, ReportHandler};
use serde_json::{Value, json};

use super::output;
use crate::pool::{Diagnostic, Severity};

/// Shows findings on standard error.
pub fn show(diagnostics: &[Diagnostic]) {
    let terminal = stderr().is_terminal();
    // Built once: it asks the terminal for its width and colours.
    let handler = terminal.then(|| MietteHandlerOpts::new().build());
    for diagnostic in diagnostics {
        match &handler {
            Some(handler) => output::message(&Report::new(diagnostic, handler).to_string()),
            None => output::message(&diagnostic.to_string()),
        }
    }
}

/// A finding with the line it is about, as a terminal without colours and Unicode shows it.
pub fn graphical(diagnostic: &Diagnostic) -> String {
    let options = MietteHandlerOpts::new()
        .force_graphical(true)
        .unicode(false)
        .color(false);
    Report::new(diagnostic, &options.build()).to_string()
}

/// Findings as a JSON array. Line, column and help are `null` where there are none.
pub fn to_json(diagnostics: &[Diagnostic]) -> Value {
    diagnostics.iter().map(one_to_json).collect()
}

/// "1 error", "2 errors and 1 warning".
pub fn count(diagnostics: &[Diagnostic]) -> String {
    let number = |severity| {
        let number = diagnostics
            .iter()
            .filter(|found| found.severity == severity)
            .count();
        let ending = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {severity}{ending}"))
    };
    let parts: Vec<_> = [Severity::Error, Severity::Warning]
        .into_iter()
        .filter_map(number)
        .collect();
    parts.join(" and ")
}

fn one_to_json(diagnostic: &Diagnostic) -> Value {
    let location = diagnostic.location.as_ref();
    json!({
        "file": &*diagnostic.file,
        "line": location.map(|location| location.line),
        "column": location.map(|location| location.column),
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "help": diagnostic.help,
        "also": diagnostic.also.as_ref().map(|(location, label)| json!({
            "line": location.line,
            "column": location.column,
            "label": label,
        })),
    })
}

/// A finding as `miette` shows it: the line with an arrow, and the way out below.
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    handler: &'a MietteHandler,
    source: Option<NamedSource<String>>,
}

impl<'a> Report<'a> {
    fn new(diagnostic: &'a Diagnostic, handler: &'a MietteHandler) -> Self {
        let text = diagnostic.source.as_ref();
        let source = text.map(|text| NamedSource::new(&diagnostic.file, text.to_string()));
        Self {
            diagnostic,
            handler,
            source,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handler.debug(&Shown(self), f)
    }
}

/// What `miette` asks about a [`Report`].
struct Shown<'a>(&'a Report<'a>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.diagnostic, f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let diagnostic = self.0.diagnostic;
        match &diagnostic.source {
            // The frame around the line names file, line and column.
            Some(_) => f.write_str(&diagnostic.message),
            None => write!(f, "{}: {}", diagnostic.file, diagnostic.message),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'h>(&'h self) -> Option<Box<dyn fmt::Display + 'h>> {
        let help = self.0.diagnostic.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.0
            .source
            .as_ref()
            .map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let diagnostic = self.0.diagnostic;
        let here = diagnostic
            .location
            .as_ref()
            .map(|location| LabeledSpan::new_primary_with_span(None, location.span.clone()));
        let also = diagnostic.also.as_ref().map(|(location, label)| {
            LabeledSpan::new_with_span(Some((*label).to_owned()), location.span.clone())
        });
        Some(Box::new(here.into_iter().chain(also)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Environment, parse};

    #[test]
    fn the_line_is_shown_with_the_way_out() {
        let text = "[node]\nname = \"rail-a\"\nworkers = [0]\nwrkers = 1\n";
        let found = parse(text, "rail.toml", &Environment::any()).unwrap_err();
        let found = found
            .iter()
            .find(|found| found.message.contains("wrkers"))
            .unwrap();
        let shown = graphical(found);
        for part in [
            "rail.toml:4:1",
            "wrkers = 1",
            "unknown key",
            "did you mean `workers`?",
        ] {
            assert!(shown.contains(part), "{part:?} in {shown}");
        }
    }

    #[test]
    fn counts() {
        let text =
            "[node]\nname = \"rail-a\"\nworkers = [0]\nx = 1\n[pool]\nhash_key = \"\"\n[[port]]\n";
        let found = parse(text, "rail.toml", &Environment::any()).unwrap_err();
        assert_eq!(count(&found), "4 errors");
        assert_eq!(count(&found[..1]), "1 error");
        assert_eq!(count(&[]), "");
    }
}
