//! Requests over connections that are kept open, one for each thread that asks at the same time.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use crate::store::error::StoreError;

/// Where a store is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On a Unix socket, such as a rail's control socket.
    Unix(PathBuf),
    /// On a TCP port.
    Tcp(SocketAddr),
}

/// What the other side said.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A client of one address. It must not be used from inside an async runtime, since it waits.
pub struct Http {
    address: Address,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Http {
    /// Fails if nobody listens there.
    pub fn new(address: Address) -> Result<Self, StoreError> {
        let http = Self {
            address,
            idle: Mutex::default(),
        };
        let first = http.connect()?;
        http.put_back(first);
        Ok(http)
    }

    pub fn get(&self, path: &str) -> Result<Answer, StoreError> {
        self.call(&Method::GET, path, &Bytes::new())
    }

    pub fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, StoreError> {
        self.call(&Method::POST, path, &Bytes::from(body))
    }

    /// The failure of a request.
    pub fn error(&self, path: &str, why: impl Display) -> StoreError {
        let place = match &self.address {
            Address::Unix(socket) => socket.display().to_string(),
            Address::Tcp(address) => address.to_string(),
        };
        StoreError::Remote(Arc::from(format!("the store at {place}: {path}: {why}")))
    }

    fn call(&self, method: &Method, path: &str, body: &Bytes) -> Result<Answer, StoreError> {
        let idle = || {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
        };
        // The other side closes connections that were idle for long, or is another process by now: that shows only
        // when one is used. Reading may be tried again without harm; a commit must not be made twice.
        if let Some(mut connection) = idle()
            && !connection.sender.is_closed()
        {
            match connection.exchange(method, path, body) {
                Ok(answer) => {
                    self.put_back(connection);
                    return Ok(answer);
                }
                Err(error) if *method != Method::GET => return Err(self.error(path, error)),
                Err(_) => {}
            }
        }
        let mut connection = self.connect()?;
        let answer = connection
            .exchange(method, path, body)
            .map_err(|error| self.error(path, error))?;
        self.put_back(connection);
        Ok(answer)
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(connection);
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let failed = |error: io::Error| self.error("connecting", error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let sender = runtime.block_on(async {
            match &self.address {
                Address::Unix(path) => shake_hands(UnixStream::connect(path).await?).await,
                Address::Tcp(address) => shake_hands(TcpStream::connect(address).await?).await,
            }
        });
        Ok(Connection {
            sender: sender.map_err(failed)?,
            runtime,
        })
    }
}

async fn shake_hands<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Connection {
    fn exchange(&mut self, method: &Method, path: &str, body: &Bytes) -> io::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "rail")
            .body(Full::new(body.clone()))
            .map_err(io::Error::other)?;
        let sender = &mut self.sender;
        self.runtime.block_on(async {
            sender.ready().await.map_err(io::Error::other)?;
            let answer = sender
                .send_request(request)
                .await
                .map_err(io::Error::other)?;
            let status = answer.status().as_u16();
            let body = answer
                .into_body()
                .collect()
                .await
                .map_err(io::Error::other)?;
            Ok(Answer {
                status,
                body: body.to_bytes().to_vec(),
            })
        })
    }
}

/// A text as the value in a query (RFC 3986, section 2.1).
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
