//! A backend is taken out of a lab, in order: drained, then down. Needs root; without it, the test says so
//! and passes.
//!
//! ```text
//!   client-1 ── router ──┬── rail-a, rail-b
//!   client-2 ──┘         └── web-1, web-2 (leaves), web-3
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use rustyrail::cli::lab::client::{self, Connection};
use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::netns::Netns;
use rustyrail::cli::lab::topology::VIP;
use rustyrail::cli::lab::{Lab, Options, Topology, files, load};

const RAILS: [&str; 2] = ["rail-a", "rail-b"];
const LEAVING: &str = "web-2";
const CONNECTIONS: usize = 200;
/// After which nothing of a request is on its way any more, delayed acknowledgements included.
const QUIET: Duration = Duration::from_millis(500);

/// Two hundred open connections to one backend stay while it drains, and it gets no other one; with the
/// swap that takes it down, the next packet of every one of them goes elsewhere.
#[test]
fn two_hundred_connections_to_a_backend_that_leaves() {
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-drain");
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let vip = SocketAddr::from((VIP, files::PORT));
    let mut held = open(&clients, vip);
    assert_eq!(held.len(), CONNECTIONS);
    assert_eq!(ask(&mut held), CONNECTIONS);

    // Under load, so that the swap meets packets of connections old and new.
    let load = load::Load::start(&clients, vip);
    lab.apply(&States::from([(LEAVING.to_owned(), "drain")]))
        .unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut held), CONNECTIONS);
    }
    let outcomes = load.stop();
    let tally = load::Tally::of(&outcomes);
    assert_eq!(tally.failed, Vec::<String>::new());
    let outcomes = load::connect(&clients, vip, 600);
    let tally = load::Tally::of(&outcomes);
    assert_eq!(tally.succeeded(), 600, "{:?}", tally.failed);
    assert_eq!(tally.answered.get(LEAVING), None, "{tally:?}");
    assert_eq!(ask(&mut held), CONNECTIONS);

    thread::sleep(QUIET);
    let before = State::of(&lab);
    lab.apply(&States::from([(LEAVING.to_owned(), "down")]))
        .unwrap();
    assert_eq!(ask(&mut held), 0, "answered by a backend that is down");
    let after = State::of(&lab);
    let repins = after.repins - before.repins;
    let packets = after.packets - before.packets;
    eprintln!("{repins} connections moved, {packets} packets to {LEAVING} after the swap");
    assert_eq!(packets, 0);
    assert_eq!(repins, CONNECTIONS as u64);
}

/// Opens connections until so many have met the backend that will leave; the others are closed.
fn open(clients: &[Netns], vip: SocketAddr) -> Vec<Connection> {
    const MOST: usize = 10 * CONNECTIONS;
    let mut held = Vec::new();
    for client in clients {
        let wanted = held.len() + CONNECTIONS / clients.len();
        let opened = client.enter(|| {
            let mut met = Vec::new();
            for _ in 0..MOST {
                if held.len() + met.len() == wanted {
                    break;
                }
                let mut connection = Connection::open(vip).unwrap();
                if connection.get("/").unwrap().body.trim() == LEAVING {
                    met.push(connection);
                }
            }
            met
        });
        held.extend(opened.unwrap());
    }
    held
}

/// One request on each connection; how many the backend that leaves answered.
fn ask(held: &mut [Connection]) -> usize {
    let answers = held.iter_mut().map(|connection| connection.get("/"));
    answers
        .filter(|answer| answer.as_ref().is_ok_and(|a| a.body.trim() == LEAVING))
        .count()
}

/// What both rails have counted.
struct State {
    /// Connections that were moved to another backend.
    repins: u64,
    /// Packets to the backend that leaves.
    packets: u64,
}

impl State {
    fn of(lab: &Lab) -> State {
        let pages = RAILS.map(|rail| {
            let scrape = || client::get(files::METRICS, "/metrics").unwrap();
            lab.netns(rail).enter(scrape).unwrap()
        });
        let sum = |metric: &str, label: &str| {
            let lines = pages.iter().flat_map(|page| page.lines());
            let own = lines.filter(|line| line.starts_with(metric) && line.contains(label));
            own.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum()
        };
        State {
            repins: sum("rustyrail_connection_repins_total{", ""),
            packets: sum(
                "rustyrail_backend_packets_total{",
                &format!("backend=\"{LEAVING}\""),
            ),
        }
    }
}

fn up(name: &str) -> Lab {
    Lab::up(Options {
        name: Some(name.to_owned()),
        topology: Topology::new(2, 2, 3),
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
