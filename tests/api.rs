//! A running rail, talked to over its sockets and by signals.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::Value;

use running::{Running, Setup, metrics, rail, stderr, wait_for};
use rustyrail::api::client;

/// What `rail show` shows, and the fields of each in their order.
#[rustfmt::skip]
const SHOWN: [(&str, &[&str]); 6] = [
    ("services", &[
        "name", "vip", "protocol", "ports", "encap", "backends", "live", "desired", "effective",
        "packets", "bytes",
    ]),
    ("backends", &[
        "service", "name", "address", "state", "weight", "slots", "table", "id", "packets", "bytes",
    ]),
    ("workers", &[
        "worker", "core", "rx_packets", "tx_packets", "dropped", "drops", "held", "connections",
        "capacity", "hits", "misses", "busy",
    ]),
    ("neighbors", &["address", "mac", "state", "expires_in"]),
    ("ports", &[
        "name", "device", "mac", "up", "speed_mbps", "rx_packets", "rx_bytes", "tx_packets",
        "tx_bytes", "rx_missed", "rx_errors", "tx_errors", "rx_no_mbuf",
    ]),
    ("peers", &[
        "name", "relation", "address", "state", "slots", "tables", "heard_ago", "probes_sent",
        "probes_heard", "probes_stale", "deaths",
    ]),
];

#[test]
fn shows_what_it_has() {
    let running = Running::start(&Setup {
        peer: true,
        ..Setup::default()
    });
    for (what, fields) in SHOWN {
        let rows = show(&running, what);
        let keys: Vec<_> = rows[0].as_object().unwrap().keys().collect();
        assert_eq!(keys, fields, "{what}");

        let path = format!("/v1/{what}");
        let over_tcp = running.get(&path);
        assert_eq!(over_tcp.status, 200);
        let over_tcp: Value = serde_json::from_str(&over_tcp.body).unwrap();
        assert_eq!(names(&over_tcp), names(&rows), "{what}");

        let table = rail(&["show", what, "--socket", &text(running.socket())]);
        let table = String::from_utf8(table.stdout).unwrap();
        let header = table.lines().next().unwrap();
        let expected = fields[0].to_uppercase();
        assert!(header.trim_start().starts_with(&expected), "{table}");
        assert_eq!(table.lines().count(), 1 + rows.as_array().unwrap().len());
    }
    let peers = show(&running, "peers");
    assert_eq!(names(&peers), ["rail-t", "rail-u"]);
    assert_eq!(
        (&peers[0]["relation"], &peers[0]["slots"]),
        (&"self".into(), &251.into())
    );
    assert_eq!(
        (&peers[1]["state"], &peers[1]["slots"]),
        (&"dead".into(), &0.into())
    );
    let backends = show(&running, "backends");
    assert_eq!(names(&backends), ["web-1", "web-2"]);
    let slots: u64 = backends.as_array().unwrap().iter().map(slots).sum();
    assert_eq!(slots, 251);
    let services = show(&running, "services");
    assert_eq!(services[0]["desired"], services[0]["effective"]);
    assert_eq!(show(&running, "neighbors")[0]["state"], "static");
    let ports = show(&running, "ports");
    assert_eq!(
        (&ports[0]["name"], &ports[0]["device"]),
        (&"uplink".into(), &"net_null0".into())
    );

    let found = rail(&["show", "ports", "--config", &text(running.file())]);
    assert!(found.status.success(), "{}", stderr(&found));
    let nobody = rail(&["show", "ports", "--socket", "/nonexistent/rail.sock"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("no rail answers on /nonexistent/rail.sock"));
    assert_eq!(running.get("/v1/nothing").status, 404);
}

/// A rail is ready when its next hops are known. Without an answer from its only gateway it says so, and
/// is well again when the configuration has the gateway's link address.
#[test]
fn health_names_what_is_wrong() {
    let mut setup = Setup {
        gateway_known: false,
        ..Setup::default()
    };
    let running = Running::start(&setup);
    let first = running.get("/healthz");
    assert_eq!(first.status, 503);
    assert!(first.body.contains("192.0.2.1"), "{}", first.body);
    let silent = "no gateway answers: 192.0.2.1\n";
    wait_for("the gateway to be given up", || {
        running.get("/healthz").body == silent
    });
    assert_eq!(running.metric("rustyrail_healthy"), 0.0);

    setup.gateway_known = true;
    fs::write(running.file(), setup.text(running.dir.path())).unwrap();
    let applied = apply(&running);
    assert_eq!(applied.0, Some(0), "{}", applied.1);
    let well = running.get("/healthz");
    assert_eq!((well.status, well.body.as_str()), (200, "ok\n"));
    assert_eq!(running.metric("rustyrail_healthy"), 1.0);
}

#[test]
fn a_file_is_applied_as_a_whole_or_not_at_all() {
    let mut setup = Setup::default();
    let running = Running::start(&setup);
    let before = running.metric("rustyrail_snapshot_generation");

    setup.backends.push("web-3");
    fs::write(running.file(), setup.text(running.dir.path())).unwrap();
    let (code, said) = apply(&running);
    assert_eq!(code, Some(0), "{said}");
    let after = running.metric("rustyrail_snapshot_generation");
    assert_eq!(after, before + 1.0);
    assert_eq!(
        names(&show(&running, "backends")),
        ["web-1", "web-2", "web-3"]
    );

    let good = setup.text(running.dir.path());
    let line = good.lines().position(|l| l.starts_with("vip")).unwrap() + 1;
    let file = text(running.file());
    setup.flows *= 2;
    let cases = [
        (
            good.replace("203.0.113.10", "203.0.113.300"),
            format!("{file}:{line}:7: error: "),
        ),
        (good.replace("[pool]", "[pol]"), format!("{file}:")),
        ("[".into(), format!("{file}:1:2: error: ")),
        (
            setup.text(running.dir.path()),
            "[node] cannot change while the rail runs: restart it".into(),
        ),
    ];
    for (bad, expected) in &cases {
        fs::write(running.file(), bad).unwrap();
        let (code, said) = apply(&running);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(expected.as_str()), "{expected} in {said}");
        assert!(said.contains("nothing changed"), "{said}");
    }
    fs::remove_file(running.file()).unwrap();
    let (code, said) = apply(&running);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be read: No such file"), "{said}");

    assert_eq!(running.metric("rustyrail_snapshot_generation"), after);
    assert_eq!(
        names(&show(&running, "backends")),
        ["web-1", "web-2", "web-3"]
    );
    assert_eq!(
        running.metric("rustyrail_applies_total{outcome=\"done\"}"),
        1.0
    );
    // The file that could not be read was never offered.
    assert_eq!(
        running.metric("rustyrail_applies_total{outcome=\"refused\"}"),
        cases.len() as f64
    );
}

