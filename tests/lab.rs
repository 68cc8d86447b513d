//! The lab, end to end. Every test brings up its own and needs root; without it, it says so and
//! passes.
//!
//! ```text
//!   client-1 ── router ──┬── rail-a        router: 203.0.113.0/24 by ECMP over the rails
//!   client-2 ──┘         ├── rail-b        rails:  the VIP in GRE or IPIP to the backends
//!                        ├── web-1         backends: nginx on the VIP, answers go to the
//!                        ├── web-2                   client without a rail
//!                        └── web-3
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use rustyrail::cli::lab::client::Connection;
use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::probe::probe;
use rustyrail::cli::lab::topology::{ROUTER, Role, VIP};
use rustyrail::cli::lab::{Lab, Options, Topology, client, files, load};

/// Two labs stand side by side, each complete; when they are gone, nothing of them is left.
#[test]
fn labs_come_and_go() {
    if cannot_make_namespaces() {
        return;
    }
    let (one, two) = (up("t-come1"), up("t-come2"));
    for lab in [&one, &two] {
        for backend in &lab.topology.backends {
            let url = (backend.address, files::PORT);
            let from_outside = lab.netns(ROUTER).enter(|| client::get(url.into(), "/"));
            assert!(from_outside.unwrap().is_err(), "nginx serves the VIP alone");
            assert!(client::answers(
                &lab.netns(&backend.name),
                VIP,
                files::IPIP_PORT
            ));
        }
    }
    let addresses = rail(&[
        "exec", "--name", "t-come1", "web-2", "--", "ip", "-4", "address",
    ]);
    assert!(
        text(&addresses).contains("198.51.100.12/24"),
        "{addresses:?}"
    );
    let status = rail(&[
        "exec", "--name", "t-come1", "rail-a", "--", "sh", "-c", "exit 7",
    ]);
    assert_eq!(status.status.code(), Some(7));

    one.down().unwrap();
    assert_nothing_left("t-come1");
    drop(two);
    assert_nothing_left("t-come2");
}

/// The self-test passes in a lab as it is made, and fails when clients hash anew for every
/// retransmission, the kernel's default.
///
/// ```text
///   client-1 ─ SYN, SYN, SYN ─► router ─ ECMP ─► rail-a │ rail-b   (counted, never answered)
/// ```
#[test]
fn one_tuple_meets_one_rail() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-tuple");
    // No rail runs here, so nobody answers the router's ARP.
    for rail in &lab.topology.rails {
        let (address, mac, bridge) = (rail.address, rail.mac(), Role::Rail.bridge());
        let neighbor = format!("neigh replace {address} lladdr {mac} dev {bridge} nud permanent\n");
        lab.netns(ROUTER).ip(&neighbor).unwrap();
    }
    let seen = probe(&lab).unwrap();
    assert!(seen.is_sound(), "{seen:?}");
    assert!(seen.met("rail-a") > 0 && seen.met("rail-b") > 0, "{seen:?}");

    lab.netns("client-1")
        .sysctl(&[("net/core/txrehash", "1")])
        .unwrap();
    let seen = probe(&lab).unwrap();
    assert!(seen.split() > 0 && !seen.is_sound(), "{seen:?}");
}

/// Interrupted at any moment, a lab takes itself away; killed outright, `rail lab down` does.
#[test]
fn an_interrupted_lab_leaves_nothing() {
    if cannot_make_namespaces() {
        return;
    }
    // From the first namespace on: before it, there is nothing to take away.
    for (signal, delay) in [
        (Signal::SIGINT, 0),
        (Signal::SIGTERM, 100),
        (Signal::SIGHUP, 400),
    ] {
        let mut lab = start(&["up", "--name", "t-stop"]);
        wait_for_namespace("rr-t-stop.router");
        thread::sleep(Duration::from_millis(delay));
        signal_to(&lab, signal);
        assert_eq!(
            lab.wait().unwrap().code(),
            Some(128 + signal as i32),
            "{signal}"
        );
        assert_nothing_left("t-stop");
    }
    let mut lab = start(&["up", "--name", "t-kill"]);
    wait_for_namespace("rr-t-kill.web-3");
    signal_to(&lab, Signal::SIGKILL);
    lab.wait().unwrap();
    assert!(rail(&["down", "--name", "t-kill"]).status.success());
    assert_nothing_left("t-kill");
}

