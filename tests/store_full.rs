//! A full disk and a read-only one: an error, and nothing lost. Needs to be root, to mount a small
//! file system; says so and passes otherwise.

use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustyrail::store::git::{GitBackend, GitOptions};
use rustyrail::store::{CommitError, Info, Leaf, ObjectId, Options, Path, Store, StoreError};

/// A small file system in memory, unmounted in the end.
struct SmallDisk {
    mount: PathBuf,
    _directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = directory.path().join("disk");
        std::fs::create_dir(&mount).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&mount)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self {
                mount,
                _directory: directory,
            });
        }
        eprintln!("skipped: cannot mount a small file system (not root?)");
        None
    }

    fn remount(&self, options: &str) {
        let mut command = Command::new("mount");
        command
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.mount);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

fn open(mount: &FilePath) -> (Arc<GitBackend>, Store) {
    let options = GitOptions {
        create: true,
        ..GitOptions::default()
    };
    let backend = Arc::new(GitBackend::open(&mount.join("store"), options).unwrap());
    let store = Store::open(backend.clone(), Options::default()).unwrap();
    (backend, store)
}

fn set(store: &Store, number: usize, text: &str) -> Result<(), CommitError> {
    let path: Path = format!("value/{number}").parse().unwrap();
    store
        .main()
        .set(&path, &Leaf::plain(text), &Info::now("test", "", "set"))
        .map(drop)
}

fn check(mount: &FilePath, head: Option<ObjectId>, texts: &[String]) {
    let (backend, store) = open(mount);
    assert_eq!(store.main().head().unwrap(), head);
    let view = store.main().view().unwrap();
    for (number, text) in texts.iter().enumerate() {
        let path: Path = format!("value/{number}").parse().unwrap();
        assert_eq!(
            view.get(&path).unwrap(),
            Some(Leaf::plain(text)),
            "value {number}"
        );
    }
    assert_eq!(
        backend
            .git()
            .run(&["fsck", "--full", "--strict", "--no-dangling"])
            .unwrap(),
        ""
    );
}

/// Text that does not compress.
fn noise(seed: usize) -> String {
    let mut state = seed as u64;
    let words = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state ^ state >> 29)
    });
    words.take(200).collect()
}

/// Writes until the disk is full.
fn fill(path: &FilePath) {
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn kind(result: Result<(), CommitError>) -> io::ErrorKind {
    match result {
        Err(CommitError::Store(StoreError::Io { source, .. })) => source.kind(),
        other => panic!("not an I/O error: {other:?}"),
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        return;
    };
    let ballast = disk.mount.join("ballast");
    std::fs::write(&ballast, vec![0; 200_000]).unwrap();
    let (backend, store) = open(&disk.mount);
    let mut texts = Vec::new();
    let error = loop {
        let text = noise(texts.len());
        match set(&store, texts.len(), &text) {
            Ok(()) => texts.push(text),
            Err(error) => break error,
        }
    };
    assert_eq!(kind(Err(error)), io::ErrorKind::StorageFull);
    assert!(texts.len() > 100, "{}", texts.len());
    let head = store.main().head().unwrap();
    // Packs that are being joined may still make room. What is then left is taken, so that no join has any.
    while backend.tidy().is_ok_and(|joined| joined > 0) {}
    let filler = disk.mount.join("filler");
    fill(&filler);
    // Many at once fail alike, and none of them moves the branch.
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (store, first) = (&store, texts.len());
            scope.spawn(move || {
                let failed = set(store, first + writer, &noise(first + writer).repeat(20));
                assert_eq!(kind(failed), io::ErrorKind::StorageFull);
            });
        }
    });
    assert_eq!(store.main().head().unwrap(), head);
    check(&disk.mount, head, &texts);
    // With room again, the same store goes on.
    std::fs::remove_file(&ballast).unwrap();
    std::fs::remove_file(&filler).unwrap();
    let text = noise(texts.len());
    set(&store, texts.len(), &text).unwrap();
    texts.push(text);
    let head = store.main().head().unwrap();
    drop((store, backend));
    check(&disk.mount, head, &texts);
}

#[test]
fn a_read_only_disk_is_read_and_refuses_writes() {
    let Some(disk) = SmallDisk::mount("size=4m") else {
        return;
    };
    let (backend, store) = open(&disk.mount);
    set(&store, 0, "before").unwrap();
    drop((store, backend));
    let head = {
        disk.remount("ro");
        let (_, store) = open(&disk.mount);
        let head = store.main().head().unwrap();
        assert_eq!(
            kind(set(&store, 1, "refused")),
            io::ErrorKind::ReadOnlyFilesystem
        );
        assert_eq!(store.main().head().unwrap(), head);
        head
    };
    check(&disk.mount, head, &["before".to_owned()]);
    // A disk that becomes read-only under a store that is open, and writable again.
    disk.remount("rw");
    let (_backend, store) = open(&disk.mount);
    set(&store, 0, "again").unwrap();
    disk.remount("ro");
    assert_eq!(
        kind(set(&store, 0, "refused")),
        io::ErrorKind::ReadOnlyFilesystem
    );
    disk.remount("rw");
    set(&store, 0, "at last").unwrap();
    check(
        &disk.mount,
        store.main().head().unwrap(),
        &["at last".to_owned()],
    );
}
