//! A disk that remembers what was flushed, so that a test can cut the power at any moment.
//!
//! Every operation is carried out in a real directory and recorded. [`SimDisk::crashes`] then makes, for a
//! moment between two operations, the states a machine may come back with: of a file's content what was
//! synced is certain, the rest may be there, cut off, or missing; of a directory's entries those synced are certain,
//! of the others any may have made it and any may not. (A rename is in the target directory before it is out of the source, and a
//! file that was lost from one place without reaching the other one does not exist on any file system we know.)

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use rustyrail::store::git::disk::{Disk, DiskFile, RealDisk};

/// Unsynced entry changes that are tried one by one; older ones are there or not all together.
const SINGLED_OUT: usize = 10;

/// What was done, in order.
#[derive(Clone, Debug)]
pub enum Step {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    CreateDir(PathBuf),
    SyncDir(PathBuf),
    /// Something the test was promised, by number.
    Promise(usize),
}

/// See the module.
#[derive(Clone)]
pub struct SimDisk {
    root: PathBuf,
    steps: Arc<Mutex<Vec<Step>>>,
    /// The operation with this number fails, once.
    fail_at: Arc<Mutex<Option<usize>>>,
}

impl SimDisk {
    /// A disk whose files are below `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            steps: Arc::default(),
            fail_at: Arc::default(),
        }
    }

    /// Records that the caller was promised something.
    pub fn promise(&self, number: usize) {
        self.steps.lock().unwrap().push(Step::Promise(number));
    }

    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    /// Makes the operation that comes `after` this many others fail with an I/O error.
    pub fn fail(&self, after: usize) {
        let done = self.steps.lock().unwrap().len();
        *self.fail_at.lock().unwrap() = Some(done + after);
    }

    /// Whether the failure that was asked for has not happened.
    pub fn still_to_fail(&self) -> bool {
        self.fail_at.lock().unwrap().take().is_some()
    }

    /// Records a step, and carries it out.
    fn step<T>(&self, step: Step, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut steps = self.steps.lock().unwrap();
        let mut fail_at = self.fail_at.lock().unwrap();
        if fail_at.is_some_and(|at| steps.len() >= at) {
            *fail_at = None;
            return Err(io::Error::other("the disk has failed"));
        }
        let result = act()?;
        steps.push(step);
        Ok(result)
    }

    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// The states that may be found after a power cut following the first `count` steps, given what
    /// was durable `before` the first one.
    pub fn crashes(&self, before: &Image, count: usize) -> Vec<Image> {
        let mut model = Model::new(before);
        for step in &self.steps()[..count] {
            model.apply(step);
        }
        model.outcomes()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = self.name(path);
        let file = self.step(Step::Create(name.clone()), || RealDisk.create(path))?;
        Ok(Box::new(SimFile {
            name,
            file,
            disk: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(self.name(from), self.name(to)), || {
            RealDisk.rename(from, to)
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Link(self.name(from), self.name(to)), || {
            RealDisk.link(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove(self.name(path)), || RealDisk.remove(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(Step::CreateDir(self.name(path)), || {
            RealDisk.create_dir(path)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncDir(self.name(path)), || Ok(()))
    }
}

struct SimFile {
    name: PathBuf,
    file: Box<dyn DiskFile>,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let step = Step::Write(self.name.clone(), data.to_vec());
        self.disk.step(step, || self.file.write(data))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.step(Step::Sync(self.name.clone()), || Ok(()))
    }
}

/// The content of a directory tree: files by number, so that two names of one file are told from two files.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    files: BTreeMap<usize, Vec<u8>>,
}

impl Image {
    /// What is in a real directory now.
    pub fn of(root: &Path) -> Self {
        let mut image = Self::default();
        let mut waiting = vec![root.to_path_buf()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                if path.is_dir() {
                    image.directories.insert(name);
                    waiting.push(path);
                } else {
                    let number = image.files.len();
                    image.files.insert(number, fs::read(&path).unwrap());
                    image.names.insert(name, number);
                }
            }
        }
        image
    }

    /// Makes a real directory like this. The files are old: they are from before the machine went down.
    pub fn restore(&self, root: &Path) {
        for directory in &self.directories {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let mut made: HashMap<usize, PathBuf> = HashMap::new();
        for (name, number) in &self.names {
            let path = root.join(name);
            match made.get(number) {
                Some(other) => fs::hard_link(other, &path).unwrap(),
                None => {
                    fs::write(&path, &self.files[number]).unwrap();
                    let file = File::options().write(true).open(&path).unwrap();
                    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
                        .unwrap();
                    made.insert(*number, path);
                }
            }
        }
    }
}

/// An entry of a directory that was changed and not synced.
#[derive(Clone)]
struct Change {
    path: PathBuf,
    /// The file, or that it is a directory; `None` if the entry is gone.
    node: Option<Node>,
    /// For the second half of a rename: the change that must have made it too.
    after: Option<usize>,
}

#[derive(Clone, Copy)]
enum Node {
    File(usize),
    Directory,
}

/// What is certain and what is not.
struct Model {
    durable: Image,
    /// Names as a running machine sees them.
    names: HashMap<PathBuf, usize>,
    /// Everything written, and how much of it is synced.
    content: BTreeMap<usize, (Vec<u8>, usize)>,
    changes: Vec<Option<Change>>,
}

impl Model {
    fn new(before: &Image) -> Self {
        let names = before
            .names
            .iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect();
        let content = before.files.iter();
        let content = content
            .map(|(number, data)| (*number, (data.clone(), data.len())))
            .collect();
        Self {
            durable: before.clone(),
            names,
            content,
            changes: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                let number = self.content.keys().next_back().map_or(0, |last| last + 1);
                self.content.insert(number, (Vec::new(), 0));
                self.set(path, Some(Node::File(number)), None);
            }
            Step::Write(path, data) => {
                let content = self.content.get_mut(&self.names[path]).unwrap();
                content.0.extend_from_slice(data);
            }
            Step::Sync(path) => {
                let content = self.content.get_mut(&self.names[path]).unwrap();
                content.1 = content.0.len();
            }
            Step::Rename(from, to) => {
                let number = self.names[from];
                let added = self.set(to, Some(Node::File(number)), None);
                self.set(from, None, Some(added));
            }
            Step::Link(from, to) => {
                let number = self.names[from];
                self.set(to, Some(Node::File(number)), None);
            }
            Step::Remove(path) => {
                self.set(path, None, None);
            }
            Step::CreateDir(path) => {
                self.set(path, Some(Node::Directory), None);
            }
            Step::SyncDir(path) => {
                for at in 0..self.changes.len() {
                    let here = |change: &Change| change.path.parent() == Some(path);
                    if self.changes[at].as_ref().is_some_and(here) {
                        let change = self.changes[at].take().unwrap();
                        record(&mut self.durable, &change);
                        // A rename is out of the source once it is known to be in the target.
                        for later in self.changes.iter_mut().flatten() {
                            later.after = later.after.filter(|after| *after != at);
                        }
                    }
                }
            }
            Step::Promise(_) => (),
        }
    }

    fn set(&mut self, path: &Path, node: Option<Node>, after: Option<usize>) -> usize {
        match node {
            Some(Node::File(number)) => drop(self.names.insert(path.to_path_buf(), number)),
            Some(Node::Directory) => (),
            None => drop(self.names.remove(path)),
        }
        self.changes.push(Some(Change {
            path: path.to_path_buf(),
            node,
            after,
        }));
        self.changes.len() - 1
    }

    /// Every way this may end.
    fn outcomes(&self) -> Vec<Image> {
        let pending: Vec<usize> = (0..self.changes.len())
            .filter(|at| self.changes[*at].is_some())
            .collect();
        let recent = &pending[pending.len().saturating_sub(SINGLED_OUT)..];
        let mut choices: Vec<BTreeSet<usize>> =
            vec![BTreeSet::new(), pending.iter().copied().collect()];
        for one in recent {
            choices.push(pending.iter().copied().filter(|at| at != one).collect());
            choices.push(BTreeSet::from([*one]));
            // All up to here: what a journal that keeps the order would have.
            choices.push(pending.iter().copied().filter(|at| at <= one).collect());
        }
        let mut images = BTreeSet::new();
        for made in &choices {
            let mut image = self.durable.clone();
            for at in made {
                let change = self.changes[*at].as_ref().unwrap();
                if change.after.is_none_or(|after| made.contains(&after)) {
                    record(&mut image, change);
                }
            }
            // An entry of a directory that is not there is not there.
            let directories = image.directories.clone();
            let reachable = |path: &Path| {
                path.ancestors()
                    .skip(1)
                    .all(|above| above.as_os_str().is_empty() || directories.contains(above))
            };
            image.directories.retain(|path| reachable(path));
            image.names.retain(|path, _| reachable(path));
            for part in [0, 1, 2] {
                let mut image = image.clone();
                let used: BTreeSet<usize> = image.names.values().copied().collect();
                image.files = used
                    .into_iter()
                    .map(|number| {
                        let (data, synced) = &self.content[&number];
                        (
                            number,
                            data[..synced + (data.len() - synced) * part / 2].to_vec(),
                        )
                    })
                    .collect();
                images.insert(image);
            }
        }
        images.into_iter().collect()
    }
}

fn record(image: &mut Image, change: &Change) {
    match change.node {
        Some(Node::File(number)) => drop(image.names.insert(change.path.clone(), number)),
        Some(Node::Directory) => drop(image.directories.insert(change.path.clone())),
        None => drop(image.names.remove(&change.path)),
    }
}
