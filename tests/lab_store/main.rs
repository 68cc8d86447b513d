//! Rails in the lab that are driven from their stores: how soon a change is in the packets, and what two rails
//! that were cut off from each other do when they meet again. Every test brings up a lab of its own and needs
//! root; without it, it says so and passes.
//!
//! ```text
//!   client-1 ── router ──┬── rail-a ──┐ mgmt: a link of their own, over which
//!                        ├── rail-b ──┘       each fetches the other's store
//!                        └── web-1, web-2
//! ```

mod cut_off;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};

use rustyrail::api::{APPLY_PATH, Applied, Offer, client as api};
use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::topology::VIP;
use rustyrail::cli::lab::{Lab, Options, Topology, client, files};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A datagram as a backend got it.
struct Arrival {
    backend: usize,
    number: u64,
    at: Instant,
}

/// Fifty times a file with a hundred services is applied that moves one of them to the other backend, while
/// datagrams for it keep coming: each time the other backend gets them, and none is lost.
///
/// ```text
///   client-1 ── a datagram every half millisecond ──► rail-a ──► web-1, then web-2, then web-1 ...
/// ```
#[test]
fn an_applied_change_is_in_the_next_packets_and_loses_none() {
    const SERVICES: usize = 100;
    const APPLIES: usize = 50;
    const PORT: u16 = 7777;
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-soon", 1);
    lab.write_configs(&States::new()).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let store = disk.path().join("store.git");
    let config = lab.rail_config("rail-a");
    let base = with_store(&std::fs::read_to_string(&config).unwrap(), &store);
    let more: String = (2..SERVICES - 1).map(another_service).collect();
    let text = |live: usize| {
        let mut text = format!(
            "{base}{more}\n[[service]]\nname = \"soon\"\nvip = \"{VIP}\"\nprotocol = \"udp\"\nport = {PORT}\n"
        );
        for (index, backend) in lab.topology.backends.iter().enumerate() {
            let state = if index == live { "up" } else { "down" };
            text += &format!(
                "[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\nstate = \"{state}\"\n",
                backend.name, backend.address
            );
        }
        text
    };
    let texts = [text(0), text(1)];
    std::fs::write(&config, &texts[0]).unwrap();
    let arrivals = sinks(&lab, PORT);
    lab.start_rails().unwrap();

    let (socket, client) = (lab.rail_socket("rail-a"), lab.netns("client-1"));
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut received, mut stale) = (0, 0);
    let mut times = [const { Vec::new() }; 3];
    thread::scope(|scope| {
        scope.spawn(|| {
            client.switch().unwrap();
            keep_sending((VIP, PORT).into(), &stop, &sent);
        });
        let _stop = Stop(&stop);
        let mut next = || {
            received += 1;
            arrivals.recv_timeout(PATIENCE).expect("a datagram")
        };
        while next().backend != 0 {}
        for turn in 1..=APPLIES {
            let (asked, before) = (Instant::now(), sent.load(Ordering::SeqCst));
            apply(&socket, &config, texts[turn % 2].clone());
            let (acknowledged, after) = (Instant::now(), sent.load(Ordering::SeqCst));
            let mut first = None;
            // Until what was sent after the acknowledgment has come.
            loop {
                let Arrival {
                    backend,
                    number,
                    at,
                } = next();
                let moved = backend == turn % 2;
                if moved && number > before {
                    first.get_or_insert(at);
                }
                // One may be on its way into the socket while it is counted.
                stale += u32::from(!moved && number > after + 1);
                if moved && number > after + 16 {
                    break;
                }
            }
            let first = first.expect("one has come");
            times[0].push(first.saturating_duration_since(acknowledged));
            times[1].push(first - asked);
            times[2].push(acknowledged - asked);
        }
    });
    let sent = sent.into_inner();
    while received < sent {
        let lost = |_| panic!("{} of {sent} datagrams are lost", sent - received);
        arrivals.recv_timeout(PATIENCE).unwrap_or_else(lost);
        received += 1;
    }
    for (what, times) in [
        "acknowledged to the first packet by the new table",
        "asked to the first packet by the new table",
        "asked to acknowledged",
    ]
    .iter()
    .zip(&mut times)
    {
        times.sort();
        let (p50, max) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!("{what}: p50 {p50:?}, max {max:?} of {APPLIES} applies");
    }
    eprintln!(
        "{sent} datagrams sent, {received} received; {stale} that were sent after an acknowledgment \
         went by the old table; {SERVICES} services"
    );
    assert_eq!(stale, 0);
    assert_eq!(received, sent);
    let count = git(&store, &["rev-list", "--count", "main"]);
    assert_eq!(count.trim(), (APPLIES + 1).to_string());
    let page = metrics(&lab, "rail-a");
    let services = page
        .lines()
        .filter(|line| line.starts_with("rustyrail_table_info{") && line.contains("desired"));
    assert_eq!(services.count(), SERVICES);
}