/// The demo shows what it says, on this machine, and cleans up. Its exit code is its own verdict on
/// shares, failures and lost connections.
#[test]
fn the_demo_succeeds() {
    if cannot_make_namespaces() {
        return;
    }
    let output = rail(&["demo", "--name", "t-demo"]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("3000 answered, 0 failed"), "{said}");
    assert_nothing_left("t-demo");
}

/// Every connection is entered once, by one worker of one rail; all workers have some; what they
/// count adds up to what their port counted; and a rail that is told to end does so in order.
///
/// ```text
///   client-1, client-2 ── 600 connections ──► rail-a: worker 0, worker 1
///                                             rail-b: worker 0, worker 1
/// ```
#[test]
fn a_connection_belongs_to_one_worker_of_one_rail() {
    const CONNECTIONS: u64 = 600;
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-worker");
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let vip = SocketAddr::from((VIP, files::PORT));
    let outcomes = load::connect(&clients, vip, CONNECTIONS);
    assert_eq!(
        load::Tally::of(&outcomes).succeeded(),
        CONNECTIONS,
        "{outcomes:?}"
    );

    let mut entered = Vec::new();
    for rail in ["rail-a", "rail-b"] {
        let page = settled_metrics(&lab, rail);
        let dropped = |line: &&str| line.starts_with("rustyrail_drops") && !line.ends_with(" 0");
        let drops: Vec<_> = page.lines().filter(dropped).collect();
        assert!(drops.is_empty(), "{rail}: {drops:?}");
        entered.extend(values(&page, "rustyrail_connection_inserts_total"));
    }
    assert_eq!(entered.iter().sum::<u64>(), CONNECTIONS, "{entered:?}");
    assert!(entered.iter().all(|entered| *entered > 0), "{entered:?}");

    for rail in ["rail-a", "rail-b"] {
        let log = lab.log_tail(rail, "rail");
        assert_eq!(
            lab.stop(rail, "rail").and_then(|status| status.code()),
            Some(0),
            "{log}"
        );
    }
}

