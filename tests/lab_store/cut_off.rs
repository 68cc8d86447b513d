//! Two rails whose stores know each other over a link that can be taken down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use serde_json::Value;

use rustyrail::cli::lab::files::States;
use rustyrail::cli::lab::topology::VIP;
use rustyrail::cli::lab::{Lab, files, load};

use super::{cannot_make_namespaces, git, metrics, text, up, wait_for, with_store};

const RAILS: [&str; 2] = ["rail-a", "rail-b"];
/// The rails' addresses on the link between them.
const MANAGEMENT: [&str; 2] = ["192.168.77.1", "192.168.77.2"];

/// Two rails whose stores know each other over a link of their own.
struct Pair {
    lab: Lab,
    stores: tempfile::TempDir,
}

impl Pair {
    fn up(name: &str) -> Self {
        let lab = up(name, 2);
        let pair = Pair {
            lab,
            stores: tempfile::tempdir().unwrap(),
        };
        pair.start()
    }

    /// The second rail begins with a clone of the first one's store.
    fn start(mut self) -> Self {
        let lab = &self.lab;
        lab.write_configs(&States::new()).unwrap();
        let [a, b] = RAILS.map(|rail| lab.netns(rail));
        let ends = (a.name(), b.name());
        let link = format!(
            "link add mgmt netns {} type veth peer name mgmt netns {}\n",
            ends.0, ends.1
        );
        a.ip(&link).unwrap();
        for (netns, address) in [&a, &b].into_iter().zip(MANAGEMENT) {
            let up = format!("link set mgmt up\naddress add {address}/24 dev mgmt\n");
            netns.ip(&up).unwrap();
        }
        for rail in RAILS {
            let config = lab.rail_config(rail);
            let text = std::fs::read_to_string(&config).unwrap();
            let text = with_store(&text, &self.store(rail));
            let everywhere = format!("metrics = \"0.0.0.0:{}\"", files::METRICS.port());
            let text = text.replace(&format!("metrics = \"{}\"", files::METRICS), &everywhere);
            std::fs::write(config, text).unwrap();
        }
        self.lab.start_rail("rail-a").unwrap();
        let (from, to) = (self.store("rail-a"), self.store("rail-b"));
        let [from, to] = [from, to].map(|path| path.display().to_string());
        git(
            self.stores.path(),
            &["clone", "--quiet", "--bare", &from, &to],
        );
        git(&self.store("rail-b"), &["remote", "remove", "origin"]);
        self.lab.start_rail("rail-b").unwrap();
        for (rail, (other, address)) in RAILS
            .into_iter()
            .zip(RAILS.into_iter().zip(MANAGEMENT).rev())
        {
            let url = format!("http://{address}:{}/store.git", files::METRICS.port());
            git(&self.store(rail), &["remote", "add", other, &url]);
        }
        self
    }

    fn store(&self, rail: &str) -> PathBuf {
        self.stores.path().join(format!("{rail}.git"))
    }

    /// Takes the link down at one end, or up again.
    fn link(&self, state: &str) {
        let netns = self.lab.netns("rail-a");
        netns.ip(&format!("link set mgmt {state}\n")).unwrap();
    }

    fn verb(&self, rail: &str, arguments: &[&str]) -> Output {
        let mut command = self.lab.rail();
        command.args(arguments).arg("--socket");
        command.arg(self.lab.rail_socket(rail)).output().unwrap()
    }

    fn done(&self, rail: &str, arguments: &[&str]) -> String {
        let output = self.verb(rail, arguments);
        assert!(output.status.success(), "{rail} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn show(&self, rail: &str, what: &str) -> Value {
        serde_json::from_str(&self.done(rail, &["show", what, "--json"])).unwrap()
    }

    fn heads(&self) -> [String; 2] {
        RAILS.map(|rail| git(&self.store(rail), &["rev-parse", "main"]))
    }

    /// Name and digest of every service's desired state.
    fn digests(&self, rail: &str) -> Vec<String> {
        let services = self.show(rail, "services");
        let services = services.as_array().unwrap().iter();
        let mut digests: Vec<_> = services
            .map(|service| format!("{} {}", service["name"], service["desired"]))
            .collect();
        digests.sort();
        digests
    }

    fn wait_until_they_agree(&self) {
        wait_for("the same commit to run on both", || {
            let [a, b] = self.heads();
            let runs = |rail| self.show(rail, "store")[0]["running"] == a.trim();
            a == b && RAILS.into_iter().all(runs)
        });
    }

    fn behind(&self, rail: &str) -> bool {
        let page = metrics(&self.lab, rail);
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix("rustyrail_store_behind "));
        line.expect("a metric") == "1"
    }
}

