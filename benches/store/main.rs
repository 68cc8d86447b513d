//! What the store costs: reads, durable commits, merges of trees, queues and ropes, and the size and the opening
//! of a long history.
//!
//! `cargo bench --bench store`, or with a filter: `cargo bench --bench store -- commit`. At the end all of it is
//! in one table. Durable commits depend on the disk: one flush, and the bare sequence of the same writes
//! and flushes, are measured beside them.

mod table;
mod values;

use std::hint::black_box;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, Throughput, criterion_group};
use rustyrail::store::git::disk::{Disk, DiskFile, RealDisk};
use rustyrail::store::git::{GitBackend, GitOptions};
use rustyrail::store::tree_merge::merge_trees;
use rustyrail::store::{
    Branch, Info, Leaf, ObjectId, Options, Path, Registry, Signature, Store, Tree, View,
};

/// Writers that share flushes.
const WRITERS: usize = 64;

/// Commits measured as one: enough that every flush is shared by all writers.
const BURST: u64 = 16 * WRITERS as u64;

fn info() -> Info {
    let author = Signature::new("bench", "bench@localhost", 1_700_000_000);
    Info {
        author,
        message: "bench".to_owned(),
    }
}

/// The path of a value in a tree of `width`^3 values: services, their backends, what is said about these.
fn path(width: usize, number: usize) -> Path {
    let (service, rest) = (number / (width * width), number % (width * width));
    format!(
        "service-{service}/backend-{}/key-{}",
        rest / width,
        rest % width
    )
    .parse()
    .expect("a path")
}

/// Pseudo-random numbers below `limit`, the same in every run.
fn numbers(limit: usize) -> impl Iterator<Item = usize> {
    let mut state: u64 = 1;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    })
}

fn fill(branch: &Branch, width: usize) {
    let filled = branch.update(&info(), |tree, source| {
        (0..width.pow(3))
            .try_for_each(|number| tree.set(source, &path(width, number), &leaf(number)))
    });
    filled.expect("a filled tree");
}

fn leaf(number: usize) -> Leaf {
    Leaf::plain(format!("value {number}"))
}

fn open(directory: &FilePath, disk: Arc<dyn Disk>) -> Store {
    let options = GitOptions {
        create: true,
        disk,
        ..GitOptions::default()
    };
    let backend = GitBackend::open(directory, options).expect("a repository");
    Store::open(Arc::new(backend), Options::default()).expect("a store")
}

/// A disk that never flushes: for building what is measured later.
struct Hasty;

