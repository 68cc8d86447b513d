//! Two rails in the lab that need each other: fragments, a rail that is killed and comes back, and a pool
//! without backends. Every test brings up a lab of its own and needs root; without it, it says so and
//! passes.
//!
//! ```text
//!   client-1 ── router ──┬── rail-a ─┐ peers: probes, fragments in GRE
//!   client-2 ──┘         ├── rail-b ─┘
//!                        └── web-1, web-2, web-3
//! ```

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::netns::Netns;
use rustyrail::cli::lab::topology::{ROUTER, Role, VIP, VIP_PREFIX};
use rustyrail::cli::lab::{Lab, Options, Topology, client, files, load};
use rustyrail::control::trace::{Answer, Flow, Tracer};
use rustyrail::pool::{Environment, parse};
use rustyrail::wire::IpProtocol;

const RAILS: [&str; 2] = ["rail-a", "rail-b"];
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// 10,000 datagrams of 8 KiB, each in several fragments, echoed by backends' ordinary sockets: none is
/// lost, whatever rail the router gives them to. Clients have many addresses, so both rails own some.
///
/// The ports are AF_XDP's: af_packet's have the kernel put datagrams together. The clients send packets
/// that are small enough for every tunnel on their way, and take larger ones.
#[test]
fn eight_kilobyte_datagrams_are_echoed() {
    const DATAGRAMS: u32 = 10_000;
    const ADDRESSES: u8 = 20;
    const PORT: u16 = 7777;
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-frag");
    lab.write_configs(&States::new()).unwrap();
    let mut echo = format!(
        "\n[[service]]\nname = \"echo\"\nvip = \"{VIP}\"\nprotocol = \"udp\"\nport = {PORT}\n"
    );
    for backend in &lab.topology.backends {
        let (name, address) = (&backend.name, backend.address);
        echo += &format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        serve_echo(&lab.netns(name), PORT);
    }
    for rail in RAILS {
        edit(&lab, rail, |text| af_xdp(&text) + &echo);
    }
    lab.start_rails().unwrap();
    wait_for_peers(&lab);
    let clients: Vec<_> = ["client-1", "client-2"]
        .into_iter()
        .zip([100, 140])
        .map(|(name, first)| (lab.netns(name), first))
        .collect();
    for (client, first) in &clients {
        let addresses =
            (0..ADDRESSES).map(|n| format!("address add 198.18.0.{}/24 dev eth0\n", first + n));
        let batch: String = addresses.collect();
        let gateway = Role::Client.gateway();
        let route = format!("route replace default via {gateway} mtu lock 1400\n");
        client.ip(&(batch + &route)).unwrap();
    }
    let left = AtomicU32::new(DATAGRAMS);
    let answered: u32 = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .flat_map(|client| (0..4).map(move |thread| (client, thread)))
            .map(|((client, first), thread)| {
                let left = &left;
                scope.spawn(move || {
                    client.switch().unwrap();
                    ask(left, PORT, |turn| {
                        let host = first + (turn * 4 + thread) % ADDRESSES;
                        Ipv4Addr::new(198, 18, 0, host)
                    })
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let pages = RAILS.map(|rail| metrics(&lab, rail));
    for (rail, page) in RAILS.iter().zip(&pages) {
        let handed = sum(page, "rustyrail_worker_to_peers_total");
        let dropped = drops(page);
        eprintln!("{rail}: {handed} fragments handed over; drops {dropped:?}");
        assert!(handed > 0, "{rail} owns everything");
        assert_eq!(dropped, Vec::<String>::new(), "{rail}");
    }
    assert_eq!(answered, DATAGRAMS);
}

/// Sends datagrams from ever new sockets, one at a time, until none is left; returns how many came back
/// as they were.
fn ask(left: &AtomicU32, port: u16, source: impl Fn(u8) -> Ipv4Addr) -> u32 {
    const EACH_SOCKET: u32 = 25;
    /// Lost datagrams after which it is clear that nothing works.
    const HOPELESS: u32 = 10;
    let take = || {
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        taken.ok()
    };
    let (mut answered, mut lost, mut turn) = (0, 0, 0u8);
    let mut answer = [0; 9000];
    loop {
        let socket = UdpSocket::bind((source(turn % 5), 0)).unwrap();
        socket.connect((VIP, port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        turn = turn.wrapping_add(1);
        for _ in 0..EACH_SOCKET {
            let Some(number) = take() else {
                return answered;
            };
            let sent: Vec<u8> = (0..8192u32).map(|at| (at * 7 + number) as u8).collect();
            socket.send(&sent).unwrap();
            match socket.recv(&mut answer) {
                Ok(len) if answer[..len] == sent => answered += 1,
                other => {
                    eprintln!("datagram {number}: {other:?}");
                    lost += 1;
                    if lost >= HOPELESS {
                        return answered;
                    }
                }
            }
        }
    }
}

/// A backend's echo service on the VIP, for as long as the test runs.
fn serve_echo(backend: &Netns, port: u16) {
    let socket = backend
        .enter(|| UdpSocket::bind((VIP, port)).unwrap())
        .unwrap();
    thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..len], from);
        }
    });
}

/// A rail is killed and the router takes it out: those of its connections go on over the other rail
/// whose slots name the backends they have, and the other rail owns all fragments after three missed
/// probes. The rail comes back, and the router's reshuffle ends no connection but such as are pinned
/// against their slot on the rail they leave.
///
/// ```text
///   1. web-1, web-2          connections
///   2. web-1, web-2, web-3   a third of their slots names web-3 now, the pins stay
///   3. rail-a dies           who was there is steered by rail-b's slots
///   4. rail-a is back        half go back, to be steered by rail-a's slots
/// ```
#[test]
fn a_rail_is_killed_and_comes_back() {
    const CONNECTIONS: usize = 90;
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-dead");
    lab.write_configs(&States::from([("web-3".to_owned(), "down")]))
        .unwrap();
    lab.start_rails().unwrap();
    wait_for_peers(&lab);
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let vip = SocketAddr::from((VIP, files::PORT));
    let long = load::LongLived::start(&clients, vip, CONNECTIONS);
    wait_for("connections on both rails", || {
        let entries = |rail| sum(&metrics(&lab, rail), "rustyrail_connection_entries");
        let [a, b] = RAILS.map(entries);
        a > 0 && b > 0 && a + b >= CONNECTIONS as u64
    });
    lab.apply(&States::new()).unwrap();
    wait_for_peers(&lab);
    let before = peer(&lab, "rail-b", "rail-a");
    let own = peer(&lab, "rail-b", "rail-b");
    assert!(own["slots"].as_u64() < Some(65_537), "{own}");

    let killed = Instant::now();
    lab.kill_rail("rail-a").unwrap();
    route(&lab, &["rail-b"]);
    wait_for("rail-b to miss rail-a", || {
        peer(&lab, "rail-b", "rail-a")["state"] == "dead"
    });
    // A probe goes out in every interval, so they count the intervals: three, and the one that the
    // killing fell into.
    let after = peer(&lab, "rail-b", "rail-a");
    let at_death = probes_at_death(&lab);
    let intervals = at_death - before["probes_sent"].as_u64().unwrap();
    eprintln!("dead after {intervals} probes: {after}");
    assert!(intervals <= 4, "{intervals}");
    let own = peer(&lab, "rail-b", "rail-b");
    assert_eq!(own["slots"].as_u64(), Some(65_537), "{own}");
    let outcomes = load::connect(&clients, vip, 200);
    assert_eq!(load::Tally::of(&outcomes).succeeded(), 200, "{outcomes:?}");

    lab.start_rail("rail-a").unwrap();
    wait_for_peers(&lab);
    let back = Instant::now();
    route(&lab, &RAILS);
    let outcomes = load::connect(&clients, vip, 200);
    assert_eq!(load::Tally::of(&outcomes).succeeded(), 200, "{outcomes:?}");
    let lives = long.stop();

    let config = std::fs::read_to_string(lab.rail_config("rail-b")).unwrap();
    let (config, _) = parse(&config, "rail-b.toml", &Environment::any()).unwrap();
    let tracer = Tracer::new(&config);
    let pinned = |life: &&load::Life| slot_of(&tracer, life.local, vip) == life.backend;
    let (equal, other): (Vec<_>, Vec<_>) = lives.iter().partition(pinned);
    let broken = |lives: &[&load::Life]| {
        let ends = lives.iter().filter(|life| life.error.is_some());
        let ends = ends.map(|life| life.ended);
        let (died, later) = ends.partition::<Vec<_>, _>(|ended| *ended < back);
        assert!(died.iter().all(|ended| *ended > killed), "before the death");
        [died.len(), later.len()]
    };
    for (what, lives) in [("their slot's backend", &equal), ("another", &other)] {
        let (count, broken) = (lives.len(), broken(lives));
        eprintln!("pinned to {what}: {count}; broke at the death and the return: {broken:?}");
    }
    assert!(!equal.is_empty() && !other.is_empty(), "{lives:?}");
    assert_eq!(broken(&equal), [0, 0], "{equal:?}");
    // The router has the route that it had, so who is left and pinned against the slot goes back to
    // the rail that knows it.
    assert_eq!(broken(&other)[1], 0, "{other:?}");
    // Of those, the ones that rail-b knew have not noticed anything.
    assert!(broken(&other)[0] < other.len(), "{other:?}");
    assert!(equal.iter().all(|life| life.answered > 2), "{equal:?}");
}

/// The backend that a client's slot names.
fn slot_of(tracer: &Tracer, client: Option<SocketAddr>, vip: SocketAddr) -> String {
    let client = client.unwrap();
    let tuple = (client.ip(), client.port());
    let flow = Flow::new(IpProtocol::TCP, tuple, (vip.ip(), vip.port())).unwrap();
    match tracer.trace(&flow).unwrap() {
        Answer::Backend(_, backend) => backend.name.to_string(),
        other => panic!("{client}: {other:?}"),
    }
}

/// A rail that ends in order says so: the others own its fragments at once.
#[test]
fn a_rail_that_ends_is_not_waited_for() {
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-leave");
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    wait_for_peers(&lab);
    let status = lab.stop("rail-a", "rail");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    wait_for("rail-b to know", || {
        peer(&lab, "rail-b", "rail-a")["state"] == "dead"
    });
    let own = peer(&lab, "rail-b", "rail-b");
    assert_eq!(own["slots"].as_u64(), Some(65_537), "{own}");
    let log = lab.log_tail("rail-b", "rail");
    assert!(
        log.contains("leaves") && !log.contains("probes missed"),
        "{log}"
    );
}

/// The number of probes that rail-b had sent to rail-a when it took it for dead: it says so in its log,
/// with the number.
fn probes_at_death(lab: &Lab) -> u64 {
    let log = lab.log_tail("rail-b", "rail");
    let line = log.lines().find(|line| line.contains("probes missed"));
    let line = line.unwrap_or_else(|| panic!("no death in {log}"));
    let number = line.split("sent=").nth(1).unwrap_or_default();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number in {line}"))
}

/// Two pools of one rail each, both behind the router's route. One has no live backend: the other's serve
/// all requests. Neither has: nothing goes round, and both count what they refuse.
#[test]
fn a_pool_without_backends_is_helped_out() {
    if cannot_make_namespaces() {
        return;
    }
    let mut lab = up("t-trom");
    lab.write_configs(&States::new()).unwrap();
    let apart = |index: usize, state: &'static str| {
        let other = &lab.topology.rails[1 - index];
        let remote = format!(
            "\n[[remote]]\nname = \"far\"\naddress = \"{}\"\n",
            other.address
        );
        let accept = format!("[tunnel]\naccept = [\"{}\"]\n", other.address);
        move |text: String| {
            let text = without_peers(&text).replace("[tunnel]\n", &accept);
            text.replace("state = \"up\"", &format!("state = \"{state}\"")) + &remote
        }
    };
    let (a_down, b_up, b_down) = (apart(0, "down"), apart(1, "up"), apart(1, "down"));
    edit(&lab, "rail-a", a_down);
    edit(&lab, "rail-b", b_up);
    lab.start_rails().unwrap();
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let vip = SocketAddr::from((VIP, files::PORT));
    let outcomes = load::connect(&clients, vip, 300);
    assert_eq!(load::Tally::of(&outcomes).succeeded(), 300, "{outcomes:?}");
    let helped = sum(
        &metrics(&lab, "rail-a"),
        "rustyrail_worker_to_remotes_total",
    );
    assert!(helped > 300, "{helped} packets");
    assert_eq!(
        sum(
            &metrics(&lab, "rail-b"),
            "rustyrail_worker_to_remotes_total"
        ),
        0
    );

    lab.write_configs(&States::new()).unwrap();
    edit(&lab, "rail-b", b_down);
    let config = lab.rail_config("rail-b");
    let status = lab.rail().arg("apply").arg(config).status().unwrap();
    assert!(status.success());
    for client in &clients {
        let refused = client.enter(|| {
            let socket = std::net::TcpStream::connect_timeout(&vip, Duration::from_millis(300));
            socket.is_err()
        });
        assert!(refused.unwrap());
    }
    // A SYN to either rail makes one hop, to the other one, which counts it.
    wait_for("the guard", || {
        let guarded = |rail| {
            let page = metrics(&lab, rail);
            let lines = page
                .lines()
                .filter(|l| l.contains("reason=\"trombone_loop\""));
            lines
                .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
                .sum::<u64>()
        };
        let [a, b] = RAILS.map(guarded);
        // Two clients with one SYN or two; their tuples may have met one rail only.
        (1..=8).contains(&(a + b))
    });
}

