//! The sockets of the control core.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::pool::Node;

/// Owner and group may talk to a rail.
const SOCKET_MODE: u32 = 0o660;

/// The open sockets of a rail. The Unix socket goes with them.
#[derive(Debug)]
pub struct Listeners {
    socket: UnixListener,
    metrics: Option<TcpListener>,
    guard: SocketGuard,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another rail has it.
    #[error(
        "another rail runs with the control socket {}: stop it, or give this one its own \
         [node].control_socket", .0.display()
    )]
    Taken(PathBuf),
    /// The file system refuses.
    #[error("cannot open the control socket {}: {source}", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The exporter's address is in use or not ours.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address for [node].metrics"
    )]
    Metrics {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl Listeners {
    /// Opens what the node's configuration names. Needs a running runtime.
    pub fn open(node: &Node) -> Result<Self, ListenError> {
        let path = &node.control_socket;
        let error = |source| ListenError::Socket {
            path: path.clone(),
            source,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(error)?;
        }
        let guard = SocketGuard::take(path)?;
        // Under the lock, what lies there was left by a rail that is gone.
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error(e)),
            _ => {}
        }
        let socket = UnixListener::bind(path).map_err(error)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(error)?;
        let metrics = node.metrics.map(listen_tcp).transpose()?;
        Ok(Listeners {
            socket,
            metrics,
            guard,
        })
    }

    /// The listeners, and the guard that removes the socket when it is dropped.
    pub fn into_parts(self) -> (UnixListener, Option<TcpListener>, SocketGuard) {
        (self.socket, self.metrics, self.guard)
    }
}

fn listen_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    open().map_err(|source| ListenError::Metrics { address, source })
}

/// The lock beside the socket: at most one rail has it, and it goes with its process however that ends.
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    _lock: File,
}

impl SocketGuard {
    fn take(path: &Path) -> Result<Self, ListenError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let error = |source| ListenError::Socket {
            path: path.to_owned(),
            source,
        };
        let lock = File::create(PathBuf::from(name)).map_err(error)?;
        match lock.try_lock() {
            Ok(()) => Ok(SocketGuard {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(ListenError::Taken(path.to_owned())),
            Err(TryLockError::Error(e)) => Err(error(e)),
        }
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        // The lock file stays: removing it would let two rails hold locks on different files.
        let _ = fs::remove_file(&self.path);
    }
}
