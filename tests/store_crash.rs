//! Power cuts and failing disks: whatever was acknowledged is there, the repository opens, Git finds
//! no fault with it, and work goes on.
//!
//! A simulated disk records every operation; the power is cut after each of them, in every way the
//! disk may have lost what was not flushed.

#[path = "store/sim_disk.rs"]
mod sim_disk;

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use rustyrail::store::git::{Git, GitBackend, GitOptions};
use rustyrail::store::{
    BranchName, CommitError, Info, Leaf, Options, Path, Signature, Store, StoreError,
};
use sim_disk::{Image, SimDisk, Step};

fn info(message: &str) -> Info {
    let author = Signature::new("Ada", "ada@example.net", 1_700_000_000);
    Info {
        author,
        message: message.to_owned(),
    }
}

fn open(root: &FilePath, options: GitOptions) -> (Arc<GitBackend>, Store) {
    let options = GitOptions {
        create: true,
        tidy: false,
        ..options
    };
    let backend = Arc::new(GitBackend::open(&root.join("store"), options).unwrap());
    let store = Store::open(backend.clone(), Options::default()).unwrap();
    (backend, store)
}

fn recorded(root: &FilePath, disk: &SimDisk) -> (Arc<GitBackend>, Store) {
    open(
        root,
        GitOptions {
            disk: Arc::new(disk.clone()),
            ..GitOptions::default()
        },
    )
}

fn set(store: &Store, branch: &str, at: &str, text: &str) -> Result<(), CommitError> {
    let branch: BranchName = branch.parse().unwrap();
    let path: Path = at.parse().unwrap();
    store
        .branch(&branch)
        .set(&path, &Leaf::plain(text), &info(at))
        .map(drop)
}

fn has(store: &Store, branch: &str, at: &str, text: &str) -> bool {
    let branch: BranchName = branch.parse().unwrap();
    store.branch(&branch).get(&at.parse().unwrap()).unwrap() == Some(Leaf::plain(text))
}

/// A value that was acknowledged when promise number `n` was recorded.
struct Promised<'a>(usize, &'a str, &'a str, &'a str);

/// Cuts the power after every recorded step, and looks at every state that may be found then.
fn check_all_crashes(disk: &SimDisk, before: &Image, promised: &[Promised<'_>]) {
    let steps = disk.steps();
    let mut seen = BTreeSet::new();
    for count in 0..=steps.len() {
        let kept = steps[..count].iter().filter_map(|step| match step {
            Step::Promise(number) => Some(*number),
            _ => None,
        });
        let kept: BTreeSet<usize> = kept.collect();
        for image in disk.crashes(before, count) {
            if seen.insert((image.clone(), kept.clone())) {
                let told = format!("after step {count}, {:?}", steps[..count].last());
                check_crash(
                    &image,
                    promised.iter().filter(|promise| kept.contains(&promise.0)),
                    &told,
                );
            }
        }
    }
    eprintln!("{} steps, {} different states", steps.len(), seen.len());
    assert!(seen.len() > steps.len());
}

fn check_crash<'a>(image: &Image, promised: impl Iterator<Item = &'a Promised<'a>>, told: &str) {
    let directory = tempfile::tempdir().unwrap();
    image.restore(directory.path());
    // No flushes needed any more.
    let (backend, store) = recorded(directory.path(), &SimDisk::new(directory.path()));
    for Promised(number, branch, at, text) in promised {
        assert!(
            has(&store, branch, at, text),
            "{told}: promise {number}, {branch}:{at}, is lost"
        );
    }
    match backend
        .git()
        .run(&["fsck", "--full", "--strict", "--no-dangling"])
    {
        Ok(said) => assert_eq!(said, "", "{told}"),
        Err(error) => panic!("{told}: {error}"),
    }
    // Everything reachable is readable, not only what was promised.
    for (branch, head) in store.branches().unwrap() {
        for (id, _) in store.log(&[head]).unwrap() {
            let view = store.at(&id).unwrap();
            for (path, _) in view.walk(&Path::root()).unwrap() {
                assert!(
                    view.get(&path).unwrap().is_some(),
                    "{told}: {branch} {path}"
                );
            }
        }
    }
    for branch in ["main", "node/rail-a"] {
        set(&store, branch, "after", "1").unwrap_or_else(|error| panic!("{told}: {error}"));
    }
    let left = std::fs::read_dir(directory.path().join("store/rail"))
        .unwrap()
        .count();
    assert_eq!(
        left, 1,
        "{told}: more than our own claim is left in the working directory"
    );
}