/// The link between two stores goes down. One rail is told to drain a backend, the other gets a service; both go
/// on. The link comes up: the same commit on both, by nobody's doing, and nothing moves any more. All the while
/// connections go on, and afterwards no new one meets the drained backend on either rail.
#[test]
fn rails_whose_link_was_down_end_at_the_same_commit() {
    if cannot_make_namespaces() {
        return;
    }
    let pair = Pair::up("t-part");
    let vip = SocketAddr::from((VIP, files::PORT));
    let clients = [pair.lab.netns("client-1")];
    let long = load::LongLived::start(&clients, vip, 20);
    let before = pair.heads();
    assert_eq!(before[0], before[1]);

    pair.link("down");
    let state = "services/web/backends/web-1/state";
    pair.done("rail-a", &["write", state, "drain", "-m", "maintenance"]);
    for (key, value) in [
        ("vip", "203.0.113.53"),
        ("protocol", "udp"),
        ("port", "53"),
        ("backends/web-2/address", "198.51.100.12"),
    ] {
        write_in_draft(&pair, "rail-b", &format!("services/dns/{key}"), value);
    }
    pair.done("rail-b", &["merge", "draft"]);
    let cut = pair.verb("rail-a", &["sync"]);
    assert_eq!(cut.status.code(), Some(1), "{cut:?}");
    assert!(text(&cut.stdout).contains("rail-b: unreachable"), "{cut:?}");
    assert_ne!(pair.heads()[0], pair.heads()[1]);
    assert_ne!(pair.digests("rail-a"), pair.digests("rail-b"));

    pair.link("up");
    let joined = Instant::now();
    pair.wait_until_they_agree();
    eprintln!("agreed {:?} after the link came up", joined.elapsed());
    let met = pair.heads();
    assert_eq!(pair.digests("rail-a"), pair.digests("rail-b"));
    assert_eq!(pair.digests("rail-a").len(), 3);
    for _ in 0..10 {
        for rail in RAILS {
            let said = pair.done(rail, &["sync"]);
            assert!(said.contains("nothing new"), "{said}");
        }
    }
    assert_eq!(pair.heads(), met);
    let outcomes = load::connect(&clients, vip, 200);
    let tally = load::Tally::of(&outcomes);
    assert_eq!(tally.answered.get("web-2"), Some(&200), "{tally:?}");
    let lives = long.stop();
    let broken: Vec<_> = lives.iter().filter(|life| life.error.is_some()).collect();
    assert!(broken.is_empty(), "{broken:?}");
    for rail in RAILS {
        let fsck = ["fsck", "--full", "--strict", "--no-dangling"];
        assert_eq!(git(&pair.store(rail), &fsck), "");
    }
}

/// A service is no valid pool before all of it is there: it is written on a branch.
fn write_in_draft(pair: &Pair, rail: &str, path: &str, value: &str) {
    if !pair.done(rail, &["branch"]).contains("draft") {
        pair.done(rail, &["branch", "draft"]);
    }
    pair.done(rail, &["write", path, value, "--branch", "draft"]);
}

/// What no rule decides: one weight set to two values, and one address and port given to two services. Both rails
/// go on with what they had and say so; one word on one of them settles it for both.
#[test]
fn what_two_rails_cannot_agree_on_is_shown_and_settled_on_one() {
    if cannot_make_namespaces() {
        return;
    }
    let pair = Pair::up("t-clash");
    let weight = "services/web/backends/web-1/weight";
    let clash = |rail, service: &str| {
        for (key, value) in [("vip", "203.0.113.53"), ("protocol", "udp"), ("port", "53")] {
            write_in_draft(&pair, rail, &format!("services/{service}/{key}"), value);
        }
        pair.done(rail, &["merge", "draft"]);
    };
    pair.link("down");
    pair.done("rail-a", &["write", weight, "10"]);
    pair.done("rail-b", &["write", weight, "20"]);
    clash("rail-a", "one");
    clash("rail-b", "two");
    let (apart, running) = (pair.heads(), RAILS.map(|rail| pair.digests(rail)));
    pair.link("up");
    wait_for("both to say so", || {
        RAILS.into_iter().all(|rail| pair.behind(rail))
    });
    for ((rail, other), running) in RAILS.into_iter().zip(["rail-b", "rail-a"]).zip(&running) {
        let problem = pair.show(rail, "store")[0]["problem"].clone();
        let problem = problem.as_str().unwrap();
        assert!(problem.contains(weight), "{problem}");
        let log = pair.lab.log_tail(rail, "rail");
        assert!(log.contains(&format!("rail merge {other}/main")), "{log}");
        assert_eq!(&pair.digests(rail), running);
    }
    assert_eq!(pair.heads(), apart);
    let clients = [pair.lab.netns("client-1")];
    let outcomes = load::connect(&clients, (VIP, files::PORT).into(), 50);
    assert_eq!(load::Tally::of(&outcomes).succeeded(), 50, "{outcomes:?}");

    // The weight alone does not settle it: both services together are no pool.
    let merge = ["merge", "rail-b/main", "--theirs-at", weight];
    let refused = pair.verb("rail-a", &merge);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("have the same key"), "{said}");
    let settle = [&merge[..], &["--set", "services/two/port=5353"]].concat();
    pair.done("rail-a", &settle);
    pair.wait_until_they_agree();
    wait_for("no problem to be left", || {
        RAILS.into_iter().all(|rail| !pair.behind(rail))
    });
    for rail in RAILS {
        assert_eq!(pair.done(rail, &["read", weight]), "20\n");
        assert_eq!(pair.done(rail, &["read", "services/two/port"]), "5353\n");
        assert_eq!(pair.show(rail, "store")[0]["problem"], Value::Null);
    }
    assert_eq!(pair.digests("rail-a"), pair.digests("rail-b"));
}
