//! The lab's HTTP client: as much of HTTP/1.1 as it takes to ask nginx and the exporter.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::netns::Netns;

/// A SYN that is lost once is sent again after a second; a request that takes longer than this has
/// failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No answer asked for here is larger, bytes.
const MAX_BODY: u64 = 256 << 20;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    pub body: String,
}

/// A connection on which requests can follow one another.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    /// Connects, from the namespace of the calling thread.
    pub fn open(host: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&host, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            host,
        })
    }

    /// Its end here.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Sends a request and reads the whole answer.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read_response()
    }

    /// Sends a request with a body of `length` zeros and reads the whole answer, which nginx may
    /// send before it has read the body.
    pub fn post(&mut self, path: &str, length: usize) -> io::Result<Response> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n",
            self.host
        );
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        io::copy(&mut io::repeat(0).take(length as u64), stream)?;
        self.read_response()
    }

    fn read_response(&mut self) -> io::Result<Response> {
        let status = self
            .read_line()?
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| malformed("the status line"))?;
        let mut length = None;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let length: u64 = length
            .filter(|length| *length <= MAX_BODY)
            .ok_or_else(|| malformed("the content length"))?;
        let mut body = String::new();
        self.stream
            .by_ref()
            .take(length)
            .read_to_string(&mut body)?;
        if body.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Response { status, body })
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// One request on a connection of its own; the body of an answer with status 200.
pub fn get(host: SocketAddr, path: &str) -> io::Result<String> {
    let response = Connection::open(host)?.get(path)?;
    match response.status {
        200 => Ok(response.body),
        status => Err(io::Error::other(format!("status {status}"))),
    }
}

/// Whether something accepts connections on this address of a namespace.
pub fn answers(netns: &Netns, address: Ipv4Addr, port: u16) -> bool {
    netns
        .enter(|| TcpStream::connect_timeout(&SocketAddr::from((address, port)), TIMEOUT).is_ok())
        .unwrap_or(false)
}

/// Whether the exporter at `address` in a namespace says that its rail is well.
pub fn healthy(netns: &Netns, address: SocketAddr) -> bool {
    netns
        .enter(|| get(address, "/healthz").is_ok())
        .unwrap_or(false)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} of the answer is malformed"),
    )
}
