//! `rail replay` over generated traffic: two hundred thousand packets of twenty thousand flows in, every
//! packet that comes out checked by scapy, the books to the last packet.
//!
//! `replay/generate.py` makes the traffic and a plan of what has to become of each packet;
//! `replay/check.py` holds the outcome against it, and against `rail trace`. Both know nothing of the
//! rail but its configuration (`replay/rail.toml`) and the RFCs.

#[path = "support/python.rs"]
mod python;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use python::python;

/// One run: the traffic, the rail's configuration, and where all files are. Gone if the test passes.
struct Run {
    dir: PathBuf,
    vlan: Option<&'static str>,
}

impl Run {
    fn new(name: &str, vlan: Option<&'static str>) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-{name}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory");
        let toml = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay/rail.toml");
        let mut config = fs::read_to_string(toml).expect("the configuration");
        if let Some(vlan) = vlan {
            config = config.replace("mtu = 1600\n", &format!("mtu = 1600\nvlan = {vlan}\n"));
        }
        fs::write(dir.join("rail.toml"), config).expect("written");
        Run { dir, vlan }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn vlan_argument(&self) -> Vec<&str> {
        self.vlan.map_or(Vec::new(), |vlan| vec!["--vlan", vlan])
    }

    fn generate(&self, arguments: &[&str]) {
        let mut generator = python("replay/generate.py", &["tomllib"]);
        generator
            .arg(&self.dir)
            .args(arguments)
            .args(self.vlan_argument());
        succeeds(generator);
    }

    fn rail(&self, verb: &str) -> Command {
        let mut rail = Command::new(env!("CARGO_BIN_EXE_rail"));
        rail.arg(verb).arg("--config").arg(self.file("rail.toml"));
        rail
    }

    fn replay(&self) {
        let mut replay = self.rail("replay");
        replay
            .arg("--in")
            .arg(self.file("in.pcap"))
            .arg("--out")
            .arg(self.file("out.pcap"))
            .arg("--json");
        let books = succeeds(replay).stdout;
        fs::write(self.file("books.json"), books).expect("written");
    }

    fn trace(&self) {
        let flows = File::open(self.file("flows")).expect("flows");
        let mut trace = self.rail("trace");
        trace.args(["--batch", "--json"]).stdin(flows);
        let traces = succeeds(trace).stdout;
        fs::write(self.file("traces"), traces).expect("written");
    }

    fn check(&self) -> Output {
        python("replay/check.py", &["scapy", "tomllib"])
            .arg(&self.dir)
            .arg(self.file("rail.toml"))
            .args(self.vlan_argument())
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
fn succeeds(mut command: Command) -> Output {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

#[test]
fn two_hundred_thousand_packets() {
    let run = Run::new("full", None);
    run.generate(&["--packets", "200000", "--flows", "20000"]);
    run.replay();
    run.trace();
    run.passes();
    run.remove();
}

#[test]
fn over_a_port_with_a_vlan() {
    let run = Run::new("vlan", Some("100"));
    run.generate(&["--packets", "20000", "--flows", "4000"]);
    run.replay();
    run.trace();
    run.passes();
    run.remove();
}

/// The second look is worth something only if it sees what is wrong.
#[test]
fn the_checker_notices_what_is_wrong() {
    let run = Run::new("wrong", None);
    // Many runs of the checker: over small tables and little traffic.
    let config = fs::read_to_string(run.file("rail.toml")).expect("the configuration");
    let config = config.replace("[pool]\n", "[pool]\ntable_size = 251\n");
    fs::write(run.file("rail.toml"), config).expect("written");
    run.generate(&["--packets", "2000", "--flows", "200"]);
    run.replay();
    run.trace();
    run.passes();
    let refuses = |what: &str| {
        let checked = run.check();
        assert!(!checked.status.success(), "{what} went unnoticed");
    };
    let good = fs::read(run.file("out.pcap")).expect("the output");
    // The first packet: behind the file's header of 24 bytes and its own of 16, then Ethernet's 14.
    let ip = 24 + 16 + 14;
    for (at, what) in [
        (ip - 14, "another next hop"),
        (ip, "another header length"),
        (ip + 1, "another DSCP"),
        (ip + 3, "another total length"),
        (ip + 5, "an ID"),
        (ip + 6, "no DF"),
        (ip + 8, "another TTL"),
        (ip + 9, "another protocol"),
        (ip + 11, "another checksum"),
        (ip + 15, "another source"),
        (ip + 19, "another backend"),
        (ip + 21, "other GRE flags, or another inner packet"),
        (ip + 45, "another byte of the inner packet"),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(run.file("out.pcap"), bad).expect("written");
        refuses(what);
    }
    fs::write(run.file("out.pcap"), &good[..24]).expect("written");
    refuses("nothing at all");
    let first = 16 + u32::from_le_bytes(good[32..36].try_into().expect("four bytes")) as usize;
    let without_first = [&good[..24], &good[24 + first..]].concat();
    fs::write(run.file("out.pcap"), without_first).expect("written");
    refuses("a lost packet");
    let first_twice = [&good, &good[24..24 + first]].concat();
    fs::write(run.file("out.pcap"), first_twice).expect("written");
    refuses("a packet too many");
    fs::write(run.file("out.pcap"), &good).expect("written");

    let books = fs::read_to_string(run.file("books.json")).expect("books");
    let cooked = books.replacen("\"dropped\": ", "\"dropped\": 1", 1);
    fs::write(run.file("books.json"), cooked).expect("written");
    refuses("cooked books");
    fs::write(run.file("books.json"), books).expect("written");

    let traces = fs::read_to_string(run.file("traces")).expect("traces");
    fs::write(run.file("traces"), traces.replace("web-a", "web-b")).expect("written");
    refuses("rail trace with another answer");
    run.remove();
}

/// The same capture gives the same packets, whenever it is replayed.
#[test]
fn replay_is_deterministic() {
    let run = Run::new("twice", None);
    run.generate(&["--packets", "5000", "--flows", "500"]);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        run.replay();
        let books = fs::read_to_string(run.file("books.json")).expect("books");
        let books: serde_json::Value = serde_json::from_str(&books).expect("JSON");
        outcomes.push((books, frames(&run.file("out.pcap"))));
    }
    assert_eq!(outcomes[0].0, outcomes[1].0);
    assert!(outcomes[0].1 == outcomes[1].1, "the frames differ");
    assert!(outcomes[0].1.len() > 3000);
    run.remove();
}

/// The frames of a capture, without the times at which they were sent.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("a capture");
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        frames.push(tail[..len].to_vec());
        rest = &tail[len..];
    }
    frames
}

#[test]
fn files_that_cannot_be_replayed() {
    let run = Run::new("errors", None);
    run.generate(&["--packets", "2000", "--flows", "20"]);
    let fails = |input: &str, output: &str, says: &str| {
        let mut replay = run.rail("replay");
        replay.current_dir(&run.dir);
        replay.args(["--in", input, "--out", output]);
        let output = replay.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    };
    fails(
        "nowhere.pcap",
        "out.pcap",
        "cannot read the capture nowhere.pcap",
    );
    fails("in.pcap", "./in.pcap", "is both input and output");
    fails("in.pcap", "a,b.pcap", "a path with a comma");
    fails("in.pcap", "no/such/directory/out.pcap", "no/such/directory");
    // Not a capture: the configuration itself.
    fails("rail.toml", "out.pcap", "rail.toml");
    assert!(run.file("in.pcap").metadata().expect("still there").len() > 24);
    run.remove();
}
