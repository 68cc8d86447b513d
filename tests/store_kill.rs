//! `kill -9` at random moments under concurrent writers: every acknowledged commit is there, the repository
//! opens and is clean each time.
//!
//! The test starts itself as the victim. `STORE_KILLS=1000` makes it a thousand rounds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustyrail::store::git::{GitBackend, GitOptions};
use rustyrail::store::{Info, Leaf, Options, Path, Store};

/// Rounds unless `STORE_KILLS` says otherwise.
const KILLS: usize = 12;
const WRITERS: usize = 8;
const VICTIM: &str = "STORE_KILL_VICTIM";

fn open(directory: &FilePath) -> (Arc<GitBackend>, Store) {
    let options = GitOptions {
        create: true,
        ..GitOptions::default()
    };
    let backend = Arc::new(GitBackend::open(&directory.join("store"), options).unwrap());
    let store = Store::open(backend.clone(), Options::default()).unwrap();
    (backend, store)
}

fn path_of(writer: usize) -> Path {
    format!("writer/{writer}/count").parse().unwrap()
}

fn count(store: &Store, writer: usize) -> u64 {
    let leaf = store.main().get(&path_of(writer)).unwrap();
    leaf.map_or(0, |leaf| {
        std::str::from_utf8(leaf.bytes().unwrap())
            .unwrap()
            .parse()
            .unwrap()
    })
}

/// Every writer counts upwards in its own value, by transactions and updates in turn, and says so.
fn be_the_victim(directory: &FilePath) {
    let (_backend, store) = open(directory);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                let (main, at) = (store.main(), path_of(writer));
                for number in count(store, writer) + 1.. {
                    let leaf = Leaf::plain(number.to_string());
                    let info = Info::now("writer", "", format!("{writer}: {number}"));
                    if number % 2 == 0 {
                        main.set(&at, &leaf, &info).unwrap();
                    } else {
                        let mut transaction = main.begin().unwrap();
                        transaction.set(&at, &leaf).unwrap();
                        transaction.commit(&info).unwrap();
                    }
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {writer} {number}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

#[test]
fn killed_writers_lose_nothing() {
    if let Ok(directory) = std::env::var(VICTIM) {
        return be_the_victim(FilePath::new(&directory));
    }
    let kills = std::env::var("STORE_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS);
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<usize, u64> = BTreeMap::new();
    for round in 0..kills {
        kill_once(directory.path(), round, &mut acknowledged);
        let (backend, store) = open(directory.path());
        for (writer, number) in &acknowledged {
            let found = count(&store, *writer);
            assert!(
                found >= *number,
                "round {round}: writer {writer} was told {number}, found {found}"
            );
        }
        store
            .main()
            .set(
                &"round".parse().unwrap(),
                &Leaf::plain(round.to_string()),
                &Info::now("test", "", "alive"),
            )
            .unwrap();
        drop(store);
        let git = backend.git().clone();
        drop(backend);
        assert_eq!(
            git.run(&["fsck", "--full", "--strict", "--no-dangling"])
                .unwrap(),
            "",
            "round {round}"
        );
    }
    let total: u64 = acknowledged.values().sum();
    eprintln!("{kills} kills, {total} commits acknowledged, all there");
    assert!(total > 0);
}

/// Lets the victim work for a moment, kills it, and takes note of what it said.
fn kill_once(directory: &FilePath, round: usize, acknowledged: &mut BTreeMap<usize, u64>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_writers_lose_nothing", "--nocapture"])
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let (send, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    // The clock decides in which phase of a commit it dies; the odd steps visit them all.
    let patience = Duration::from_micros(1_000 + round as u64 * 7_919 % 60_000);
    let begin = Instant::now();
    let mut said = Vec::new();
    while said.is_empty() && begin.elapsed() < Duration::from_secs(60) {
        said.extend(
            lines
                .recv_timeout(Duration::from_secs(1))
                .ok()
                .filter(|line| line.starts_with("ack")),
        );
    }
    std::thread::sleep(patience);
    victim.kill().unwrap();
    victim.wait().unwrap();
    reader.join().unwrap();
    said.extend(lines.try_iter());
    for line in said {
        let mut words = line
            .strip_prefix("ack ")
            .into_iter()
            .flat_map(|rest| rest.split(' '));
        if let (Some(Ok(writer)), Some(Ok(number))) = (
            words.next().map(str::parse),
            words.next().map(str::parse::<u64>),
        ) {
            let last = acknowledged.entry(writer).or_insert(0);
            *last = number.max(*last);
        }
    }
}
