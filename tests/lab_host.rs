//! The host's side of a rail, `rail0`, in the lab: programs of the rail's machine use the port's own
//! addresses while the rail forwards. Needs root; without it, says so and passes.
//!
//! ```text
//!   client-1 ── router ──┬── rail-a ══ rail0: a TCP server, ping, BIRD
//!   client-2 ──┘  BIRD   └── rail-b ══ rail0: BIRD
//! ```

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::netns::Netns;
use rustyrail::cli::lab::topology::{ROUTER, Role, VIP, VIP_PREFIX};
use rustyrail::cli::lab::{Lab, Options, Topology, client, files, load};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A port for the server on the rail's machine.
const SHELL: u16 = 2222;
/// What goes each way over one connection, bytes.
const TRANSFER: usize = 1 << 20;

/// A connection to the rail's own address, like one of SSH, and pings both ways, while the VIP is
/// under load; none of it is lost, and what the VIP gets is not either.
#[test]
fn programs_beside_the_rail_use_its_addresses() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-host");
    let rail = lab.topology.rails[0].address;
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let listener = lab
        .netns("rail-a")
        .enter(|| TcpListener::bind((rail, SHELL)))
        .unwrap()
        .unwrap();
    let server = thread::spawn(move || echo_reversed(&listener));
    let vip = SocketAddr::from((VIP, files::PORT));
    thread::scope(|scope| {
        let load = scope.spawn(|| load::connect(&clients, vip, 400));
        let shell = lab.netns("client-1").enter(|| exchange(rail)).unwrap();
        assert_eq!(shell, Ok(()));
        // The rail answers for its address; the host's own pings go out and their answers come in.
        assert_eq!(ping(&lab.netns("client-1"), rail), 5);
        assert_eq!(ping(&lab.netns("rail-a"), Role::Rail.gateway()), 5);
        assert_eq!(
            ping(&lab.netns("rail-a"), lab.topology.clients[0].address),
            5
        );
        assert_eq!(ping(&lab.netns("rail-a"), lab.topology.rails[1].address), 5);
        let outcomes = load.join().unwrap();
        assert_eq!(load::Tally::of(&outcomes).succeeded(), 400, "{outcomes:?}");
    });
    server.join().unwrap();
    let page = lab
        .netns("rail-a")
        .enter(|| client::get(files::METRICS, "/metrics").unwrap())
        .unwrap();
    let moved = |name: &str| total(&page, name);
    let to_host = moved("rustyrail_worker_to_host_total");
    assert!(to_host > 500, "{page}");
    assert!(moved("rustyrail_worker_from_host_total") > 500, "{page}");
    assert_eq!(moved("rustyrail_host_refused_total"), 0, "{page}");
    // On a busy machine the queue to the host may be full for a moment, and TCP sends again.
    let refused = page
        .lines()
        .filter(|line| line.contains("host_unavailable"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert!(refused.sum::<u64>() < to_host / 2, "{page}");
}

/// BIRD on every rail announces the VIP to BIRD on the router, over the rails' own host interfaces; the
/// router's route is the one BIRD made, over both rails; one rail's BIRD leaves, and so does its next hop.
#[test]
fn the_vip_is_announced_by_bgp() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-bgp");
    let router = lab.netns(ROUTER);
    router.ip(&format!("route del {VIP_PREFIX}\n")).unwrap();
    let rails = &lab.topology.rails;
    let neighbors: String = rails.iter().map(router_session).collect();
    let _routers = Bird::start(&lab, ROUTER, &format!("{ROUTER_CONFIG}{neighbors}"));
    let mut birds: Vec<_> = rails
        .iter()
        .map(|rail| Bird::start(&lab, &rail.name, &rail_config(rail.address)))
        .collect();
    let route = || routes(&router);
    let next_hop = |index: usize| format!("via {} ", rails[index].address);
    wait_for("a route over both rails", || {
        let route = route();
        route.contains("proto bird") && (0..2).all(|rail| route.contains(&next_hop(rail)))
    });
    let clients = ["client-1", "client-2"].map(|client| lab.netns(client));
    let vip = SocketAddr::from((VIP, files::PORT));
    let all_answered = || {
        let outcomes = load::connect(&clients, vip, 200);
        assert_eq!(load::Tally::of(&outcomes).succeeded(), 200, "{outcomes:?}");
    };
    all_answered();
    drop(birds.remove(0));
    wait_for("a route over the other rail alone", || {
        let route = route();
        route.contains(&next_hop(1)) && !route.contains(&next_hop(0))
    });
    all_answered();
}

