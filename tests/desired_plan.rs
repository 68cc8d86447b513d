//! `rail plan` against an independent implementation of Maglev.

#[path = "support/python.rs"]
mod python;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::process::Command;

use serde_json::{Value, json};

use rustyrail::control::desired::Desired;
use rustyrail::pool::parse_pool;
use rustyrail::store::Info;
use rustyrail::testkit::ether;

use running::store::{stdout, with_store};
use running::{Running, Setup, rail, stderr, wait_for};

fn pool(backends: impl Iterator<Item = u32>) -> String {
    let mut text = "[pool]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
                    [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nprotocol = \"tcp\"\nport = 443\n"
        .to_owned();
    for number in backends {
        text += &format!(
            "[[service.backend]]\nname = \"web-{number}\"\naddress = \"198.51.100.{number}\"\n"
        );
    }
    text
}

#[test]
fn one_of_a_hundred_moves_the_share_an_independent_implementation_says() {
    let dir = tempfile::tempdir().unwrap();
    let [before, after] = ["before.toml", "after.toml"].map(|name| dir.path().join(name));
    let text = pool(1..=100);
    std::fs::write(&before, &text).unwrap();
    std::fs::write(&after, pool((1..=100).filter(|number| *number != 42))).unwrap();
    let store = dir.path().join("store.git");
    let desired = Desired::open(&store, true).unwrap();
    let (pool, _) = parse_pool(&text, "before.toml").unwrap();
    let info = Info::now("Ada", "", "import");
    desired
        .replace(&desired.main(), &pool, &info, None)
        .unwrap();

    let after_text = after.display().to_string();
    let oracle = oracle(&before, &["--moved", &after_text]);

    let plan = Command::new(env!("CARGO_BIN_EXE_rail"))
        .args(["plan", "--json", "--detailed-exitcode", "--store"])
        .args([&store, &after])
        .output()
        .unwrap();
    assert_eq!(
        plan.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&plan.stderr)
    );
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let services = plan["services"].as_array().unwrap();
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["moved_slots"], oracle["moved"]);
    assert!(services[0]["moved_slots"].as_u64().unwrap() >= 65_537 / 100);
    let backends = json!([{"name": "web-42", "fate": "removed"}]);
    assert_eq!(services[0]["backends"], backends);
}

/// What the independent implementation says of a configuration.
fn oracle(config: &std::path::Path, arguments: &[&str]) -> Value {
    let mut oracle = python::python("maglev_oracle.py", &["tomllib"]);
    let output = oracle.arg(config).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
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

/// A rail that a thousand connections go through is asked what it would do to them if one of five backends went,
/// one were heavier, or one drained.
#[test]
fn the_live_connections_that_move_are_those_an_independent_implementation_counts() {
    const FIRST: u16 = 1024;
    const CONNECTIONS: u16 = 1000;
    let files = tempfile::tempdir().unwrap();
    let capture = files.path().join("in.pcap");
    // Every connection speaks twice: the second packet establishes it.
    let packets = (0..2 * CONNECTIONS).map(|number| {
        ether()
            .ipv4("198.51.100.7", "203.0.113.10")
            .udp(FIRST + number % CONNECTIONS, 443)
            .build()
    });
    std::fs::write(&capture, pcap(packets)).unwrap();
    let setup = Setup {
        device: format!("net_pcap0,rx_pcap={}", capture.display()),
        backends: vec!["web-1", "web-2", "web-3", "web-4", "web-5"],
        flows: 8192,
        ..with_store()
    };
    let running = Running::start(&setup);
    wait_for("the connections", || {
        running.metric("rustyrail_connection_entries") == f64::from(CONNECTIONS)
    });
    let text = setup.text(running.dir.path());
    let third = "[[service.backend]]\nname = \"web-3\"\naddress = \"198.51.100.13\"\nmtu = 1400\n";
    assert!(text.contains(third));
    let other = files.path().join("other.toml");
    let other_text = other.display().to_string();
    let [first, last] = [FIRST, FIRST + CONNECTIONS - 1].map(|port| port.to_string());
    let heavier = format!("{third}weight = 300\n");
    let untracked = text.replace("port = 443\n", "port = 443\ntrack = false\n");
    assert_ne!(untracked, text);
    for (what, text, changed) in [
        ("removed", &text, String::new()),
        ("heavier", &text, heavier.clone()),
        ("draining", &text, format!("{third}state = \"drain\"\n")),
        ("no longer tracked", &untracked, heavier),
    ] {
        std::fs::write(&other, text.replace(third, &changed)).unwrap();
        let flows = [
            "web",
            "17",
            "198.51.100.7",
            &first,
            &last,
            "203.0.113.10",
            "443",
        ];
        let arguments = [&["--live", &other_text], &flows[..]].concat();
        let expected = oracle(&running.file(), &arguments);
        let socket = running.socket().display().to_string();
        let plan = rail(&["plan", "--json", &other_text, "--socket", &socket]);
        assert!(plan.status.success(), "{}", stderr(&plan));
        let plan: Value = serde_json::from_str(&stdout(&plan)).unwrap();
        let counted = &plan["services"][0]["connections"];
        eprintln!("{what}: {counted}");
        assert_eq!(*counted, expected, "{what}");
        assert_eq!(counted["live"], json!(CONNECTIONS));
        let moves = ["pinned_elsewhere", "cut"].map(|key| counted[key].as_u64().unwrap());
        assert!(
            moves.iter().sum::<u64>() >= u64::from(CONNECTIONS) / 10,
            "{counted}"
        );
        let cuts = ["removed", "no longer tracked"].contains(&what);
        assert_eq!(moves[1] > 0, cuts, "{counted}");
    }
    // Nothing of it was done.
    assert_eq!(
        running.metric("rustyrail_connection_entries"),
        f64::from(CONNECTIONS)
    );
    assert_eq!(running::store::backends(&running).len(), 5);
}
