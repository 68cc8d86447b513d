//! A rail that runs as a child process on a virtual port, for the tests that talk to one.

pub mod store;

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use rustyrail::cli::lab::client::{Connection, Response};

/// How long anything may take on a busy machine before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it has come.
const PAUSE: Duration = Duration::from_millis(20);

/// What a test wants of the rail's configuration.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The port's device.
    pub device: String,
    /// Whether the gateway's link address is in the configuration.
    pub gateway_known: bool,
    /// The backends of the one service, `web`.
    pub backends: Vec<&'static str>,
    /// Size of the connection table.
    pub flows: u32,
    /// The port on which it serves metrics: two rails of one test need two.
    pub port: u16,
    /// Whether the rail has a store, `store.git` beside its configuration.
    pub store: bool,
    /// How often it fetches the stores of others.
    pub sync_interval: &'static str,
    /// Whether there is another rail in the pool, which nobody has heard of.
    pub peer: bool,
}

impl Default for Setup {
    /// A port on which nothing arrives.
    fn default() -> Self {
        Setup {
            device: "net_null0,no-rx=1".into(),
            gateway_known: true,
            backends: vec!["web-1", "web-2"],
            flows: 1024,
            port: metrics().port(),
            store: false,
            sync_interval: "2s",
            peer: false,
        }
    }
}

impl Setup {
    /// Where it serves metrics.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(metrics().ip(), self.port)
    }

    /// The configuration file's text, for a rail whose files are in `dir`.
    pub fn text(&self, dir: &Path) -> String {
        let socket = socket_in(dir);
        let mut text = format!(
            r#"[node]
name = "rail-t"
workers = [1]
control_core = 0
control_socket = "{}"
metrics = "{}"
flows = {}
[dpdk]
hugepages = "never"
memory_mb = 64
[[port]]
name = "uplink"
device = "{}"
address = ["192.0.2.10/24"]
host = "off"
gateway = ["192.0.2.1"]
[pool]
hash_key = "000102030405060708090a0b0c0d0e0f"
table_size = 251
"#,
            socket.display(),
            self.address(),
            self.flows,
            self.device
        );
        if self.store {
            let store = format!(
                "flows = {}\nstore = {:?}\nsync_interval = {:?}",
                self.flows,
                dir.join("store.git"),
                self.sync_interval,
            );
            text = text.replace(&format!("flows = {}", self.flows), &store);
        }
        if self.gateway_known {
            text += "[[neighbor]]\naddress = \"192.0.2.1\"\nmac = \"02:00:00:00:00:fe\"\n";
        }
        if self.peer {
            text = text.replace("table_size = 251", "table_size = 251\npeer_key = 7");
            for (name, host) in [("rail-t", 10), ("rail-u", 11)] {
                text += &format!("[[peer]]\nname = \"{name}\"\naddress = \"192.0.2.{host}\"\n");
            }
            text += "[[neighbor]]\naddress = \"192.0.2.11\"\nmac = \"02:00:00:00:00:11\"\n";
        }
        text +=
            "[[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nprotocol = \"udp\"\nport = 443\n";
        for (index, name) in self.backends.iter().enumerate() {
            let address = format!("198.51.100.{}", 11 + index);
            text += &format!(
                "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nmtu = 1400\n"
            );
        }
        text
    }
}

/// A running rail. Its drop kills it, and waits until it is gone.
pub struct Running {
    /// Where its files are.
    pub dir: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Running {
    /// Starts a rail and waits until it answers.
    pub fn start(setup: &Setup) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), setup)
    }

    /// Starts a rail whose files are in `dir`, where another may have been.
    pub fn start_in(dir: TempDir, setup: &Setup) -> Self {
        fs::write(file_in(dir.path()), setup.text(dir.path())).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rail"))
            .args(["run", "--config"])
            .arg(file_in(dir.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Running {
            dir,
            address: setup.address(),
            child,
        };
        wait_for("an answer", || {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", running.log());
            running.try_get("/healthz").is_some()
        });
        running
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        file_in(self.dir.path())
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    /// The directory of its store.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store.git")
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Gets a path over TCP.
    pub fn get(&self, path: &str) -> Response {
        self.try_get(path).expect("an answer")
    }

    fn try_get(&self, path: &str) -> Option<Response> {
        Connection::open(self.address).ok()?.get(path).ok()
    }

    /// The value of the first sample of `/metrics` that begins with `name`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find(|l| l.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Kills it, and leaves its files as they are.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the rail's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log"));
            eprintln!("the rail said:\n{}", log.unwrap_or_default());
        }
    }
}

/// Runs `rail` to its end, which comes by itself or after [`PATIENCE`].
pub fn rail(args: &[&str]) -> Output {
    Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(env!("CARGO_BIN_EXE_rail"))
        .args(args)
        .output()
        .unwrap()
}

/// Where the rails of this test serve metrics: tests are processes, and each has a loopback address of
/// its own.
pub fn metrics() -> SocketAddr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    // The top bit keeps clear of 127.0.0.0/24, where other programs are.
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, a | 0x80, b, c)), 9464)
}

/// Waits until `come` answers true.
pub fn wait_for(what: &str, mut come: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !come() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(PAUSE);
    }
}

/// What a program wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("rail.toml")
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("rail.sock")
}
