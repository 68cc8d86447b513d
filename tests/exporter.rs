//! The exporter, judged by Prometheus's own programs.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use running::{Running, Setup, metrics, wait_for};
use rustyrail::cli::lab::client;
use rustyrail::table::counters::DropReason;
use rustyrail::testkit::ether;

/// Flows of the traffic that a rail under test receives for its service.
const FLOWS: u16 = 64;

/// `promtool check metrics` has nothing to say about a rail at work.
#[test]
fn promtool_finds_nothing_wrong() {
    let traffic = Traffic::new();
    let running = Running::start(&traffic.setup());
    wait_for("traffic", || {
        running.metric("rustyrail_service_packets_total") > 0.0
    });
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: promtool: {error}"),
    };
    let scrape = running.get("/metrics").body;
    let stdin = promtool.stdin.take().unwrap();
    { stdin }.write_all(scrape.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// What is counted of the same packets in different places agrees.
#[test]
fn the_books_agree() {
    let traffic = Traffic::new();
    let running = Running::start(&traffic.setup());
    wait_for("traffic", || {
        running.metric("rustyrail_service_packets_total") > 0.0
    });
    // Counters are read while they move, so what happens later to a packet is read first.
    let sent = running.metric("rustyrail_worker_tx_packets_total");
    let forwarded = running.metric("rustyrail_service_packets_total");
    let received = running.metric("rustyrail_worker_rx_packets_total");
    assert!(0.0 < sent && sent <= forwarded && forwarded <= received);
    let scrape = samples(&running.get("/metrics").body);
    let sum = |name: &str| -> f64 {
        let of = scrape.iter().filter(|(sample, _)| sample.name == name);
        of.map(|(_, value)| value).sum()
    };
    let (by_service, by_backend) = (
        sum("rustyrail_service_packets_total"),
        sum("rustyrail_backend_packets_total"),
    );
    assert!(0.0 < by_service && by_service <= by_backend);
    assert_eq!(sum("rustyrail_backend_slots"), 251.0);
    assert_eq!(sum("rustyrail_connection_entries"), f64::from(FLOWS));
    assert_eq!(sum("rustyrail_drops_total"), 0.0);
    let busy = sum("rustyrail_worker_busy_seconds_total");
    assert!(0.0 < busy && busy <= sum("rustyrail_worker_running_seconds_total"));
    let build = scrape
        .keys()
        .find(|s| s.name == "rustyrail_build_info")
        .unwrap();
    assert_eq!(build.labels["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        build.labels["dpdk"].starts_with(char::is_numeric),
        "{build:?}"
    );
}

/// `deploy/metrics.md` lists what a scrape has, no more and no less, in the same words.
#[test]
fn the_documented_metrics_are_the_exported_ones() {
    let running = Running::start(&Setup {
        peer: true,
        ..Setup::default()
    });
    let exported = families(&running.get("/metrics").body);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let documented: BTreeMap<_, _> = rows
        .iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].trim_matches('`').to_owned(), family(row)))
        .collect();
    assert_eq!(documented, exported);

    let documented: BTreeSet<_> = rows
        .iter()
        .filter(|row| row.len() == 2)
        .map(|row| row[0].trim_matches('`'))
        .collect();
    let reasons: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
    assert_eq!(documented, reasons);
}

/// A real Prometheus finds the target up and packets moving.
#[test]
fn prometheus_scrapes_it() {
    let traffic = Traffic::new();
    let Some(prometheus) = Prometheus::start() else {
        return;
    };
    let running = Running::start(&traffic.setup());
    wait_for("the target to be up", || prometheus.ask("up") == Some(1.0));
    for counter in [
        "rustyrail_worker_rx_packets_total",
        "rustyrail_service_packets_total",
        "rustyrail_backend_bytes_total",
    ] {
        let rate = format!("sum(rate({counter}[10s]))");
        wait_for(&rate, || {
            prometheus.ask(&rate).is_some_and(|rate| rate > 0.0)
        });
    }
    drop(running);
    wait_for("the target to be down", || {
        prometheus.ask("up") == Some(0.0)
    });
}

/// A capture of packets for the service, which a port repeats without end.
struct Traffic {
    dir: tempfile::TempDir,
}

