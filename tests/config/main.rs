//! The configuration file: what is accepted, and what is said about what is not.
//!
//! `*.cases` hold the bad inputs as data; see [`cases`] for how to add one.

mod accepted;
mod cases;
mod command;
mod damage;
mod reference;

use rustyrail::pool::{Config, Environment, parse};

/// A valid configuration that earns no warning; the cases change it.
const BASE: &str = include_str!("base.toml");

/// The machine of the tests: eight cores.
fn machine() -> Environment {
    Environment::with_cpus(0..8)
}

/// The configuration in `text`, which must have no error; warnings are let pass.
fn config(text: &str) -> Config {
    match parse(text, "rail.toml", &machine()) {
        Ok((config, _)) => config,
        Err(found) => {
            let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
            panic!("refused:\n{}\nin\n{text}", lines.join("\n"));
        }
    }
}

/// What is said about `text`, one line each without the file's name.
fn findings(text: &str) -> Vec<String> {
    let found = match parse(text, "F", &machine()) {
        Ok((_, warnings)) => warnings,
        Err(found) => found,
    };
    found
        .iter()
        .map(|found| found.to_string().replacen("F:", "", 1))
        .collect()
}
