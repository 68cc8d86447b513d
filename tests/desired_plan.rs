//! `rail plan` against an independent implementation of Maglev.

#[path = "support/python.rs"]
mod python;

use std::process::Command;

use serde_json::Value;

use rustyrail::control::desired::Desired;
use rustyrail::pool::parse_pool;
use rustyrail::store::Info;

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

    let oracle = python::python("maglev_oracle.py", &["tomllib"])
        .arg(&before)
        .arg("--moved")
        .arg(&after)
        .output()
        .unwrap();
    assert!(
        oracle.status.success(),
        "{}",
        String::from_utf8_lossy(&oracle.stderr)
    );
    let oracle: Value = serde_json::from_slice(&oracle.stdout).unwrap();

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
    let backends = serde_json::json!([{"name": "web-42", "fate": "removed"}]);
    assert_eq!(services[0]["backends"], backends);
}