impl Traffic {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let packets = (0..FLOWS).map(|flow| {
            ether()
                .ipv4("198.51.100.7", "203.0.113.10")
                .udp(1024 + flow, 443)
                .build()
        });
        fs::write(dir.path().join("in.pcap"), pcap(packets)).unwrap();
        Traffic { dir }
    }

    fn setup(&self) -> Setup {
        let capture = self.dir.path().join("in.pcap");
        Setup {
            device: format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()),
            ..Setup::default()
        }
    }
}

/// The classic capture format, all packets at time zero.
fn pcap(packets: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    const ETHERNET: u32 = 1;
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, ETHERNET];
    let mut bytes: Vec<u8> = header.iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
    for packet in packets {
        let len = packet.len() as u32;
        bytes.extend([0, 0, len, len].iter().flat_map(|w: &u32| w.to_ne_bytes()));
        bytes.extend(packet);
    }
    bytes
}

/// A Prometheus that scrapes this test's rail every second. Its drop kills it.
struct Prometheus {
    child: Child,
    dir: tempfile::TempDir,
}

impl Prometheus {
    /// `None` where it is not installed.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [{{ job_name: rail, static_configs: [{{ targets: [\"{}\"] }}] }}]\n",
            metrics()
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let flag = |name: &str, value: String| format!("--{name}={value}");
        let within = |name: &str| -> PathBuf { dir.path().join(name) };
        let child = Command::new("prometheus")
            .arg(flag(
                "config.file",
                within("prometheus.yml").display().to_string(),
            ))
            .arg(flag(
                "storage.tsdb.path",
                within("data").display().to_string(),
            ))
            .arg(flag("web.listen-address", Self::address().to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        match child {
            Ok(child) => Some(Prometheus { child, dir }),
            Err(error) => {
                eprintln!("SKIPPED: prometheus: {error}");
                None
            }
        }
    }

    fn address() -> SocketAddr {
        SocketAddr::new(metrics().ip(), 9090)
    }

    /// The value of an expression with one sample; `None` while it has none.
    fn ask(&self, expression: &str) -> Option<f64> {
        let query: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
        let path = format!("/api/v1/query?query={query}");
        let answer = client::get(Self::address(), &path).ok()?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let samples = answer["data"]["result"].as_array()?;
        samples.first()?["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log"));
            eprintln!("Prometheus said:\n{}", log.unwrap_or_default());
        }
    }
}

/// Type, labels and meaning of a metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

/// A row of the page.
fn family(row: &[&str]) -> Family {
    let labels = row[2].split(", ").filter(|label| *label != "none");
    Family {
        kind: row[1].into(),
        labels: labels.map(|label| label.trim_matches('`').into()).collect(),
        meaning: row[3].into(),
    }
}

/// The metrics of a scrape.
fn families(scrape: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    for line in scrape.lines() {
        let mut words = line.splitn(4, ' ');
        if let ("#", Some(what), Some(name)) = (words.next().unwrap(), words.next(), words.next()) {
            let family = found.entry(name.into()).or_default();
            let text = words.next().unwrap().to_owned();
            match what {
                "HELP" => family.meaning = text,
                "TYPE" => family.kind = text,
                other => panic!("# {other}"),
            }
        }
    }
    for sample in samples(scrape).into_keys() {
        let of = ["_bucket", "_sum", "_count"].iter().find_map(|part| {
            let name = sample.name.strip_suffix(part)?;
            found.contains_key(name).then(|| name.to_owned())
        });
        let family = found
            .get_mut(&of.unwrap_or(sample.name))
            .expect("HELP and TYPE");
        let labels = sample.labels.into_keys().filter(|label| label != "le");
        family.labels.extend(labels);
    }
    found
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
}

/// The samples of a scrape. No label here has a comma or a brace in its value.
fn samples(scrape: &str) -> BTreeMap<Sample, f64> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let labels = labels.trim_end_matches('}').split(',');
            let labels = labels.filter_map(|label| {
                let (key, value) = label.split_once('=')?;
                Some((key.to_owned(), value.trim_matches('"').to_owned()))
            });
            let name = name.to_owned();
            let labels = labels.collect();
            (Sample { name, labels }, value.parse().unwrap())
        })
        .collect()
}