impl Disk for Hasty {
    fn create(&self, path: &FilePath) -> std::io::Result<Box<dyn DiskFile>> {
        struct File(Box<dyn DiskFile>);
        impl DiskFile for File {
            fn write(&mut self, data: &[u8]) -> std::io::Result<()> {
                self.0.write(data)
            }
            fn sync(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        Ok(Box::new(File(RealDisk.create(path)?)))
    }
    fn rename(&self, from: &FilePath, to: &FilePath) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &FilePath, to: &FilePath) -> std::io::Result<()> {
        RealDisk.link(from, to)
    }
    fn remove(&self, path: &FilePath) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn create_dir(&self, path: &FilePath) -> std::io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn sync_dir(&self, _: &FilePath) -> std::io::Result<()> {
        Ok(())
    }
}

/// One value by path out of 103,823, at random.
fn reads(c: &mut Criterion) {
    const WIDTH: usize = 47;
    let directory = tempfile::tempdir().expect("a directory");
    let main = open(&directory.path().join("store"), Arc::new(Hasty)).main();
    fill(&main, WIDTH);
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    let paths: Vec<Path> = numbers(WIDTH.pow(3))
        .take(10_000)
        .map(|number| path(WIDTH, number))
        .collect();
    let view = main.view().expect("a view");
    let mut at = (0..paths.len()).cycle();
    let mut next = || &paths[at.next().unwrap_or(0)];
    group.bench_function("value of a view", |b| {
        b.iter(|| black_box(view.get(next()).expect("a value")))
    });
    group.bench_function("value of a branch", |b| {
        b.iter(|| black_box(main.get(next()).expect("a value")))
    });
    let ids: Vec<ObjectId> = paths.iter().map(|path| id(&view, path)).collect();
    let backend = main.store().backend();
    let mut at = (0..ids.len()).cycle();
    group.bench_function("packed object by id, no cache", |b| {
        b.iter(|| {
            black_box(
                backend
                    .get(&ids[at.next().unwrap_or(0)])
                    .expect("an object"),
            )
        })
    });
    group.finish();
}

fn id(view: &View, path: &Path) -> ObjectId {
    view.value_id(path).expect("a tree").expect("a value").id
}

/// Durable commits of one value each in a tree of 1,000 paths.
fn commits(c: &mut Criterion) {
    const WIDTH: usize = 10;
    let directory = tempfile::tempdir().expect("a directory");
    let main = open(&directory.path().join("store"), Arc::new(RealDisk)).main();
    fill(&main, WIDTH);
    let mut group = c.benchmark_group("commit");
    group
        .throughput(Throughput::Elements(BURST))
        .sample_size(10);
    let count = AtomicUsize::new(0);
    let next = || leaf(count.fetch_add(1, Ordering::Relaxed));
    let update = |main: &Branch, number| {
        main.set(&path(WIDTH, number), &next(), &info())
            .expect("a commit");
    };
    group.bench_function("64 writers, updates", |b| {
        b.iter_custom(|iterations| together(iterations * BURST, |number| update(&main, number)))
    });
    group.bench_function("64 writers, transactions", |b| {
        b.iter_custom(|iterations| {
            together(iterations * BURST, |number| {
                let mut transaction = main.begin().expect("a transaction");
                transaction
                    .set(&path(WIDTH, number), &next())
                    .expect("a write");
                transaction.commit(&info()).expect("a commit");
            })
        })
    });
    let hasty = open(&directory.path().join("hasty"), Arc::new(Hasty)).main();
    fill(&hasty, WIDTH);
    group.bench_function("64 writers, updates, nothing flushed", |b| {
        b.iter_custom(|iterations| together(iterations * BURST, |number| update(&hasty, number)))
    });
    group.throughput(Throughput::Elements(1));
    let mut number = numbers(WIDTH.pow(3));
    group.bench_function("alone", |b| {
        b.iter(|| {
            main.set(&path(WIDTH, number.next().unwrap_or(0)), &next(), &info())
                .expect("a commit")
        })
    });
    let bare = directory.path().join("bare");
    group.bench_function("bare writes and flushes of one commit", |b| {
        std::fs::create_dir_all(bare.join("pack")).expect("a directory");
        std::fs::create_dir_all(bare.join("refs")).expect("a directory");
        let mut round = 0;
        b.iter(|| {
            round += 1;
            bare_commit(&bare, round).expect("bare writes");
        })
    });
    group.bench_function("one file of 1 kB written and flushed", |b| {
        b.iter(|| {
            let file = bare.join("one");
            flushed(&file, 1024).expect("a file");
            RealDisk.remove(&file).expect("no file")
        })
    });
    group.finish();
}

/// `iterations` calls of `work` by 64 threads, each with paths of its own; the time until all are done.
fn together(iterations: u64, work: impl Fn(usize) + Sync) -> Duration {
    let left = AtomicUsize::new(iterations as usize);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (left, work) = (&left, &work);
            scope.spawn(move || {
                let mut round = 0;
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok()
                {
                    work((writer + round % 15 * WRITERS) % 1000);
                    round += 1;
                }
            });
        }
    });
    begin.elapsed()
}

