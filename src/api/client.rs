//! A client of the control socket, for the verbs that talk to a running rail.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no rail answers on {}: {source}; start one with \"rail run\", or name its socket with --socket",
        path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The rail ended in the middle, or is not one.
    #[error("the rail on {} did not answer: {source}", path.display())]
    Http {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Gets a path from the rail behind a socket.
pub fn get(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
    call(socket, Method::GET, path, Bytes::new())
}

/// Posts JSON to the rail behind a socket.
pub fn post(socket: &Path, path: &str, body: String) -> Result<(StatusCode, Bytes), ClientError> {
    call(socket, Method::POST, path, body.into())
}

fn call(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(exchange(socket, method, path, body))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), ClientError> {
    let http = |source| ClientError::Http {
        path: socket.to_owned(),
        source,
    };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect {
            path: socket.to_owned(),
            source,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "rail")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(http)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(http)?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, body))
}
