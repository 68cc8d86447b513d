//! Standard output and standard error, for readers that may leave early.

use std::io::{self, Write};

/// Writes a result to standard output. A reader that has closed it (`rail ... | head`) has what it
/// wanted, so that is no error.
pub fn result(text: &str) {
    line(&mut io::stdout().lock(), text);
}

/// Writes a message to standard error.
pub fn message(text: &str) {
    line(&mut io::stderr().lock(), text);
}

/// Writes `text` and, unless it has one, a line end. Nothing can be said about a failure: the
/// stream it would be said on has just failed.
fn line(stream: &mut impl Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stream, "{text}{end}").and_then(|()| stream.flush());
}