/// SIGHUP goes the same way as `rail apply`.
#[test]
fn hangup_reads_the_file_again() {
    let mut setup = Setup::default();
    let running = Running::start(&setup);
    setup.backends.push("web-3");
    let good = setup.text(running.dir.path());
    fs::write(running.file(), &good).unwrap();
    running.signal(Signal::SIGHUP);
    wait_for("the new backend", || {
        names(&show(&running, "backends")).len() == 3
    });
    let generation = running.metric("rustyrail_snapshot_generation");

    let spoil: [(&str, &dyn Fn()); 3] = [
        ("unknown key", &|| {
            fs::write(running.file(), good.replace("vip =", "vpi =")).unwrap();
        }),
        ("cannot be read: No such file", &|| {
            fs::remove_file(running.file()).unwrap();
        }),
        ("cannot be read: Is a directory", &|| {
            fs::create_dir(running.file()).unwrap();
        }),
    ];
    for (index, (why, spoil)) in spoil.iter().enumerate() {
        spoil();
        running.signal(Signal::SIGHUP);
        wait_for(why, || {
            let refused = running.metric("rustyrail_applies_total{outcome=\"refused\"}");
            refused == (index + 1) as f64
        });
        let log = running.log();
        assert!(log.contains(why), "{why} in {log}");
        assert_eq!(log.matches("nothing changed").count(), index + 1);
    }
    assert_eq!(running.metric("rustyrail_snapshot_generation"), generation);
    assert_eq!(names(&show(&running, "backends")).len(), 3);
}

