//! Traffic: connections from every client to the VIP, many short ones and a few long ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::client::{self, Connection};
use super::netns::Netns;

/// Threads per client namespace, each with one connection at a time.
const THREADS: usize = 8;
/// The pause between two requests of a long-lived connection.
const PAUSE: Duration = Duration::from_millis(20);

/// One connection with one request.
#[derive(Debug)]
pub struct Outcome {
    /// When the connection was begun.
    pub begun: Instant,
    /// The backend that answered, or why none did.
    pub answer: Result<String, String>,
}

/// How many connections each backend answered, and how many failed.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: BTreeMap<String, u64>,
    pub failed: Vec<String>,
}

/// Short connections going on in the background.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Outcome>>>,
}

/// Long-lived connections going on in the background.
#[derive(Debug)]
pub struct LongLived {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Life>>,
}

/// What one long-lived connection saw.
#[derive(Debug)]
pub struct Life {
    /// Its end at the client, once it is open.
    pub local: Option<SocketAddr>,
    /// The backend it met.
    pub backend: String,
    /// Requests that were answered by this backend.
    pub answered: u64,
    /// Why it ended before it was stopped.
    pub error: Option<String>,
    /// When it ended, whatever for.
    pub ended: Instant,
}

impl Tally {
    /// Counts outcomes by backend.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match &outcome.answer {
                Ok(backend) => *tally.answered.entry(backend.clone()).or_default() += 1,
                Err(error) => tally.failed.push(error.clone()),
            }
        }
        tally
    }

    /// Connections that were answered.
    pub fn succeeded(&self) -> u64 {
        self.answered.values().sum()
    }

    /// The share of `backend` among those answered, in percent.
    pub fn share(&self, backend: &str) -> f64 {
        let count = self.answered.get(backend).copied().unwrap_or(0);
        percent(count, self.succeeded())
    }
}

/// `part` of `whole` in percent; zero of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// Makes `count` connections from all clients together, one request each.
pub fn connect(clients: &[Netns], host: SocketAddr, count: u64) -> Vec<Outcome> {
    let left = Arc::new(AtomicU64::new(count));
    let take = move || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    };
    let threads = spawn(clients, host, take);
    threads.into_iter().flat_map(join).collect()
}

impl Load {
    /// Starts making connections from all clients.
    pub fn start(clients: &[Netns], host: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let threads = spawn(clients, host, move || !stopped.load(Ordering::Relaxed));
        Self { stop, threads }
    }

    /// Stops, and returns what became of every connection.
    pub fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(join).collect()
    }
}

impl LongLived {
    /// Opens `count` connections, dealt over the clients, that ask again and again.
    pub fn start(clients: &[Netns], host: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = clients
            .iter()
            .cycle()
            .take(count)
            .map(|client| {
                let (client, stop) = (client.clone(), Arc::clone(&stop));
                thread::spawn(move || live(&client, host, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Closes them, and returns what each saw.
    pub fn stop(self) -> Vec<Life> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(join).collect()
    }
}

/// Starts [`THREADS`] threads in every client; each makes connections while `more` says so.
fn spawn(
    clients: &[Netns],
    host: SocketAddr,
    more: impl Fn() -> bool + Clone + Send + 'static,
) -> Vec<JoinHandle<Vec<Outcome>>> {
    clients
        .iter()
        .flat_map(|client| std::iter::repeat_n(client, THREADS))
        .map(|client| {
            let (client, more) = (client.clone(), more.clone());
            thread::spawn(move || {
                let mut outcomes = Vec::new();
                let inside = client.switch();
                while more() {
                    let begun = Instant::now();
                    let answer = match &inside {
                        Ok(()) => ask(host),
                        Err(error) => Err(error.to_string()),
                    };
                    outcomes.push(Outcome { begun, answer });
                }
                outcomes
            })
        })
        .collect()
}

fn ask(host: SocketAddr) -> Result<String, String> {
    let body = client::get(host, "/").map_err(|error| error.to_string())?;
    Ok(body.trim().to_owned())
}

fn live(client: &Netns, host: SocketAddr, stop: &AtomicBool) -> Life {
    let mut life = Life {
        local: None,
        backend: String::new(),
        answered: 0,
        error: None,
        ended: Instant::now(),
    };
    let result = client
        .switch()
        .map_err(|error| error.to_string())
        .and_then(|()| {
            let mut connection = Connection::open(host).map_err(|error| error.to_string())?;
            life.local = connection.local().ok();
            while !stop.load(Ordering::Relaxed) {
                let body = connection.get("/").map_err(|error| error.to_string())?.body;
                if life.answered == 0 {
                    life.backend = body.trim().to_owned();
                } else if body.trim() != life.backend {
                    return Err(format!("answered by {} in between", body.trim()));
                }
                life.answered += 1;
                sleep(PAUSE);
            }
            Ok(())
        });
    life.error = result.err();
    life.ended = Instant::now();
    life
}

fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
