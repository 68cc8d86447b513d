//! `git clone` and `git push` against the rail: a bridge to `git http-backend`.
//!
//! Everybody who may read metrics may clone and fetch; pushing is possible from this machine only, as long as there
//! is no authentication. What is pushed to `main` is checked by the repository's `pre-receive` hook, see
//! [`hook`](crate::control::desired::hook). When a push is acknowledged, the rail runs with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::store::Then;
use crate::control::desired::nudge::NUDGE;

/// Where the repository is found: `git clone http://ADDRESS/store.git`.
pub const PREFIX: &str = "/store.git";
/// Largest push, in bytes.
const MAX_PUSH: usize = 256 << 20;

#[derive(Clone)]
struct Bridge {
    directory: PathBuf,
    then: Then,
}

/// The routes for the repository in `directory`; `then` is called after a push, before it is acknowledged, and
/// `nudged` when another rail says that it has something new.
pub fn routes(directory: PathBuf, then: Then, nudged: Then) -> Router {
    let nudge = async move || {
        nudged();
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route(&format!("{PREFIX}/{NUDGE}"), post(nudge))
        .route(&format!("{PREFIX}/{{*path}}"), any(serve))
        .with_state(Bridge { directory, then })
}

async fn serve(
    State(bridge): State<Bridge>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let uri = request.uri().clone();
    let path = uri
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default()
        .to_owned();
    let query = uri.query().unwrap_or_default().to_owned();
    let pushes = path.ends_with("/git-receive-pack") || query.contains("git-receive-pack");
    if pushes && !peer.ip().to_canonical().is_loopback() {
        let why = "pushing is possible from the rail's own machine only\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_PUSH).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n").into_response();
    };
    let mut command = command(&bridge, &path, &query, &parts.method, &parts.headers);
    command
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", peer.ip().to_string());
    if pushes {
        command.env("REMOTE_USER", "local");
    }
    let output = match run(command, &body).await {
        Ok(output) => output,
        Err(error) => {
            let why = format!("git http-backend: {error}\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
        }
    };
    if pushes && parts.method == Method::POST {
        (bridge.then)();
    }
    answer(&output).unwrap_or_else(|| {
        let why = "git http-backend gave no answer\n";
        (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
    })
}

/// The process as CGI (RFC 3875) wants it.
fn command(
    bridge: &Bridge,
    path: &str,
    query: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        .arg("http-backend")
        .env("LC_ALL", "C")
        .env("GIT_PROJECT_ROOT", &bridge.directory)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method.as_str())
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    let given = [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (header, variable) in given {
        if let Some(value) = headers.get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(mut command: Command, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A process that has read enough closes its end; what it then says is the answer.
            let _ = stdin.write_all(body).await;
        }
    };
    let (_, output) = tokio::join!(feed, child.wait_with_output());
    Ok(output?.stdout)
}

/// The answer a CGI program wrote: headers, an empty line, the body.
fn answer(output: &[u8]) -> Option<Response> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).ok()?.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next()?.parse::<u16>().ok()?;
            *response.status_mut() = StatusCode::from_u16(code).ok()?;
        } else {
            let name: HeaderName = name.parse().ok()?;
            response
                .headers_mut()
                .append(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgi_answers() {
        let ok = answer(b"Content-Type: text/plain\r\nExpires: x: y\r\n\r\nbody").unwrap();
        assert_eq!(ok.status(), 200);
        assert_eq!(ok.headers()["expires"], "x: y");
        let missing = answer(b"Status: 404 Not Found\r\n\r\n").unwrap();
        assert_eq!(missing.status(), 404);
        for wrong in [
            &b""[..],
            b"Content-Type: text/plain\r\n",
            b"nonsense\r\n\r\n",
            b"Status: x\r\n\r\n",
        ] {
            assert!(answer(wrong).is_none());
        }
    }
}
