//! An empty store on some back end, and shorthand for working with it.

use std::sync::Arc;

use rustyrail::api::store as api;
use rustyrail::store::backend::{Backend, MemoryBackend};
use rustyrail::store::conflict::{AnyTree, Validator, Violation};
use rustyrail::store::directory::Source;
use rustyrail::store::git::{Git, GitBackend, GitOptions};
use rustyrail::store::merge::{Content, MergeError, Value};
use rustyrail::store::rest::{Address, RestBackend};
use rustyrail::store::{
    Branch, BranchName, Info, Leaf, Objects, Options, Path, Registry, Signature, Store, StoreError,
    Tree, TypeTag, View,
};

/// Makes stores over one back end.
pub struct Fixture {
    backend: Option<Arc<dyn Backend>>,
    /// Removed when the test is over.
    directory: Option<tempfile::TempDir>,
    server: Option<Server>,
}

/// Serves a store until it is dropped.
struct Server {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(store: Store, socket: &std::path::Path) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                let routes =
                    api::reading(store.clone()).merge(api::changing(store, Arc::new(|| {})));
                tokio::select! {
                    served = axum::serve(listener, routes) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the server panicked"
        );
    }
}

impl Fixture {
    pub fn memory() -> Self {
        Self {
            backend: Some(Arc::new(MemoryBackend::new())),
            directory: None,
            server: None,
        }
    }

    /// One more empty store of the same kind.
    pub fn another(&self) -> Self {
        if self.server.is_some() {
            Self::rest()
        } else if self.directory.is_some() {
            Self::git()
        } else {
            Self::memory()
        }
    }

    /// A new repository. What a test leaves in it has to please the real Git.
    pub fn git() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = GitOptions {
            create: true,
            ..GitOptions::default()
        };
        let backend = Arc::new(GitBackend::open(&directory.path().join("store"), options).unwrap());
        Self {
            backend: Some(backend),
            directory: Some(directory),
            server: None,
        }
    }

    /// A new repository of another process, as far as a client can tell: served over a Unix socket.
    pub fn rest() -> Self {
        let mut fixture = Self::git();
        let store = Store::open(fixture.backend.take().unwrap(), Options::default()).unwrap();
        let socket = fixture.directory.as_ref().unwrap().path().join("socket");
        let server = Server::start(store, &socket);
        let client = RestBackend::connect(Address::Unix(socket)).unwrap();
        fixture.backend = Some(Arc::new(client));
        fixture.server = Some(server);
        fixture
    }

    /// The store, with the test type [`Sum`].
    pub fn store(&self) -> Store {
        self.store_with(Box::new(AnyTree))
    }

    pub fn store_with(&self, validator: Box<dyn Validator>) -> Store {
        let mut registry = Registry::standard();
        registry.register("sum", rustyrail::store::merge::Typed::<Sum>::new);
        let backend = self.backend.clone().unwrap();
        Store::open(
            backend,
            Options {
                registry,
                validator,
            },
        )
        .unwrap()
    }

    pub fn main(&self) -> Branch {
        self.store().main()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // The back end joins packs in the background: not under the eyes of fsck.
        self.backend = None;
        self.server = None;
        if let Some(directory) = self
            .directory
            .as_ref()
            .filter(|_| !std::thread::panicking())
        {
            let git = Git::new(&directory.path().join("store"));
            assert_eq!(
                git.run(&["fsck", "--full", "--strict", "--no-dangling"])
                    .unwrap(),
                ""
            );
        }
    }
}

pub fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub fn branch(text: &str) -> BranchName {
    text.parse().unwrap()
}

pub fn leaf(text: &str) -> Leaf {
    Leaf::plain(text)
}

/// A change at a fixed date, so that commit ids repeat.
pub fn info(message: &str) -> Info {
    let author = Signature::new("Ada", "ada@example.net", 1_700_000_000);
    Info {
        author,
        message: message.to_owned(),
    }
}

/// Sets a value in a commit of its own.
pub fn set(branch: &Branch, at: &str, text: &str) {
    branch
        .set(&path(at), &leaf(text), &info(&format!("{at} = {text}")))
        .unwrap();
}

/// The text at a path; empty if there is none.
pub fn text(view: &View, at: &str) -> String {
    let leaf = view.get(&path(at)).unwrap();
    leaf.map_or_else(String::new, |leaf| {
        String::from_utf8(leaf.bytes().unwrap().to_vec()).unwrap()
    })
}

/// All values as `path=text` lines.
pub fn state(branch: &Branch) -> Vec<String> {
    let view = branch.view().unwrap();
    let paths = view.walk(&Path::root()).unwrap();
    paths
        .iter()
        .map(|(at, _)| format!("{at}={}", text(&view, at.as_str())))
        .collect()
}

/// A number to which both sides' changes are added: the smallest type with a rule of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum(pub i64);

impl Value for Sum {
    fn tag() -> TypeTag {
        TypeTag::new("sum").unwrap()
    }

    fn read(_: &dyn Objects, content: &Content) -> Result<Self, StoreError> {
        let text = content
            .as_blob()
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = text.and_then(|text| text.parse().ok());
        number
            .map(Self)
            .ok_or_else(|| StoreError::value("sum", "not a number"))
    }

    fn write(&self, _: &dyn Objects) -> Result<Content, StoreError> {
        Ok(Content::blob(self.0.to_string().as_bytes()))
    }

    fn merge(
        _: &dyn Objects,
        base: Option<&Self>,
        ours: &Self,
        theirs: &Self,
    ) -> Result<Self, MergeError> {
        Ok(Self(ours.0 + theirs.0 - base.map_or(0, |base| base.0)))
    }
}

/// A branch may not have more than this many values directly in its root.
pub struct AtMost(pub usize);

impl Validator for AtMost {
    fn check(
        &self,
        source: &dyn Source,
        _: &BranchName,
        tree: &Tree,
    ) -> Result<Option<Violation>, StoreError> {
        let count = tree
            .list(source, &Path::root())?
            .map_or(0, |items| items.len());
        Ok((count > self.0).then(|| Violation {
            rule: format!("at most {} values", self.0),
            detail: format!("there are {count}"),
        }))
    }
}