/// What the router knows of the VIP.
fn routes(router: &Netns) -> String {
    let shown = router
        .command("ip")
        .args(["route", "show", VIP_PREFIX])
        .output()
        .unwrap();
    String::from_utf8_lossy(&shown.stdout).replace('\n', " ")
}

const ROUTER_CONFIG: &str = "
    router id 192.0.2.1;
    protocol device { scan time 2; }
    protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; merge paths on; }
";

fn router_session(rail: &rustyrail::cli::lab::topology::Host) -> String {
    format!(
        "protocol bgp {} {{
            local {} as 65001; neighbor {} as 65010; hold time 9; connect retry time 1;
            ipv4 {{ import all; export none; }};
        }}\n",
        rail.name.replace('-', "_"),
        Role::Rail.gateway(),
        rail.address
    )
}

fn rail_config(own: Ipv4Addr) -> String {
    format!(
        "router id {own};
        protocol device {{ scan time 2; }}
        protocol static vips {{ ipv4; route {VIP_PREFIX} blackhole; }}
        protocol bgp uplink {{
            local {own} as 65010; neighbor {} as 65001; hold time 9; connect retry time 1;
            ipv4 {{ import none; export where proto = \"vips\"; next hop self; }};
        }}\n",
        Role::Rail.gateway()
    )
}

/// A BIRD on a host of the lab; its drop ends it, sessions closed.
struct Bird {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Bird {
    fn start(lab: &Lab, host: &str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bird.conf");
        fs::write(&file, config).unwrap();
        let child = lab
            .netns(host)
            .command("bird")
            .arg("-f")
            .arg("-c")
            .arg(&file)
            .arg("-s")
            .arg(dir.path().join("bird.ctl"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Bird { child, _dir: dir }
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Serves one connection: sends back what it gets, every byte inverted.
fn echo_reversed(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = vec![0; TRANSFER];
    stream.read_exact(&mut bytes).unwrap();
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    stream.write_all(&bytes).unwrap();
}

/// Talks to that server on the rail's own address.
fn exchange(rail: Ipv4Addr) -> Result<(), String> {
    let work = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&(rail, SHELL).into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let sent: Vec<u8> = (0..TRANSFER).map(|n| (n % 251) as u8).collect();
        stream.write_all(&sent)?;
        let mut back = vec![0; TRANSFER];
        stream.read_exact(&mut back)?;
        Ok(back.iter().zip(&sent).all(|(back, sent)| *back == !*sent))
    };
    match work() {
        Ok(true) => Ok(()),
        Ok(false) => Err("other bytes came back".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// How many of five pings are answered.
fn ping(from: &Netns, to: Ipv4Addr) -> usize {
    let pings = || {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Icmp,
        )?;
        let patience = TimeVal::seconds(5);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        connect(socket.as_raw_fd(), &to)?;
        let mut answered = 0;
        for sequence in 1..=5u8 {
            // Echo request, the checksum of these few words, an identifier, the sequence number.
            let sum = !(0x0800 + 0x7261 + u16::from(sequence));
            let request = [&[8, 0][..], &sum.to_be_bytes(), &[0x72, 0x61, 0, sequence]].concat();
            send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
            let reply = [0, 0x72, 0x61, 0, sequence];
            let mut packet = [0; 256];
            // Whatever else comes on a raw socket is not the answer.
            while let Ok(len) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                let icmp = packet.get(20..len).unwrap_or_default();
                if icmp.len() == 8 && [&icmp[..1], &icmp[4..]].concat() == reply {
                    answered += 1;
                    break;
                }
            }
        }
        nix::Result::Ok(answered)
    };
    from.enter(pings).unwrap().unwrap()
}

/// The sum of a metric's samples.
fn total(page: &str, metric: &str) -> u64 {
    let own = page
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")));
    own.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn wait_for(what: &str, mut come: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A lab whose rails run.
fn up(name: &str) -> Lab {
    let mut lab = Lab::up(Options {
        name: Some(name.to_owned()),
        topology: Topology::new(2, 2, 3),
        rail: PathBuf::from(env!("CARGO_BIN_EXE_rail")),
        tunnel: None,
    })
    .unwrap();
    lab.write_configs(&States::new()).unwrap();
    lab.start_rails().unwrap();
    lab
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
