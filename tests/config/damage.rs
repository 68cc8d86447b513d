//! No input makes the parser panic, and whatever it says points into the text.

use proptest::prelude::*;
use rustyrail::cli::diagnostics::{graphical, to_json};
use rustyrail::pool::{Environment, Severity, load_for, parse};

use super::{BASE, machine};

const EXAMPLE: &str = include_str!("../../deploy/rail.example.toml");

/// One damage to a text. Positions are taken modulo its length.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Delete(usize, usize),
    Truncate(usize),
    Insert(usize, String),
    /// A stretch is copied to another place.
    Copy(usize, usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let words = [
        "\"",
        "[",
        "]",
        "[[",
        "=",
        "\n",
        ".",
        "'''",
        "\"\"\"",
        "{",
        "}",
        ",",
        "#",
        "\u{0}",
        "\u{e9}",
        "-1",
        "99999999999999999999",
        "0x",
        "nan",
        "1979-05-27",
        "true",
        "\\u0000",
        "\r",
        "\u{feff}",
        "name = ",
        "[[service.backend]]\n",
        "[service]\n",
        "\u{202e}",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(str::to_owned);
    prop_oneof![
        (any::<usize>(), 1..=u8::MAX).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (any::<usize>(), 1..40usize).prop_map(|(at, len)| Damage::Delete(at, len)),
        any::<usize>().prop_map(Damage::Truncate),
        (any::<usize>(), word).prop_map(|(at, word)| Damage::Insert(at, word)),
        (any::<usize>(), 1..200usize, any::<usize>())
            .prop_map(|(from, len, to)| Damage::Copy(from, len, to)),
    ]
}

fn apply(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let within = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
    let stretch = |at: usize, len: usize, bytes: &[u8]| {
        let start = within(at, bytes);
        start..(start + len).min(bytes.len())
    };
    match damage {
        Damage::Flip(at, mask) => {
            let at = within(*at, &bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Damage::Delete(at, len) => drop(bytes.drain(stretch(*at, *len, &bytes))),
        Damage::Truncate(at) => bytes.truncate(within(*at, &bytes)),
        Damage::Insert(at, word) => {
            let at = within(*at, &bytes);
            bytes.splice(at..at, word.bytes());
        }
        Damage::Copy(from, len, to) => {
            let copy = bytes[stretch(*from, *len, &bytes)].to_vec();
            let to = within(*to, &bytes);
            bytes.splice(to..to, copy);
        }
    }
    bytes
}

/// Parses, and checks what is said for being shown.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let (found, refused) = match parse(text, "rail.toml", &machine()) {
        Ok((_, warnings)) => (warnings, false),
        Err(found) => (found, true),
    };
    let errors = found
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .count();
    prop_assert_eq!(errors > 0, refused);
    let mut last = 0;
    for found in &found {
        let location = found.location.as_ref().expect("the text was read");
        prop_assert!(text.get(location.span.clone()).is_some(), "{:?}", found);
        prop_assert!(location.span.start >= last, "in the order of the file");
        last = location.span.start;
        prop_assert!(location.line >= 1 && location.column >= 1);
        prop_assert!(location.line <= text.matches('\n').count() + 1);
        prop_assert!(found.help.is_some(), "{} has no way out", found);
        prop_assert!(!found.to_string().contains('\n'), "{}", found);
    }
    if let Some(found) = found.first() {
        prop_assert!(!graphical(found).is_empty());
    }
    prop_assert_eq!(to_json(&found).as_array().map(Vec::len), Some(found.len()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files(
        base in proptest::sample::select(vec![BASE, EXAMPLE]),
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        let bytes = damages.iter().fold(base.as_bytes().to_vec(), apply);
        survives(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        survives(&text)?;
    }

    #[test]
    fn any_tokens(tokens in proptest::collection::vec(damage(), 0..60)) {
        let text = tokens.into_iter().filter_map(|token| match token {
            Damage::Insert(_, word) => Some(word),
            _ => None,
        });
        survives(&text.collect::<String>())?;
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let answer = load_for(file.path(), &Environment::any());
        prop_assert!(answer.is_err_and(|found| !found.is_empty()));
    }
}

#[test]
fn every_truncation() {
    for end in (0..=BASE.len()).filter(|end| BASE.is_char_boundary(*end)) {
        survives(&BASE[..end]).unwrap();
    }
}

#[test]
fn every_line_missing() {
    let lines: Vec<_> = BASE.lines().collect();
    for missing in 0..lines.len() {
        let kept = lines
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != missing);
        let kept: Vec<_> = kept.map(|(_, line)| *line).collect();
        survives(&kept.join("\n")).unwrap();
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("x = {}1{}", open.repeat(10_000), close.repeat(10_000));
        survives(&deep).unwrap();
    }
    survives(&format!("[{}x]", "a.".repeat(10_000))).unwrap();
}