/// The router's route to the VIPs, over these rails: what a routing protocol does.
fn route(lab: &Lab, rails: &[&str]) {
    let mut batch = format!("route replace {VIP_PREFIX}");
    for rail in lab
        .topology
        .rails
        .iter()
        .filter(|r| rails.contains(&r.name.as_str()))
    {
        batch += &format!(" nexthop via {}", rail.address);
    }
    lab.netns(ROUTER).ip(&(batch + "\n")).unwrap();
}

fn without_peers(text: &str) -> String {
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.trim().starts_with("[[peer]]"));
    blocks.collect::<Vec<_>>().join("\n\n")
}

/// An AF_XDP port, which has one queue on a veth, and so one worker, on the first of the rail's cores.
fn af_xdp(text: &str) -> String {
    let device = "device = \"net_af_xdp0,iface=eth0,start_queue=0,queue_count=1,busy_budget=0\"";
    let lines = text.lines().map(|line| {
        if let Some(cores) = line.strip_prefix("workers = [") {
            let first: String = cores.chars().take_while(char::is_ascii_digit).collect();
            format!("workers = [{first}]")
        } else if line.starts_with("device = ") {
            device.to_owned()
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Changes a rail's configuration file.
fn edit(lab: &Lab, rail: &str, change: impl FnOnce(String) -> String) {
    let path = lab.rail_config(rail);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(text)).unwrap();
}

/// Both rails take each other for alive, with the same tables.
fn wait_for_peers(lab: &Lab) {
    for (rail, other) in [RAILS, ["rail-b", "rail-a"]].map(|[a, b]| (a, b)) {
        wait_for("a peer", || {
            let view = peer(lab, rail, other);
            view["state"] == "alive" && view["tables"] == "same"
        });
    }
}

/// A row of `rail show peers` on one rail.
fn peer(lab: &Lab, rail: &str, other: &str) -> Value {
    let mut command = lab.rail();
    command.args(["show", "peers", "--json", "--socket"]);
    let output = command.arg(lab.rail_socket(rail)).output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let row = rows.into_iter().find(|row| row["name"] == other);
    row.unwrap_or_else(|| panic!("{rail} has no {other}: {output:?}"))
}

fn metrics(lab: &Lab, rail: &str) -> String {
    let scrape = || client::get(files::METRICS, "/metrics").unwrap();
    lab.netns(rail).enter(scrape).unwrap()
}

fn sum(page: &str, metric: &str) -> u64 {
    let own = page
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")));
    own.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// The drops that are not zero.
fn drops(page: &str) -> Vec<String> {
    let dropped = |line: &&str| line.starts_with("rustyrail_drops") && !line.ends_with(" 0");
    let lines: BTreeSet<_> = page.lines().filter(dropped).map(str::to_owned).collect();
    lines.into_iter().collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if done() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("{what} does not come");
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
