//! `deploy/config.md` says what the parser does: the same keys, defaults and bounds. And the parser
//! reads every key that it knows.

use rustyrail::pool::keys::{self, TABLES, Table};
use toml::Value;

use super::{BASE, config, findings};

const REFERENCE: &str = include_str!("../../deploy/config.md");

/// A row of the reference.
struct Row<'a> {
    table: &'static Table,
    key: &'a str,
    default: &'a str,
    bounds: &'a str,
}

/// The rows of all tables, in order. A heading that names no table fails the test.
fn rows() -> Vec<Row<'static>> {
    let mut table = None;
    let mut rows = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## `") {
            let header = heading.split('`').next().unwrap();
            let found = TABLES.iter().find(|table| table.header() == header);
            table = Some(found.unwrap_or_else(|| panic!("no table is called {header}")));
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<_> = row.split(" |").map(str::trim).collect();
            let [key, _, default, bounds, ..] = cells[..] else {
                panic!("{line}")
            };
            rows.push(Row {
                table: table.expect("a heading before the first row"),
                key: key.trim_end_matches('`'),
                default: default
                    .trim_start_matches("| ")
                    .trim_start_matches('|')
                    .trim(),
                bounds: bounds
                    .trim_start_matches("| ")
                    .trim_start_matches('|')
                    .trim(),
            });
        }
    }
    rows
}

/// The base with one key of the first table of its kind set, or taken away.
fn with(table: &Table, key: &str, value: Option<Value>) -> String {
    let mut document: toml::Table = BASE.parse().unwrap();
    let mut place = &mut document;
    for part in table.path.split('.') {
        let next = place
            .entry(part)
            .or_insert_with(|| Value::Table(toml::Table::new()));
        place = match next {
            Value::Array(tables) => tables[0].as_table_mut().unwrap(),
            Value::Table(table) => table,
            other => panic!("{} is {other}", table.path),
        };
    }
    match value {
        Some(value) => place.insert(key.to_owned(), value),
        None => place.remove(key),
    };
    // Keys that belong to one encapsulation need that one.
    let encap = match key {
        "gue_port" => Some("gue"),
        "dscp" => Some("l3dsr"),
        _ => None,
    };
    if let Some(encap) = encap {
        place.insert("encap".to_owned(), encap.into());
    }
    // A tag in front needs one to stand in front of.
    if key == "outer_vlan" {
        place.insert("vlan".to_owned(), 100.into());
    }
    document.to_string()
}

fn value(text: &str) -> Value {
    let document: toml::Table = format!("value = {text}").parse().unwrap();
    document["value"].clone()
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let documented: Vec<_> = rows().iter().map(|row| (row.table.path, row.key)).collect();
    let known: Vec<_> = TABLES
        .iter()
        .flat_map(|table| table.keys.iter().map(|key| (table.path, key.name)))
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn every_known_key_is_read() {
    for table in TABLES {
        for key in table.keys {
            // No key holds a date, so whoever reads the key complains of it.
            let found = findings(&with(table, key.name, Some(value("1979-05-27"))));
            let quoted = format!("`{}` is", key.name);
            assert!(
                found
                    .iter()
                    .any(|line| line.contains(&quoted) && line.contains("a date")),
                "{} {}: {found:?}",
                table.header(),
                key.name
            );
        }
    }
}

#[test]
fn every_example_is_a_good_value() {
    for table in TABLES {
        for key in table.keys {
            let text = with(table, key.name, Some(value(key.example)));
            let blamed = [format!("{} ", key.name), format!("`{}`", key.name)];
            for line in findings(&text) {
                let message = line.split("error: ").nth(1).unwrap_or_default();
                assert!(
                    !blamed.iter().any(|blamed| message.starts_with(blamed)),
                    "{} {}: {line}",
                    table.header(),
                    key.name
                );
            }
        }
    }
}

#[test]
fn documented_defaults_are_the_defaults() {
    let mut checked = 0;
    for row in rows() {
        let Some(default) = row
            .default
            .strip_prefix('`')
            .and_then(|cell| cell.strip_suffix('`'))
        else {
            continue;
        };
        // Some are patterns: a path with the node's name in it, a numbered name.
        if default.contains('<') || default.contains(',') || row.key == "port" {
            continue;
        }
        // The base's own value must not stand in the way of a default that clashes with another key.
        let present = config(&with(row.table, row.key, Some(value(default))));
        let absent = config(&with(row.table, row.key, None));
        assert_eq!(present, absent, "{} {}", row.table.header(), row.key);
        checked += 1;
    }
    assert!(checked > 25, "only {checked} defaults were found");
}

#[test]
fn documented_bounds_are_the_bounds() {
    let mut checked = 0;
    for row in rows() {
        let cell: Vec<_> = row.bounds.split('`').collect();
        let ["", low, " to ", high, ..] = cell[..] else {
            continue;
        };
        let refused = |text: &str| {
            let found = findings(&with(row.table, row.key, Some(value(text))));
            found.iter().any(|line| {
                line.contains("out of range") || line.contains("neither a port nor a range")
            })
        };
        for inside in [low, high] {
            assert!(
                !refused(inside),
                "{} {} = {inside}",
                row.table.header(),
                row.key
            );
        }
        let outside = match (low.parse::<i64>(), high.parse::<i64>()) {
            (Ok(low), Ok(high)) => [(low - 1).to_string(), (high + 1).to_string()],
            // Times: parts add up, and the smallest part is a nanosecond.
            _ => ["\"0s\"".to_owned(), high.replace("\"", "") + "1ns"].map(|time| {
                if time.starts_with('"') {
                    time
                } else {
                    format!("\"{time}\"")
                }
            }),
        };
        for outside in outside {
            assert!(
                refused(&outside),
                "{} {} = {outside}",
                row.table.header(),
                row.key
            );
        }
        checked += 1;
    }
    assert!(checked > 25, "only {checked} bounds were found");
}

#[test]
fn defaults_in_the_example_are_the_defaults() {
    let example = include_str!("../../deploy/rail.example.toml");
    let mut tables: Vec<&Table> = Vec::new();
    for line in example.lines() {
        let header = TABLES.iter().find(|table| line == table.header());
        tables.extend(header.copied());
    }
    tables.dedup();
    for table in [
        keys::NODE,
        keys::PORT,
        keys::TIMEOUTS,
        keys::LIMITS,
        keys::SERVICE,
    ] {
        assert!(
            tables.contains(&&table),
            "the example lacks {}",
            table.header()
        );
    }
    // Every key is shown, set or commented out.
    for table in TABLES {
        for key in table.keys {
            let shown = example.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.strip_prefix(key.name)
                    .is_some_and(|rest| rest.starts_with(" = "))
            });
            let in_words = example.contains(&format!("{} = ", key.name));
            assert!(shown || in_words, "the example does not show {}", key.name);
        }
    }
    // Commented defaults of `[timeouts]` and `[limits]`, made real, change nothing.
    let mut set = String::new();
    let mut inside = false;
    for line in example.lines() {
        if line.starts_with('[') {
            inside = line == "[timeouts]" || line == "[limits]";
        }
        let commented = line
            .strip_prefix("# ")
            .filter(|rest| inside && rest.contains(" = "));
        set.push_str(commented.unwrap_or(line));
        set.push('\n');
    }
    assert_ne!(set, example);
    assert_eq!(config(&set), config(example));
}
