//! Which control socket a verb talks to.

use std::path::PathBuf;

use crate::pool::Node;

const DIRECTORY: &str = Node::RUN_DIRECTORY;

/// How a verb is told which rail it is about.
#[derive(Debug, Default, clap::Args)]
pub struct SocketArgs {
    /// The rail's control socket (default: what RAIL_SOCKET says, or the only one there is)
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// The rail's configuration file, which names the socket
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub config: Option<PathBuf>,
}

/// Why it is not clear which rail is meant.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No socket.
    #[error("no rail runs here: {DIRECTORY} has no socket; name one with --socket or --config")]
    None,
    /// Several sockets.
    #[error("several rails run here: choose one with --socket: {0}")]
    Several(String),
}

impl SocketArgs {
    /// The socket: as told, by an option or by the environment, or the only one there is.
    pub fn find(&self) -> Result<PathBuf, SocketError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path).map_err(|source| SocketError::Read {
                path: path.clone(),
                source,
            })?;
            return Ok(named_in(&text));
        }
        if let Some(socket) = std::env::var_os("RAIL_SOCKET").filter(|socket| !socket.is_empty()) {
            return Ok(socket.into());
        }
        let mut found: Vec<_> = std::fs::read_dir(DIRECTORY)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "sock"))
            .collect();
        found.sort();
        match found.len() {
            0 => Err(SocketError::None),
            1 => Ok(found.remove(0)),
            _ => {
                let all: Vec<_> = found.iter().map(|p| p.display().to_string()).collect();
                Err(SocketError::Several(all.join(", ")))
            }
        }
    }
}

/// The socket a configuration names, read leniently: the file may be wrong everywhere else, and the
/// rail is who says so.
pub fn named_in(text: &str) -> PathBuf {
    let value: toml::Table = toml::from_str(text).unwrap_or_default();
    let node = value.get("node");
    let string = |key: &str| node?.get(key)?.as_str();
    match string("control_socket") {
        Some(path) => path.into(),
        None => Node::default_socket(string("name").unwrap_or("rail")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_socket() {
        let cases = [
            (
                "[node]\ncontrol_socket = \"/tmp/a.sock\"\nworkers = 7",
                "/tmp/a.sock",
            ),
            ("[node]\nname = \"rail-a\"", "/run/rustyrail/rail-a.sock"),
        ];
        for (text, expected) in cases {
            assert_eq!(named_in(text), PathBuf::from(expected), "{text}");
        }
    }
}