/// Every reason not to start is one line that names the thing, and nothing is left behind.
#[test]
fn refuses_to_start_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::default();
    let good = setup.text(dir.path());
    let device = |device: &str| good.replace(&setup.device, device);
    let taken = TcpListener::bind(metrics()).unwrap();
    let in_use = format!(
        "cannot serve metrics on {}: Address already in use",
        metrics()
    );
    let (file, free) = (dir.path().join("rail.toml"), "127.77.77.77:9464");
    let elsewhere = |text: String| text.replace(&metrics().to_string(), free);
    let cases = [
        (good.clone(), in_use.as_str()),
        (
            elsewhere(device("net_af_packet0,iface=nosuchport")),
            "error: port net_af_packet0 does not exist or failed to start",
        ),
        (
            elsewhere(device("0000:ff:1f.7")),
            "error: port 0000:ff:1f.7 does not exist or failed to start",
        ),
        (elsewhere(device("net_nosuchdriver0")), "net_nosuchdriver0"),
        (
            elsewhere(good.replace("workers = [1]", "workers = [4096]")),
            "rail.toml:3:12: error: ",
        ),
        (
            elsewhere(good.replace("workers = [1]", "workers = [1, 1]")),
            "rail.toml:3:15: error: ",
        ),
    ];
    for (bad, expected) in cases {
        fs::write(&file, bad).unwrap();
        let output = rail(&["run", "--config", &text(&file)]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
        assert!(said.contains(expected), "{expected} in {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!dir.path().join("rail.sock").exists(), "{expected}");
    }
    drop(taken);
    let missing = rail(&["run", "--config", "/nonexistent/rail.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    let expected = "/nonexistent/rail.toml: error: cannot be read: No such file or directory";
    assert!(stderr(&missing).contains(expected), "{}", stderr(&missing));
}

#[test]
fn one_rail_has_the_control_socket() {
    let mut running = Running::start(&Setup::default());
    let second = rail(&["run", "--config", &text(running.file())]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    let expected = format!(
        "error: another rail runs with the control socket {}",
        text(running.socket())
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(running.get("/healthz").status, 200, "the first goes on");
    assert_eq!(names(&show(&running, "backends")).len(), 2);

    running.signal(Signal::SIGTERM);
    assert_eq!(running.ended().code(), Some(0));
    assert!(!running.socket().exists());
    let gone = rail(&["show", "ports", "--socket", &text(running.socket())]);
    assert_eq!(gone.status.code(), Some(1));
}

/// What a killed rail leaves behind does not keep the next one from starting.
#[test]
fn a_dead_rails_socket_is_taken_over() {
    let dir = Running::start(&Setup::default()).kill();
    assert!(dir.path().join("rail.sock").exists());
    let running = Running::start_in(dir, &Setup::default());
    assert_eq!(names(&show(&running, "backends")).len(), 2);
}

/// The scrapers' address answers questions; the control socket takes a request of bounded size.
#[test]
fn writing_needs_the_socket_and_a_sane_request() {
    let running = Running::start(&Setup::default());
    let generation = running.metric("rustyrail_snapshot_generation");
    let offer = serde_json::json!({ "file": "x", "text": "" }).to_string();
    for method in ["POST", "PUT", "DELETE"] {
        let answer = raw(&format!(
            "{method} /v1/apply HTTP/1.1\r\nHost: rail\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{offer}",
            offer.len()
        ));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("rail apply FILE"), "{answer}");
    }
    let answer = raw(
        "POST /v1/services HTTP/1.1\r\nHost: rail\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let answer = raw("GET /healthz HTTQ/9\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(),
        "{answer}"
    );

    let socket = running.socket();
    let cases = [
        ("{".to_owned(), 400),
        ("{\"file\": \"x\"}".to_owned(), 422),
        (offer, 422),
        (" ".repeat((80 << 20) + 1), 413),
    ];
    for (body, expected) in cases {
        let shown: String = body.chars().take(20).collect();
        let (status, _) = client::post(&socket, "/v1/apply", body).unwrap();
        assert_eq!(status.as_u16(), expected, "{shown:?}");
    }
    assert_eq!(running.metric("rustyrail_snapshot_generation"), generation);
    assert_eq!(running.get("/healthz").status, 200);
}

/// Sends bytes to the exporter and reads until it closes the connection.
fn raw(request: &str) -> String {
    let mut stream = TcpStream::connect(metrics()).unwrap();
    stream.set_read_timeout(Some(running::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `rail apply` of the rail's own file: the exit code, and what was said.
fn apply(running: &Running) -> (Option<i32>, String) {
    let (file, socket) = (text(running.file()), text(running.socket()));
    let output = rail(&["apply", &file, "--socket", &socket]);
    (output.status.code(), stderr(&output))
}

/// `rail show WHAT --json`.
fn show(running: &Running, what: &str) -> Value {
    let output = rail(&["show", what, "--json", "--socket", &text(running.socket())]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter();
    rows.filter_map(|row| row["name"].as_str()).collect()
}

fn slots(row: &Value) -> u64 {
    row["slots"].as_u64().unwrap()
}

fn text(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}
