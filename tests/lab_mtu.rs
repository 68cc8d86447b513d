//! Path MTU, end to end: paths that shrink under transfers, on both sides of the rails. Needs root;
//! without it, says so and passes.
//!
//! ```text
//!   client-1 ── [1200] ── router ──┬── rail-a, rail-b       the answer's path: errors go to the VIP,
//!   client-2 ──┘                   └── [1300] ── web-1..3   so through any rail to the right backend
//!                                                           the tunnels' path: errors go to the rail
//! ```

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use rustyrail::cli::lab::client::{self, Connection};
use rustyrail::cli::lab::files::{self, States};
use rustyrail::cli::lab::topology::{ROUTER, Role, VIP};
use rustyrail::cli::lab::{Lab, Options, Topology};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a capture file in front of its first frame.
const CAPTURE_HEADER: u64 = 24;
/// What one request carries to its backend.
const UPLOAD: usize = 1 << 20;

/// Downloads from three backends, through both rails, go on when the path to the client carries less
/// than before: the router's error to the VIP comes to some rail, which finds the backend it is about.
#[test]
fn the_path_to_the_client_shrinks() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-mtu1");
    let mut connections = of_every_backend(&lab);
    let before = router_errors(&lab);
    thread::scope(|scope| {
        let downloads: Vec<_> = connections
            .iter_mut()
            .map(|(_, connection)| scope.spawn(|| connection.get("/files/large")))
            .collect();
        thread::sleep(Duration::from_millis(500));
        shrink(&lab, Role::Client, 1200);
        for download in downloads {
            let file = download.join().unwrap().unwrap();
            assert_eq!(file.body.len() as u64, files::LARGE_FILE_SIZE);
        }
    });
    assert!(router_errors(&lab) > before, "the path was not felt");
    assert_eq!(drops(&lab, "icmp_ignored"), 0);
}

/// Uploads go on when the path from the rails to the backends carries less than before: the rail hears
/// of it, and tells the clients.
#[test]
fn the_path_of_the_tunnels_shrinks() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-mtu2");
    let mut connections = of_every_backend(&lab);
    upload(&mut connections, 1);
    assert_eq!(drops(&lab, "path_mtu"), 0);
    shrink(&lab, Role::Backend, 1300);
    upload(&mut connections, 4);
    assert!(drops(&lab, "path_mtu") > 0, "no rail heard of its tunnels");
    // Those who come later are told before they lose anything.
    upload(&mut of_every_backend(&lab), 2);
}

/// A client sends what fits its own link and not a tunnel, not to be fragmented; tshark reads the errors
/// it gets, and the transfer goes on.
#[test]
fn a_client_is_told_what_fits() {
    if cannot_make_namespaces() {
        return;
    }
    let lab = up("t-mtu3");
    for backend in &lab.topology.backends {
        // Otherwise backends ask clients for segments that fit.
        let gateway = Role::Backend.gateway();
        let route = format!("route change default via {gateway} advmss 1460\n");
        lab.netns(&backend.name).ip(&route).unwrap();
    }
    let capture = Capture::start(&lab, "client-1");
    upload(&mut of_every_backend(&lab), 2);
    let errors = capture.finish();
    let lines: Vec<_> = errors.lines().collect();
    assert!(!lines.is_empty(), "tshark sees none");
    for line in lines {
        // Source, type, code, MTU, and both checksums good. 24 bytes of GRE, or 20 of IPIP.
        let line: Vec<_> = line.split('\t').collect();
        assert!(matches!(line[3], "1476" | "1480"), "{line:?}");
        assert_eq!(line[..3], [&VIP.to_string(), "3", "4"], "{line:?}");
        assert_eq!(line[4..], ["1", "1"], "{line:?}");
    }
}