/// Ends the sender when the test ends, however it does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends datagrams from several ports in turn, so that every worker has some.
fn keep_sending(to: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) {
    let sockets: Vec<_> = (0..16)
        .map(|_| UdpSocket::bind("0.0.0.0:0").unwrap())
        .collect();
    for socket in sockets.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
        socket.send_to(&number.to_be_bytes(), to).unwrap();
        thread::sleep(Duration::from_micros(500));
    }
}

/// A socket on the VIP of every backend; what they get, when.
fn sinks(lab: &Lab, port: u16) -> Receiver<Arrival> {
    let (sender, arrivals) = channel();
    for (backend, host) in lab.topology.backends.iter().enumerate() {
        let bind = || UdpSocket::bind((VIP, port)).unwrap();
        let socket = lab.netns(&host.name).enter(bind).unwrap();
        // Room for what comes while a busy machine runs somebody else.
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).unwrap();
        let sender = sender.clone();
        thread::spawn(move || {
            let mut number = [0; 8];
            while socket.recv_from(&mut number).is_ok() {
                let arrival = Arrival {
                    backend,
                    number: u64::from_be_bytes(number),
                    at: Instant::now(),
                };
                if sender.send(arrival).is_err() {
                    return;
                }
            }
        });
    }
    arrivals
}

/// One of the services that nobody asks here, with ten backends.
fn another_service(number: usize) -> String {
    let mut text = format!(
        "\n[[service]]\nname = \"other-{number}\"\nvip = \"{VIP}\"\nprotocol = \"udp\"\nport = {}\n",
        8000 + number
    );
    for backend in 1..=10 {
        text += &format!(
            "[[service.backend]]\nname = \"web-{backend}\"\naddress = \"198.51.100.{}\"\n",
            10 + backend
        );
    }
    text
}

/// What `rail apply FILE` asks; returns when it is acknowledged.
fn apply(socket: &Path, file: &Path, text: String) {
    let offer = Offer {
        file: file.display().to_string(),
        text,
        ..Offer::default()
    };
    let body = serde_json::to_string(&offer).unwrap();
    let (_, answer) = api::post(socket, APPLY_PATH, body).unwrap();
    let answer: Applied = serde_json::from_slice(&answer).unwrap();
    assert!(answer.applied && answer.commit.is_some(), "{answer:?}");
}

fn with_store(config: &str, store: &Path) -> String {
    config.replace("[node]\n", &format!("[node]\nstore = {store:?}\n"))
}

/// Runs the real Git.
fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(arguments);
    let output = command.env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn metrics(lab: &Lab, rail: &str) -> String {
    let scrape = || client::get(files::METRICS, "/metrics").unwrap();
    lab.netns(rail).enter(scrape).unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        thread::sleep(PAUSE);
    }
}

fn up(name: &str, rails: u8) -> Lab {
    Lab::up(Options {
        name: Some(name.to_owned()),
        topology: Topology::new(1, rails, 2),
        rail: PathBuf::from(env!("CARGO_BIN_EXE_rail")),
        tunnel: None,
    })
    .unwrap()
}

/// Whether this process may not make network namespaces; says so on stderr.
fn cannot_make_namespaces() -> bool {
    let refused = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_err())
        .join()
        .unwrap();
    if refused {
        eprintln!("SKIPPED: network namespaces need root");
    }
    refused
}
