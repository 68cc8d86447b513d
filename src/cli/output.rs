//! Standard output and standard error, for readers that may leave early.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};

/// Writes a result to standard output. A reader that has closed it (`rail ... | head`) has what it
/// wanted, so that is no error.
pub fn result(text: &str) {
    line(&mut io::stdout().lock(), text);
}

/// Writes a message to standard error.
pub fn message(text: &str) {
    line(&mut io::stderr().lock(), text);
}

/// Writes what is being done to standard error, if a person looks on; the next call overwrites it.
pub fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        // As in `line`.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

/// An empty table as all verbs print them: columns two spaces apart, no lines.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

/// The lines of a table, without the spaces at their ends.
pub fn lines(table: &mut Table) -> Vec<String> {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 1 }, 1));
    }
    let text = table.to_string();
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Writes `text` and, unless it has one, a line end. Nothing can be said about a failure: the
/// stream it would be said on has just failed.
fn line(stream: &mut impl Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stream, "{text}{end}").and_then(|()| stream.flush());
}
