//! The transcript in the README, replayed: what it shows is what happens.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::path::Path;
use std::process::Command;

use running::store::with_store;
use running::{Running, stderr};

/// Where the store is in the README.
const STORE: &str = "/var/lib/rustyrail/store.git";

/// Commit ids and dates are different each time: their shapes stand for them.
fn normal(text: &str) -> String {
    let is_id = |word: &str| {
        matches!(word.len(), 7 | 12 | 40) && word.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let words = text.split(' ').map(|word| {
        let bare = word.trim_end_matches(',');
        let digits = word.replace(|c: char| c.is_ascii_digit(), "9");
        if is_id(bare) {
            word.replace(bare, "ID")
        } else if digits == "9999-99-99" || digits == "99:99:99Z" {
            digits
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readme_shows_what_happens() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let section = readme.split("## Change, look back, undo").nth(1).unwrap();
    let transcript = section
        .split("```console\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let running = Running::start(&with_store());
    let store = running.store().display().to_string();
    let rail = Path::new(env!("CARGO_BIN_EXE_rail"));
    let path = format!(
        "{}:{}",
        rail.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );

    let mut commands = 0;
    for step in transcript.split("$ ").skip(1) {
        let (command, expected) = step.split_once('\n').unwrap();
        let output = Command::new("sh")
            .args(["-c", &command.replace(STORE, &store)])
            .env("PATH", &path)
            .env("RAIL_SOCKET", running.socket())
            .env("RAIL_AUTHOR", "Ada <ada@example.net>")
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap() + &stderr(&output);
        let said = said.replace(&store, STORE);
        let lines = |text: &str| text.lines().map(normal).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&said), lines(expected), "$ {command}");
        commands += 1;
    }
    assert!(commands >= 8, "the transcript has {commands} commands");
}