#[test]
fn a_power_cut_while_a_repository_is_made_and_first_used() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(directory.path());
    let (_, store) = recorded(directory.path(), &disk);
    set(&store, "main", "a/b", "1").unwrap();
    disk.promise(1);
    set(&store, "main", "a/b", "2").unwrap();
    disk.promise(2);
    // What was promised first was replaced by what was promised second, or is about to be.
    let promised = [Promised(2, "main", "a/b", "2")];
    check_all_crashes(&disk, &Image::default(), &promised);
}

#[test]
fn a_power_cut_while_branches_move() {
    let directory = tempfile::tempdir().unwrap();
    let (_, store) = open(directory.path(), GitOptions::default());
    set(&store, "main", "before", "1").unwrap();
    drop(store);
    let before = Image::of(directory.path());
    let disk = SimDisk::new(directory.path());
    let (_, store) = recorded(directory.path(), &disk);
    set(&store, "node/rail-a", "health/web-1", "up").unwrap();
    disk.promise(1);
    std::thread::scope(|scope| {
        for (number, (branch, at)) in [("main", "a"), ("main", "b"), ("node/rail-a", "c")]
            .iter()
            .enumerate()
        {
            let (store, disk) = (&store, &disk);
            scope.spawn(move || {
                set(store, branch, at, "1").unwrap();
                disk.promise(2 + number);
            });
        }
    });
    let promised = [
        Promised(1, "node/rail-a", "health/web-1", "up"),
        Promised(2, "main", "a", "1"),
        Promised(3, "main", "b", "1"),
        Promised(4, "node/rail-a", "c", "1"),
    ];
    check_all_crashes(&disk, &before, &promised);
}

#[test]
fn a_power_cut_while_packs_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let (_, store) = open(directory.path(), GitOptions::default());
    for number in 0..16 {
        set(&store, "main", &format!("d/{number}"), "1").unwrap();
    }
    drop(store);
    let before = Image::of(directory.path());
    let disk = SimDisk::new(directory.path());
    let (backend, store) = recorded(directory.path(), &disk);
    disk.promise(0);
    assert_eq!(backend.packs(), 16);
    assert_eq!(backend.tidy().unwrap(), 16);
    assert_eq!(backend.packs(), 1);
    set(&store, "main", "last", "1").unwrap();
    disk.promise(1);
    let names: Vec<String> = (0..16).map(|number| format!("d/{number}")).collect();
    let mut promised: Vec<_> = names
        .iter()
        .map(|at| Promised(0, "main", at, "1"))
        .collect();
    promised.push(Promised(1, "main", "last", "1"));
    check_all_crashes(&disk, &before, &promised);
}

/// Each operation of a commit fails once, with the machine staying up.
#[test]
fn a_failing_disk_is_an_error_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SimDisk::new(directory.path());
    let (backend, store) = recorded(directory.path(), &disk);
    set(&store, "main", "kept", "0").unwrap();
    let mut failures = 0;
    for after in 0.. {
        disk.fail(after);
        let at = format!("try/{after}");
        let result = set(&store, "main", &at, "1");
        if disk.still_to_fail() {
            result.unwrap();
            break;
        }
        failures += 1;
        match result {
            // Removing a temporary file is not worth an error.
            Ok(()) => assert!(has(&store, "main", &at, "1")),
            Err(CommitError::Store(StoreError::Unsure { .. })) => {
                assert!(has(&store, "main", &at, "1"))
            }
            Err(CommitError::Store(StoreError::Io { .. })) => {
                assert!(!has(&store, "main", &at, "1"), "{after}")
            }
            Err(other) => panic!("{after}: {other}"),
        }
        set(&store, "main", "kept", &after.to_string()).unwrap();
        assert!(has(&store, "main", "kept", &after.to_string()));
    }
    assert!(failures > 10, "{failures}");
    assert_eq!(
        backend
            .git()
            .run(&["fsck", "--full", "--strict", "--no-dangling"])
            .unwrap(),
        ""
    );
    let directory = Git::new(&directory.path().join("store"));
    assert!(
        directory
            .run(&["log", "--format=%s", "main"])
            .unwrap()
            .lines()
            .count()
            > failures
    );
}