/// A rail's metrics once its workers have counted what its port has: a scrape reads one after the
/// other while the last packets still pass.
fn settled_metrics(lab: &Lab, rail: &str) -> String {
    for _ in 0..100 {
        let scrape = || client::get(files::METRICS, "/metrics").unwrap();
        let page = lab.netns(rail).enter(scrape).unwrap();
        let by_workers = values(&page, "rustyrail_worker_rx_packets_total");
        let by_port = values(&page, "rustyrail_port_rx_packets_total");
        if by_workers.iter().sum::<u64>() == by_port.iter().sum::<u64>() {
            return page;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the workers of {rail} never count what its port counts");
}

/// The values of all lines of one metric.
fn values(page: &str, metric: &str) -> Vec<u64> {
    let own = page
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")));
    own.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// While backends come and go around them, a download and an upload on connections to a backend
/// that stays are neither cut nor changed.
///
/// ```text
///   client-1 ── 80 MiB from /files/large ──── web-1      web-2: drain, down, up, down, up ...
///            ── 64 uploads of 1 MiB ───────── web-1
/// ```
#[test]
fn transfers_outlive_changes_of_the_pool() {
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-long");
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    let client = lab.netns("client-1");
    let transfers: Vec<_> = [files::PORT, files::IPIP_PORT]
        .map(|port| SocketAddr::from((VIP, port)))
        .into_iter()
        .flat_map(|vip| [(vip, download as Transfer), (vip, uploads as Transfer)])
        .map(|(vip, transfer)| {
            let mut connection = client.enter(|| connect_to("web-1", vip)).unwrap();
            thread::spawn(move || transfer(&mut connection))
        })
        .collect();
    for state in ["drain", "down", "up"].into_iter().cycle().take(30) {
        lab.apply(&States::from([("web-2".to_owned(), state)]))
            .unwrap();
    }
    for transfer in transfers {
        transfer.join().unwrap();
    }
}

/// Uploads on connections to a backend that stays go on through a thousand swaps of the tables.
///
/// ```text
///   client-1 ── uploads until the end ──── web-1      web-2: drain, down, up, drain, down, up ...
/// ```
#[test]
fn a_transfer_outlives_a_thousand_swaps() {
    const SWAPS: usize = 1000;
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-swaps");
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    let client = lab.netns("client-1");
    let done = Arc::new(AtomicBool::new(false));
    let transfers = [files::PORT, files::IPIP_PORT].map(|port| {
        let vip = SocketAddr::from((VIP, port));
        let mut connection = client.enter(|| connect_to("web-1", vip)).unwrap();
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let mut uploads = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(connection.post("/", 1 << 18).unwrap().body, "web-1\n");
                uploads += 1;
            }
            uploads
        })
    });
    let generation = |lab: &Lab| -> u64 {
        let pages = ["rail-a", "rail-b"].map(|rail| settled_metrics(lab, rail));
        let generations = pages.iter().flat_map(|page| page.lines());
        let generations =
            generations.filter_map(|line| line.strip_prefix("rustyrail_snapshot_generation "));
        generations.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    let before = generation(&lab);
    for state in ["drain", "down", "up"].into_iter().cycle().take(SWAPS / 2) {
        lab.apply(&States::from([("web-2".to_owned(), state)]))
            .unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let uploads = transfers.map(|transfer| transfer.join().unwrap());
    assert!(uploads.iter().all(|uploads| *uploads > 0), "{uploads:?}");
    let swaps = generation(&lab) - before;
    assert!(swaps >= SWAPS as u64, "{swaps} swaps");
}

type Transfer = fn(&mut Connection);

fn download(connection: &mut Connection) {
    let file = connection.get("/files/large").unwrap();
    assert_eq!(file.body.len() as u64, files::LARGE_FILE_SIZE);
}

fn uploads(connection: &mut Connection) {
    for _ in 0..64 {
        assert_eq!(connection.post("/", 1 << 20).unwrap().body, "web-1\n");
    }
}

/// A connection that met this backend.
fn connect_to(backend: &str, vip: SocketAddr) -> Connection {
    loop {
        let mut connection = Connection::open(vip).unwrap();
        if connection.get("/").unwrap().body.trim() == backend {
            return connection;
        }
    }
}

/// Wrong requests are refused with a reason, and leave nothing behind.
#[test]
fn wrong_requests_are_refused() {
    let usage: [&[&str]; 3] = [
        &["up", "--rails", "0"],
        &["up", "--backends", "9"],
        &["exec", "web-1"],
    ];
    for arguments in usage {
        assert_eq!(rail(arguments).status.code(), Some(2), "{arguments:?}");
    }
    if cannot_make_namespaces() {
        return;
    }
    let _lab = up("t-wrong");
    let cases: [(&[&str], &str); 4] = [
        (&["up", "--name", "t-wrong"], "exists already"),
        (&["up", "--name", "../t"], "no name for a lab"),
        (&["down", "--name", "t-absent"], "no lab named t-absent"),
        (
            &["exec", "--name", "t-wrong", "web-9", "--", "true"],
            "it has client-1, client-2, rail-a",
        ),
    ];
    for (arguments, reason) in cases {
        let output = rail(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(reason), "{arguments:?}: {message}");
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

/// Runs `rail lab` to its end.
fn rail(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rail"))
        .arg("lab")
        .args(arguments)
        .output()
        .unwrap()
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rail"))
        .arg("lab")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn signal_to(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn wait_for_namespace(name: &str) {
    for _ in 0..1000 {
        if Path::new("/run/netns").join(name).exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("namespace {name} does not appear");
}

fn assert_nothing_left(lab: &str) {
    assert!(!Path::new("/run/rustyrail-lab").join(lab).exists());
    let prefix = format!("rr-{lab}.");
    let left: Vec<_> = fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
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
