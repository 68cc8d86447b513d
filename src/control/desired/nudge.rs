//! How a rail tells another one that its store has something new: an empty `POST` to `nudge` below the address the
//! other's store is fetched from.
//!
//! Nothing is told but that, and nobody need believe it: who is told fetches from its own remotes, no more
//! often than it likes. Remotes that are not at an `http://` address are not told; they fetch at their interval.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What is added to a store's address.
pub const NUDGE: &str = "nudge";
/// How long the other may take for anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// The port of `http://` addresses that name none.
const PORT: u16 = 80;

/// Tells the rail whose store is at `url`. An address that is not of this kind is nobody to be told.
pub fn send(url: &str) -> io::Result<()> {
    let Some((authority, path)) = parse(url) else {
        return Ok(());
    };
    let mut addresses = if has_port(authority) {
        authority.to_socket_addrs()?
    } else {
        let host = authority.trim_matches(['[', ']']);
        (host, PORT).to_socket_addrs()?
    };
    let address = addresses
        .next()
        .ok_or_else(|| io::Error::other("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "POST {path}/{NUDGE} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    // Its answer is of no interest, but a connection that is closed before it comes may be reset unheard.
    let _ = stream.read(&mut [0; 64])?;
    Ok(())
}

/// Host and port, and path, of an `http://` address.
fn parse(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (authority, path) = (
        authority.rsplit('@').next().unwrap_or_default(),
        path.trim_end_matches('/'),
    );
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (!authority.is_empty() && plain(authority) && plain(path)).then_some((authority, path))
}

fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !port.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn addresses_are_taken_apart() {
        let cases = [
            (
                "http://192.0.2.11:9464/store.git",
                Some(("192.0.2.11:9464", "/store.git")),
            ),
            (
                "http://user:secret@rail-b/store.git/",
                Some(("rail-b", "/store.git")),
            ),
            ("http://[2001:db8::1]/a/b", Some(("[2001:db8::1]", "/a/b"))),
            ("https://rail-b/store.git", None),
            ("ssh://rail-b/store.git", None),
            ("/srv/store.git", None),
            ("http:///store.git", None),
            ("http://rail-b/a b\r\n", None),
        ];
        for (url, expected) in cases {
            assert_eq!(parse(url), expected, "{url}");
        }
        let ports = ["rail-b:1", "[::1]:1", "rail-b", "[::1]"].map(has_port);
        assert_eq!(ports, [true, true, false, false]);
    }

    #[test]
    fn it_is_a_request_that_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/store.git", listener.local_addr().unwrap());
        let told = std::thread::spawn(move || send(&url));
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        assert!(request.starts_with("POST /store.git/nudge HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(request.ends_with("\r\n\r\n"), "{request}");
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        drop(stream);
        told.join().unwrap().unwrap();
    }
}
