//! `rail table` and `rail trace` as people run them: their answers against an independent
//! implementation (`maglev_oracle.py`), their exit codes, their output.

#[path = "support/python.rs"]
mod python;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const HEAD: &str = r#"
[node]
name = "rail-a"
workers = [9999]      # a core of the machine the file is for, not of this one
control_core = 0

[[port]]
device = "net_null0"
address = ["192.0.2.10/24", "2001:db8::10/64"]
gateway = ["192.0.2.1", "2001:db8::1"]
mtu = 1524
"#;

/// A directory with a configuration in it.
struct Case {
    _dir: tempfile::TempDir,
    config: PathBuf,
}

/// A pool, with the head that every file needs.
fn case(pool: &str) -> Case {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("rail.toml");
    std::fs::write(&config, format!("{HEAD}{pool}")).expect("written");
    Case { _dir: dir, config }
}

impl Case {
    fn rail(&self, verb: &str, arguments: &[&str]) -> Output {
        self.rail_reading(verb, arguments, "")
    }

    fn rail_reading(&self, verb: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rail"))
            .arg(verb)
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rail runs");
        let mut stdin = child.stdin.take().expect("piped");
        // A verb that refuses its arguments does not read its input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("rail ends")
    }

    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        let output = self.rail(verb, &[&["--json"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key(table_size: u32) -> String {
    format!("[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\ntable_size = {table_size}\n")
}

/// A service with backends given as (name, weight, state).
fn service(name: &str, head: &str, backends: &[(String, u32, &str)]) -> String {
    let mut toml = format!("\n[[service]]\nname = \"{name}\"\n{head}\n");
    for (index, (name, weight, state)) in backends.iter().enumerate() {
        let address = format!("198.51.{}.{}", 100 + index / 250, 1 + index % 250);
        toml += &format!(
            "[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n\
             state = \"{state}\"\n"
        );
    }
    toml
}

/// A service: its name, what it takes, and backends as (name, weight, state).
type Service = (&'static str, &'static str, Vec<(String, u32, &'static str)>);

/// A hundred equal backends, forty of four weights with drained and dead ones, few and uneven ones,
/// one alone, and none alive; and a service over all ports of a network by source affinity.
fn services() -> Vec<Service> {
    let backend = |n: usize, weight| (format!("web-{n}"), weight, "up");
    let mut mixed: Vec<_> = (0..40)
        .map(|n| backend(n, [10, 20, 30, 100][n % 4]))
        .collect();
    mixed[7].2 = "drain";
    mixed[8].2 = "down";
    mixed[9].1 = 0;
    vec![
        (
            "equal",
            "vip = \"203.0.113.10\"\nprotocol = \"tcp\"\nport = 443",
            (0..100).map(|n| backend(n, 100)).collect(),
        ),
        (
            "mixed",
            "vip = \"203.0.113.10\"\nprotocol = \"udp\"\nport = 53",
            mixed,
        ),
        (
            "skewed",
            "vip = \"203.0.113.11\"",
            vec![backend(1, 1000), backend(2, 1), backend(3, 999)],
        ),
        (
            "alone",
            "vip = \"203.0.113.12\"\nprotocol = \"sctp\"",
            vec![backend(1, 5)],
        ),
        (
            "empty",
            "vip = \"203.0.113.13\"",
            vec![backend(1, 0), (String::from("web-2"), 100, "down")],
        ),
        (
            "sticky",
            "vip = \"203.0.114.0/24\"\naffinity = \"source\"",
            (0..7).map(|n| backend(n, 100)).collect(),
        ),
    ]
}

fn pool(table_size: u32, shuffled: bool) -> String {
    let services = services().into_iter().map(|(name, head, mut backends)| {
        if shuffled {
            // A fixed shuffle: by the names read backwards, downwards.
            backends.sort_by_key(|b| std::cmp::Reverse(b.0.chars().rev().collect::<String>()));
        }
        service(name, head, &backends)
    });
    key(table_size) + &services.collect::<String>()
}

#[test]
fn tables_equal_an_independent_implementation_slot_by_slot() {
    for size in [251, 65_537] {
        for shuffled in [false, true] {
            let case = case(&pool(size, shuffled));
            let table = case.rail("table", &["--json"]);
            assert!(table.status.success(), "{}", text(&table.stderr));
            let path = case.config.with_file_name("table.json");
            std::fs::write(&path, &table.stdout).expect("written");
            let oracle = python::python("maglev_oracle.py", &["tomllib"])
                .arg(&case.config)
                .arg("--table")
                .arg(&path)
                .output()
                .expect("the oracle runs");
            assert!(oracle.status.success(), "{}", text(&oracle.stderr));
            let all_equal = format!("6 services, {} slots: all equal\n", 5 * size);
            assert_eq!(text(&oracle.stdout), all_equal);
        }
    }
}

#[test]
fn the_order_in_the_file_changes_nothing() {
    let (sorted, shuffled) = (case(&pool(65_537, false)), case(&pool(65_537, true)));
    assert_ne!(
        std::fs::read(&sorted.config).expect("read"),
        std::fs::read(&shuffled.config).expect("read")
    );
    assert_eq!(sorted.json("table", &[]), shuffled.json("table", &[]));
}

#[test]
fn a_table_of_one_service() {
    let case = case(&pool(251, false));
    let table = case.json("table", &["--service", "skewed"]);
    let services = table["services"].as_array().expect("a list");
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["name"], "skewed");
    assert_eq!(services[0]["slots"].as_array().expect("slots").len(), 251);

    let shown = case.rail("table", &["--service", "alone"]);
    let digest = case.json("table", &["--service", "alone"])["services"][0]["digest"].clone();
    let expected = format!(
        "service alone: 251 slots, digest {}\n\
         backend  weight  state  slots      share\n\
         web-1         5  up       251  100.000 %\n",
        digest.as_str().expect("text")
    );
    assert_eq!(text(&shown.stdout), expected);

    let unknown = case.rail("table", &["--service", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no service is called \"nobody\"; there are equal"));
    assert!(unknown.stdout.is_empty());
}

#[test]
fn a_service_that_is_not_tracked_is_said_to_be_hashed_always() {
    let backends = [("web-1".into(), 100, "up"), ("web-2".into(), 100, "drain")];
    let head = "vip = \"203.0.113.10\"\nprotocol = \"udp\"\ntrack = ";
    for (track, said) in [
        (
            true,
            "hashed: a connection pinned before a change may be elsewhere",
        ),
        (
            false,
            "hashed, as every packet of a service that is not tracked",
        ),
    ] {
        let service = service("dns", &format!("{head}{track}"), &backends);
        let case = case(&(key(251) + &service));
        let flow = ["udp", "198.51.100.7:4242", "203.0.113.10:53"];
        let traced = case.json("trace", &flow);
        assert_eq!(traced["tracked"], track);
        assert_eq!(traced["why"], "hashed");
        assert_eq!(traced["backend"], "web-1");
        let shown = text(&case.rail("trace", &flow).stdout);
        assert!(shown.contains(said), "{shown}");
    }
}

/// `rail trace` against the oracle, for every service that hashes.
#[test]
fn traces_equal_an_independent_implementation() {
    let case = case(&pool(251, true));
    let flows = [
        (
            "equal",
            "tcp",
            "6",
            "198.51.100.7",
            4242,
            "203.0.113.10",
            443,
        ),
        (
            "mixed",
            "udp",
            "17",
            "198.51.100.8",
            5353,
            "203.0.113.10",
            53,
        ),
        (
            "skewed",
            "132",
            "132",
            "198.51.100.9",
            1,
            "203.0.113.11",
            65_535,
        ),
        ("alone", "sctp", "132", "198.51.100.9", 2, "203.0.113.12", 9),
        ("sticky", "tcp", "6", "198.51.100.7", 99, "203.0.114.9", 80),
    ];
    for (service, word, number, source, sport, vip, dport) in flows {
        let (from, to) = (format!("{source}:{sport}"), format!("{vip}:{dport}"));
        let traced = case.json("trace", &[word, &from, &to]);
        let oracle = python::python("maglev_oracle.py", &["tomllib"])
            .arg(&case.config)
            .args(["--flow", service, number, source, &sport.to_string()])
            .args([vip, &dport.to_string()])
            .output()
            .expect("the oracle runs");
        let oracle: Value = serde_json::from_slice(&oracle.stdout).expect("JSON");
        assert_eq!(traced["service"], service);
        assert_eq!(traced["slot"], oracle["slot"]);
        assert_eq!(traced["backend"], oracle["backend"]);
        let hash = u64::from_str_radix(traced["hash"].as_str().expect("text"), 16).expect("hex");
        assert_eq!(Some(hash >> 32), oracle["tag"].as_u64());
        assert_eq!(
            (&traced["state"], &traced["why"]),
            (&"up".into(), &"hashed".into())
        );
    }
}

#[test]
fn source_affinity_ignores_ports() {
    let case = case(&pool(65_537, false));
    let flows: String = (1..=200)
        .map(|port| format!("tcp 198.51.100.7:{port} 203.0.114.9:{}\n", 7 * port))
        .collect();
    let output = case.rail_reading("trace", &["--batch", "--json"], &flows);
    let answers: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(|a| a["hash"] == answers[0]["hash"]));
    assert!(
        answers
            .iter()
            .all(|a| a["backend"] == answers[0]["backend"])
    );
    assert_eq!(answers[7]["source"], "198.51.100.7:8");
}

#[test]
fn a_flow_that_reaches_no_backend_says_why() {
    let case = case(&pool(251, false));
    let check = |flow: [&str; 3], why: &str, service: Value| {
        let answer = case.json("trace", &flow);
        assert_eq!(answer["why"], why);
        assert_eq!(answer["service"], service);
        assert_eq!(answer["backend"], Value::Null);
    };
    let from = "198.51.100.7:4242";
    check(
        ["tcp", from, "203.0.113.13:80"],
        "no_backend",
        "empty".into(),
    );
    check(["udp", from, "203.0.113.10:443"], "no_service", Value::Null);
    check(["tcp", from, "192.0.2.10:22"], "host", Value::Null);
    check(["tcp", from, "198.51.100.99:22"], "not_ours", Value::Null);
    let v6 = ["tcp", "[2001:db8::7]:1", "[2001:db8::10]:22"];
    check(v6, "host", Value::Null);
}

#[test]
fn what_people_read() {
    let case = case(&pool(251, false));
    let trace = |flow: [&str; 3]| {
        let output = case.rail("trace", &flow);
        assert!(output.status.success() && output.stderr.is_empty());
        text(&output.stdout)
    };
    let flow = ["sctp", "198.51.100.7:4242", "203.0.113.12:9"];
    let answer = case.json("trace", &flow);
    let expected = format!(
        "flow     sctp 198.51.100.7:4242 -> 203.0.113.12:9\n\
         service  alone\n\
         hash     {} over protocol, addresses and ports\n\
         slot     {} of 251\n\
         backend  web-1 at 198.51.100.1\n\
         state    up\n\
         why      hashed: a connection pinned before a change may be elsewhere\n",
        answer["hash"].as_str().expect("text"),
        answer["slot"]
    );
    assert_eq!(trace(flow), expected);

    let input = "sctp 198.51.100.7:4242 203.0.113.12:9\n\nudp 198.51.100.7:1 203.0.113.10:54\n";
    let output = case.rail_reading("trace", &["--batch"], input);
    let expected = format!(
        "flow                                   service  slot  backend  why\n\
         sctp 198.51.100.7:4242 203.0.113.12:9  alone    {:<4}  web-1    hashed\n\
         udp 198.51.100.7:1 203.0.113.10:54     -        -     -        no_service\n",
        answer["slot"].to_string()
    );
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn exit_codes() {
    let case = case(&pool(251, false));
    let flow = ["sctp", "198.51.100.7:4242", "203.0.113.12:9"];
    let code = |arguments: &[&str]| case.rail("trace", arguments).status.code();
    assert_eq!(code(&flow), Some(0));
    assert_eq!(code(&[&flow[..], &["--expect", "web-1"]].concat()), Some(0));
    assert_eq!(code(&[&flow[..], &["--expect", "web-2"]].concat()), Some(1));
    let nowhere = [
        "udp",
        "198.51.100.7:1",
        "203.0.113.10:54",
        "--expect",
        "web-1",
    ];
    assert_eq!(code(&nowhere), Some(1));
    let no_flow = ["tcp", "198.51.100.7", "203.0.113.10:443"];
    assert_eq!(code(&no_flow), Some(2));
    assert_eq!(
        code(&[&no_flow[..], &["--expect", "web-1"]].concat()),
        Some(125)
    );
    assert_eq!(code(&flow[..2]), Some(2));
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&[&flow[..], &["--batch"]].concat()), Some(2));

    std::fs::write(&case.config, "[node]\n").expect("written");
    assert_eq!(code(&flow), Some(1));
    assert_eq!(
        code(&[&flow[..], &["--expect", "web-1"]].concat()),
        Some(125)
    );
    assert_eq!(case.rail("table", &[]).status.code(), Some(1));
}

#[test]
fn a_bad_line_is_named() {
    let case = case(&pool(251, false));
    let input = "tcp 198.51.100.7:1 203.0.113.10:443\ntcp 198.51.100.7:1\n";
    let output = case.rail_reading("trace", &["--batch", "--json"], input);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("standard input, line 2: a flow is written as"));
}