/// Connections of both clients to both services until every backend has two.
fn of_every_backend(lab: &Lab) -> Vec<(String, Connection)> {
    let begun = Instant::now();
    let mut found: Vec<(String, Connection)> = Vec::new();
    loop {
        for host in ["client-1", "client-2"] {
            for port in [files::PORT, files::IPIP_PORT] {
                let open = || -> std::io::Result<(String, Connection)> {
                    let mut connection = Connection::open(SocketAddr::from((VIP, port)))?;
                    let backend = connection.get("/")?.body.trim().to_owned();
                    Ok((backend, connection))
                };
                let opened = lab.netns(host).enter(open).unwrap().unwrap();
                let same = |one: &&(String, Connection)| one.0 == opened.0;
                if found.iter().filter(same).count() < 2 {
                    found.push(opened);
                }
            }
        }
        if found.len() == 2 * lab.topology.backends.len() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "backends that nobody meets");
    }
}

/// So many uploads on every connection, all at a time.
fn upload(connections: &mut [(String, Connection)], count: usize) {
    thread::scope(|scope| {
        for (backend, connection) in connections {
            scope.spawn(move || {
                for _ in 0..count {
                    let answer = connection.post("/", UPLOAD).unwrap();
                    assert_eq!(answer.body.trim(), backend);
                }
            });
        }
    });
}

/// What the router forwards to this segment from now on has to be smaller.
fn shrink(lab: &Lab, segment: Role, mtu: u16) {
    let batch = format!("link set {} mtu {mtu}\n", segment.bridge());
    lab.netns(ROUTER).ip(&batch).unwrap();
}

/// How often the router has told a sender that something did not fit.
fn router_errors(lab: &Lab) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let text = lab.netns(ROUTER).enter(read).unwrap();
    let mut icmp = text.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let at = names.split(' ').position(|name| name == "OutDestUnreachs");
    values.split(' ').nth(at.unwrap()).unwrap().parse().unwrap()
}

/// What all rails have dropped for this reason.
fn drops(lab: &Lab, reason: &str) -> u64 {
    let rails = lab.topology.rails.iter();
    let pages = rails.map(|rail| {
        let scrape = || client::get(files::METRICS, "/metrics").unwrap();
        lab.netns(&rail.name).enter(scrape).unwrap()
    });
    let label = format!("reason=\"{reason}\"");
    pages
        .flat_map(|page| {
            let own = page
                .lines()
                .filter(|l| l.starts_with("rustyrail_drops_total") && l.contains(&label));
            own.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .collect::<Vec<_>>()
        })
        .sum()
}

/// tshark on a host's interface, for ICMP errors.
struct Capture {
    child: std::process::Child,
    dir: tempfile::TempDir,
}

impl Capture {
    fn start(lab: &Lab, host: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = lab
            .netns(host)
            .command("tcpdump")
            .args(["-i", "eth0", "-U", "--immediate-mode", "-w"])
            .arg(dir.path().join("errors.pcap"))
            .arg("icmp[icmptype] = icmp-unreach")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let capture = Capture { child, dir };
        let begun = Instant::now();
        // The file's header is written once it listens.
        while fs::metadata(capture.file()).map_or(0, |file| file.len()) < CAPTURE_HEADER {
            assert!(begun.elapsed() < PATIENCE, "tcpdump does not start");
            thread::sleep(Duration::from_millis(20));
        }
        capture
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("errors.pcap")
    }

    /// Ends it; a line for each error: source, type, code, MTU, states of both checksums.
    fn finish(mut self) -> String {
        let begun = Instant::now();
        while fs::metadata(self.file()).unwrap().len() <= CAPTURE_HEADER {
            assert!(begun.elapsed() < PATIENCE, "no error came");
            thread::sleep(Duration::from_millis(20));
        }
        self.stop();
        read(&self.file())
    }

    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(file: &Path) -> String {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args([
            "-o",
            "ip.check_checksum:TRUE",
            "-T",
            "fields",
            "-E",
            "occurrence=f",
        ])
        .args([
            "-e",
            "ip.src",
            "-e",
            "icmp.type",
            "-e",
            "icmp.code",
            "-e",
            "icmp.mtu",
        ])
        .args(["-e", "icmp.checksum.status", "-e", "ip.checksum.status"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
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
