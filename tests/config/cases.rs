//! Bad inputs as data.
//!
//! A `.cases` file holds blocks apart by an empty line:
//!
//! ```text
//! # what is wrong
//! - text of base.toml
//! + what stands there instead
//! > LINE:COLUMN: what is said about it
//! ```
//!
//! Lines after `-` are one stretch of text that occurs in `base.toml` (the first occurrence
//! counts); lines after `+` replace it, or come at the end of the file if no `-` is before them.
//! There may be several such pairs. The `>` lines are everything that is said, in order, without
//! the file's name. `BLESS=1 cargo nextest run --test config cases` writes them anew; read what it
//! wrote before you keep it.

use std::path::{Path, PathBuf};

use super::{BASE, findings};

/// One block.
#[derive(Default)]
struct Case {
    title: String,
    /// Text to be found, and what replaces it.
    edits: Vec<(String, String)>,
    expected: Vec<String>,
}

#[test]
fn values() {
    check("values.cases");
}

#[test]
fn rules() {
    check("rules.cases");
}

#[test]
fn shapes() {
    check("shapes.cases");
}

#[test]
fn the_base_has_no_fault() {
    assert_eq!(findings(BASE), Vec::<String>::new());
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let cases: Vec<_> = text
        .split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .collect();
    assert!(!cases.is_empty(), "{file} has no case");
    if std::env::var_os("BLESS").is_some() {
        return bless(&path, &cases);
    }
    let mut wrong = Vec::new();
    for case in cases.iter().map(|block| Case::read(block)) {
        assert!(
            !case.expected.is_empty(),
            "the case {:?} expects nothing",
            case.title
        );
        let found = findings(&case.text());
        if found != case.expected {
            let (found, expected) = (found.join("\n  "), case.expected.join("\n  "));
            wrong.push(format!(
                "# {}\nfound\n  {found}\nexpected\n  {expected}",
                case.title
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn bless(path: &PathBuf, cases: &[&str]) {
    let blocks = cases.iter().map(|block| {
        let kept = block
            .trim()
            .lines()
            .filter(|line| !line.starts_with('>'))
            .map(str::to_owned);
        let found = findings(&Case::read(block).text());
        let said = found.iter().map(|line| format!("> {line}"));
        kept.chain(said).collect::<Vec<_>>().join("\n")
    });
    std::fs::write(path, blocks.collect::<Vec<_>>().join("\n\n") + "\n").unwrap();
}

impl Case {
    fn read(block: &str) -> Self {
        let mut case = Self::default();
        let mut last = ' ';
        for line in block.trim().lines() {
            let mark = line.chars().next().unwrap_or(' ');
            let rest = line.get(2..).unwrap_or("");
            match mark {
                '#' => case.title = rest.to_owned(),
                '-' if last == '-' => append(&mut case.last_edit().0, rest),
                '-' => case.edits.push((rest.to_owned(), String::new())),
                '+' if last == '+' => append(&mut case.last_edit().1, rest),
                '+' if last == '-' => case.last_edit().1 = rest.to_owned(),
                '+' => case.edits.push((String::new(), rest.to_owned())),
                '>' => case.expected.push(rest.to_owned()),
                _ => panic!("{line:?} in the case {:?}", case.title),
            }
            last = mark;
        }
        case
    }

    /// The base with the edits made.
    fn text(&self) -> String {
        self.edits.iter().fold(BASE.to_owned(), |text, (from, to)| {
            if from.is_empty() {
                return format!("{text}\n{to}\n");
            }
            assert!(
                text.contains(from),
                "the case {:?} looks for {from:?}",
                self.title
            );
            text.replacen(from, to, 1)
        })
    }

    fn last_edit(&mut self) -> &mut (String, String) {
        self.edits
            .last_mut()
            .expect("a line after the first of its kind")
    }
}

fn append(text: &mut String, line: &str) {
    text.push('\n');
    text.push_str(line);
}