/// What the store does on disk for one commit, with as many bytes.
fn bare_commit(directory: &FilePath, round: usize) -> std::io::Result<()> {
    let (pack, refs) = (directory.join("pack"), directory.join("refs"));
    let [data, index, text] =
        ["pack", "idx", "ref"].map(|kind| directory.join(format!("{round}.{kind}")));
    flushed(&data, 1100)?;
    flushed(&index, 1212)?;
    RealDisk.rename(&data, &pack.join(format!("{round}.pack")))?;
    RealDisk.rename(&index, &pack.join(format!("{round}.idx")))?;
    RealDisk.sync_dir(&pack)?;
    flushed(&text, 41)?;
    RealDisk.link(&text, &refs.join("main.lock"))?;
    RealDisk.rename(&refs.join("main.lock"), &refs.join("main"))?;
    RealDisk.sync_dir(&refs)?;
    RealDisk.remove(&text)
}

fn flushed(file: &FilePath, size: usize) -> std::io::Result<()> {
    let mut file = RealDisk.create(file)?;
    file.write(&vec![b'x'; size])?;
    file.sync()
}

/// Two sides with 100 changed values each, in a tree of 103,823 values.
fn merges(c: &mut Criterion) {
    const WIDTH: usize = 47;
    let directory = tempfile::tempdir().expect("a directory");
    let main = open(&directory.path().join("store"), Arc::new(Hasty)).main();
    fill(&main, WIDTH);
    let base = main.view().expect("a view").id().expect("a tree");
    let overlay = main.store().overlay();
    let mut pick = numbers(WIDTH.pow(3));
    let mut side = |first: usize| {
        let mut tree = Tree::at(base);
        for number in pick.by_ref().filter(|number| number % 2 == first).take(100) {
            tree.set(&*overlay, &path(WIDTH, number), &Leaf::plain("changed"))
                .expect("a write");
        }
        tree.write(&*overlay).expect("a tree")
    };
    let (ours, theirs) = (side(0), side(1));
    let registry = Registry::standard();
    c.bench_function("merge/100 edits a side of 100k paths", |b| {
        b.iter(|| {
            let merged =
                merge_trees(&*overlay, &registry, Some(&base), &ours, &theirs).expect("a merge");
            assert!(merged.conflicts.is_empty());
            merged.tree
        })
    });
}

/// 10,000 commits of single writers on 100,000 paths: size on disk, and time to open.
fn long_history(c: &mut Criterion) {
    const WIDTH: usize = 47;
    let directory = tempfile::tempdir().expect("a directory");
    let path_of_store = directory.path().join("store");
    let store = open(&path_of_store, Arc::new(Hasty));
    let main = store.main();
    fill(&main, WIDTH);
    let mut pick = numbers(WIDTH.pow(3));
    for number in 0..10_000 {
        let at = path(WIDTH, pick.next().unwrap_or(0));
        main.set(&at, &leaf(1_000_000 + number), &info())
            .expect("a commit");
    }
    drop((main, store));
    let (bytes, packs) = size_of(path_of_store.clone());
    table::note_size(bytes, packs);
    c.bench_function("open/10k commits on 100k paths, and read one value", |b| {
        b.iter(|| {
            open(&path_of_store, Arc::new(RealDisk))
                .main()
                .get(&path(WIDTH, 1))
                .expect("a value")
        })
    });
}

/// Bytes and packs in a directory.
fn size_of(directory: PathBuf) -> (u64, usize) {
    let (mut bytes, mut packs) = (0, 0);
    let mut waiting = vec![directory];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).expect("a directory").flatten() {
            let (metadata, path) = (entry.metadata().expect("a file"), entry.path());
            bytes += metadata.len();
            packs += usize::from(path.extension().is_some_and(|kind| kind == "pack"));
            if metadata.is_dir() {
                waiting.push(path);
            }
        }
    }
    (bytes, packs)
}

fn config() -> Criterion {
    Criterion::default()
        .output_directory(FilePath::new(table::RESULTS))
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = config();
    targets = reads, commits, merges, values::queues, values::ropes, long_history
}

fn main() {
    let begun = SystemTime::now();
    benches();
    config().configure_from_args().final_summary();
    table::print(begun, BURST);
}
