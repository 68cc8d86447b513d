//! Every way to a backend, through `rail replay`, checked by scapy: both families inside both, by GRE
//! with and without a key, IP in IP and GUE, and both ways of direct return.
//!
//! `encapsulations/matrix.py` lists the ways; `generate.py` makes traffic for all of them, `check.py`
//! holds what comes out against what went in. Both know of the rail what RFCs and its configuration say.

#[path = "support/python.rs"]
mod python;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use python::python;

/// Bytes in front of a capture's first frame: the file's header and the frame's own.
const CAPTURE: usize = 24 + 16;
/// Bytes of an Ethernet header.
const LINK: usize = 14;

struct Run {
    dir: PathBuf,
    options: &'static [&'static str],
}

impl Run {
    /// Makes the traffic and replays it.
    fn new(name: &str, flows: &str, options: &'static [&'static str]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("encapsulations-{name}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        let mut generator = python("encapsulations/generate.py", &["tomllib"]);
        succeeds(generator.arg(&dir).args(["--flows", flows]).args(options));
        let books = replay(&dir);
        assert_eq!(books["rx"], books["tx"], "{books}");
        assert_eq!(books["balanced"], true, "{books}");
        Run { dir, options }
    }

    fn check(&self) -> Output {
        python("encapsulations/check.py", &["scapy", "tomllib"])
            .arg(&self.dir)
            .args(self.options)
            .output()
            .expect("the checker runs")
    }

    #[track_caller]
    fn passes(&self) {
        let checked = self.check();
        let said = [&checked.stdout[..], &checked.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(checked.status.success(), "{said}");
        println!("{said}");
    }

    fn remove(self) {
        fs::remove_dir_all(self.dir).expect("removed");
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

#[test]
fn twenty_thousand_flows_each_way() {
    let run = Run::new("all", "20000", &[]);
    run.passes();
    run.remove();
}

/// Outer sources from a prefix: all checksums follow, and flows are spread over its hosts.
#[test]
fn sources_with_entropy() {
    let run = Run::new("entropy", "2000", &["--entropy"]);
    run.passes();
    run.remove();
}

/// Packets that are too large and may be fragmented arrive in pieces that scapy puts together again.
#[test]
fn pieces_of_what_does_not_fit() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("encapsulations-pieces");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory");
    succeeds(
        python("encapsulations/split.py", &["scapy"])
            .arg("make")
            .arg(&dir),
    );
    let books = replay(&dir);
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(books["dropped"], 0, "{books}");
    let said = succeeds(
        python("encapsulations/split.py", &["scapy"])
            .arg("check")
            .arg(&dir),
    );
    println!("{}", String::from_utf8_lossy(&said.stdout));
    fs::remove_dir_all(dir).expect("removed");
}

/// Untagged and tagged ports, a provider's tag in front, tags that stay with their packets.
#[test]
fn tags() {
    for mode in ["none", "vlan", "qinq", "keep", "vlan-keep"] {
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("encapsulations-tags-{mode}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        let tags = |verb| {
            let mut tags = python("encapsulations/vlan.py", &["scapy"]);
            succeeds(tags.arg(verb).arg(&dir).arg(mode)).stdout
        };
        tags("make");
        let books = replay(&dir);
        assert_eq!(books["balanced"], true, "{books}");
        fs::write(dir.join("books.json"), books.to_string()).expect("written");
        println!("{}", String::from_utf8_lossy(&tags("check")));
        fs::remove_dir_all(dir).expect("removed");
    }
}

/// Runs the capture in the directory through a rail; returns the books.
fn replay(dir: &Path) -> serde_json::Value {
    let mut rail = Command::new(env!("CARGO_BIN_EXE_rail"));
    rail.args(["replay", "--json", "--config"]);
    rail.arg(dir.join("rail.toml")).arg("--in");
    rail.arg(dir.join("in.pcap")).arg("--out");
    let books = succeeds(rail.arg(dir.join("out.pcap"))).stdout;
    serde_json::from_slice(&books).expect("JSON")
}

/// The second look is worth something only if it sees what is wrong.
#[test]
fn the_checker_notices_what_is_wrong() {
    let run = Run::new("wrong", "60", &[]);
    let good = fs::read(run.dir.join("out.pcap")).expect("the output");
    let frames = frames(&good);
    // The ways, by their place in the matrix.
    let (gre_4in4, key_4in4, gue_4in4, gue_4in6, l3dsr_4) = (0, 1, 3, 8, 10);
    let l2dsr_4 = 11;
    for (way, at, what) in [
        (gre_4in4, 0, "another next hop"),
        (gre_4in4, LINK + 1, "another DSCP"),
        (gre_4in4, LINK + 8, "another TTL"),
        (gre_4in4, LINK + 15, "another source"),
        (gre_4in4, LINK + 20 + 3, "another EtherType in GRE"),
        (gre_4in4, LINK + 24 + 30, "another byte inside"),
        (key_4in4, LINK + 20 + 7, "another key"),
        (gue_4in4, LINK + 20 + 3, "another GUE port"),
        (gue_4in6, LINK + 40 + 7, "another UDP checksum"),
        (gue_4in6, LINK + 5, "another payload length"),
        (gue_4in6, LINK + 7, "another hop limit"),
        (l3dsr_4, LINK + 1, "another DSCP of L3DSR"),
        (l3dsr_4, LINK + 8, "a TTL that L3DSR changed"),
        (l2dsr_4, 5, "no backend's MAC address"),
        (l2dsr_4, LINK + 1, "a packet that L2DSR changed"),
    ] {
        let mut bad = good.clone();
        bad[frames[way] + at] ^= 0x40;
        fs::write(run.dir.join("out.pcap"), bad).expect("written");
        let checked = run.check();
        assert!(!checked.status.success(), "{what} went unnoticed");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(said.contains(&format!("packet {way}, ")), "{what}: {said}");
    }
    fs::write(run.dir.join("out.pcap"), good).expect("written");
    // So few flows cannot have the shares of the table, and that is noticed too.
    let checked = run.check();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains(" of 60, not "), "{said}");
    run.remove();
}

/// Where the frames of a capture start.
fn frames(capture: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = CAPTURE;
    while let Some(length) = capture.get(at - 8..at - 4) {
        starts.push(at);
        at += u32::from_le_bytes(length.try_into().expect("four bytes")) as usize + 16;
    }
    starts
}
