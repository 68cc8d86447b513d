//! The values of a pool, by the paths they have in the store.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::pool::{Draft, to_toml};
use crate::store::Path;

/// The values of a pool by path, without line feeds.
pub type Values = BTreeMap<Path, String>;

/// The values of a pool. Those that have their default are left out, except those a reader looks for.
pub fn values(pool: &Draft) -> Values {
    let text = to_toml(pool);
    let (document, _) = DeTable::parse_recoverable(&text);
    let mut values = Values::new();
    for (key, value) in document.get_ref() {
        let directory = match key.get_ref().as_ref() {
            "service" => "services",
            "peer" => "peers",
            "remote" => "remotes",
            other => other,
        };
        // Names are path elements, so nothing here can be too long or have a slash.
        if let Ok(directory) = directory.parse() {
            flatten(&directory, value.get_ref(), &mut values);
        }
    }
    values
}

fn flatten(at: &Path, value: &DeValue<'_>, values: &mut Values) {
    match value {
        DeValue::Array(tables) => {
            for table in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                let name = table.get("name").and_then(|name| name.get_ref().as_str());
                if let Some(directory) = name.and_then(|name| at.join(name).ok()) {
                    table_values(&directory, table, values);
                }
            }
        }
        DeValue::Table(table) => table_values(at, table, values),
        _ => {}
    }
}

fn table_values(directory: &Path, table: &DeTable<'_>, values: &mut Values) {
    for (key, value) in table {
        let key = match key.get_ref().as_ref() {
            "name" => continue,
            "backend" => "backends",
            key => key,
        };
        let Ok(path) = directory.join(key) else {
            continue;
        };
        match value.get_ref() {
            DeValue::String(text) => drop(values.insert(path, text.to_string())),
            DeValue::Boolean(is) => drop(values.insert(path, is.to_string())),
            DeValue::Integer(number) => drop(values.insert(path, number.as_str().to_owned())),
            nested => flatten(&path, nested, values),
        }
    }
}
