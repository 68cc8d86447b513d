//! Two rails that share a pool: cut off from each other, changed on both sides, joined again.
//!
//! ```text
//! rail one --(link)--> rail two's port      Each rail fetches from the other
//! rail two --(link)--> rail one's port      through a link that the test can cut.
//! ```

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use running::store::{backends, git, stdout, with_store};
use running::{Running, Setup, metrics, rail, stderr, wait_for};

/// Passes connections on to a rail as long as it is up.
struct Link {
    address: SocketAddr,
    up: Arc<AtomicBool>,
}

impl Link {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((target.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let up = Arc::new(AtomicBool::new(true));
        let is_up = Arc::clone(&up);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_up.load(Ordering::SeqCst) {
                    std::thread::spawn(move || pass(client, target));
                }
            }
        });
        Link { address, up }
    }

    fn url(&self) -> String {
        format!("http://{}/store.git", self.address)
    }
}

/// Both directions of one connection; the end of one half is the end of it there.
fn pass(client: TcpStream, target: SocketAddr) -> Option<()> {
    let server = TcpStream::connect(target).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let there = std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to).and_then(|_| to.flush());
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to).and_then(|_| to.flush());
    let _ = to.shutdown(Shutdown::Write);
    there.join().ok()
}

struct Pair {
    rails: [Running; 2],
    links: [Link; 2],
}

impl Pair {
    fn start() -> Self {
        Self::fetching_every("2s")
    }

    /// Two rails, the second of which began with a clone of the first one's store.
    fn fetching_every(sync_interval: &'static str) -> Self {
        let setups = [9464, 9465].map(|port| Setup {
            port,
            sync_interval,
            ..with_store()
        });
        let one = Running::start(&setups[0]);
        let dir = tempfile::tempdir().unwrap();
        let clone = dir.path().join("store.git");
        let from = one.store();
        git(
            dir.path(),
            &[
                "clone",
                "--quiet",
                "--bare",
                &from.display().to_string(),
                &clone.display().to_string(),
            ],
        );
        git(&clone, &["remote", "remove", "origin"]);
        let two = Running::start_in(dir, &setups[1]);
        let rails = [one, two];
        let links = [9465, 9464].map(|port| Link::to(SocketAddr::new(metrics().ip(), port)));
        for (rail, link) in rails.iter().zip(&links) {
            git(&rail.store(), &["remote", "add", "other", &link.url()]);
        }
        Pair { rails, links }
    }

    fn set_links(&self, up: bool) {
        self.links
            .iter()
            .for_each(|link| link.up.store(up, Ordering::SeqCst));
    }

    fn heads(&self) -> [String; 2] {
        [0, 1].map(|rail| git(&self.rails[rail].store(), &["rev-parse", "main"]))
    }

    fn write(&self, rail: usize, path: &str, value: &str) {
        let done = verb(&self.rails[rail], &["write", path, value]);
        assert!(done.status.success(), "{}", stderr(&done));
    }
}

fn verb(running: &Running, arguments: &[&str]) -> std::process::Output {
    let socket = running.socket().display().to_string();
    rail(&[arguments, &["--socket", &socket]].concat())
}

fn show(running: &Running, what: &str) -> Value {
    serde_json::from_str(&running.get(&format!("/v1/{what}")).body).unwrap()
}

fn digests(running: &Running) -> Vec<String> {
    let services = show(running, "services");
    let services = services.as_array().unwrap().iter();
    let mut digests: Vec<_> = services
        .map(|s| format!("{} {}", s["name"], s["desired"]))
        .collect();
    digests.sort();
    digests
}

#[test]
fn two_rails_that_were_cut_off_end_at_the_same_commit() {
    let pair = Pair::start();
    pair.set_links(false);
    // One drains a backend, the other adds a service.
    pair.write(0, "services/web/backends/web-1/state", "drain");
    let txn = "services/dns/vip=203.0.113.53 services/dns/protocol=udp services/dns/port=53";
    let values = txn.split(' ').map(|pair| pair.split_once('=').unwrap());
    for (path, value) in values {
        pair.write(1, path, value);
    }
    let [one, two] = pair.heads();
    assert_ne!(one, two);
    let cut = verb(&pair.rails[0], &["sync"]);
    assert_eq!(cut.status.code(), Some(1), "{}", stdout(&cut));
    assert!(
        stdout(&cut).contains("other: unreachable"),
        "{}",
        stdout(&cut)
    );
    assert_eq!(digests(&pair.rails[0]).len(), 1);

    // Nobody does anything but mend the link.
    pair.set_links(true);
    wait_for("the same head", || {
        let [one, two] = pair.heads();
        one == two
    });
    let met = pair.heads();
    wait_for("both to run it", || {
        let running = |rail: &Running| show(rail, "store")[0]["running"].clone();
        pair.rails.iter().all(|rail| running(rail) == met[0].trim())
    });
    for rail in &pair.rails {
        assert_eq!(backends(rail), ["web-1:drain:100", "web-2:up:100"]);
    }
    assert_eq!(digests(&pair.rails[0]), digests(&pair.rails[1]));
    assert_eq!(digests(&pair.rails[0]).len(), 2);
    // Ten more rounds find nothing to do.
    for _ in 0..10 {
        for rail in &pair.rails {
            let done = verb(rail, &["sync"]);
            assert!(done.status.success(), "{}", stderr(&done));
            assert!(
                stdout(&done).starts_with("other: nothing new"),
                "{}",
                stdout(&done)
            );
        }
    }
    assert_eq!(pair.heads(), met);
    assert_eq!(
        git(
            &pair.rails[0].store(),
            &["fsck", "--full", "--strict", "--no-dangling"]
        ),
        ""
    );
}

#[test]
fn a_true_conflict_is_shown_and_settled_on_one_side() {
    let pair = Pair::start();
    pair.set_links(false);
    let weight = "services/web/backends/web-1/weight";
    pair.write(0, weight, "10");
    pair.write(1, weight, "20");
    pair.set_links(true);
    wait_for("both to notice", || {
        pair.rails
            .iter()
            .all(|rail| rail.metric("rustyrail_store_behind") == 1.0)
    });
    // The last good state of each goes on running.
    assert_eq!(backends(&pair.rails[0])[0], "web-1:up:10");
    assert_eq!(backends(&pair.rails[1])[0], "web-1:up:20");
    let problem = show(&pair.rails[0], "store")[0]["problem"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(problem.contains(weight), "{problem}");
    assert!(pair.rails[1].log().contains("rail merge other/main"));

    let settled = verb(
        &pair.rails[0],
        &["merge", "other/main", "--theirs-at", weight],
    );
    assert!(settled.status.success(), "{}", stderr(&settled));
    wait_for("both to agree", || {
        let [one, two] = pair.heads();
        one == two
            && pair
                .rails
                .iter()
                .all(|rail| rail.metric("rustyrail_store_behind") == 0.0)
    });
    for rail in &pair.rails {
        assert_eq!(backends(rail)[0], "web-1:up:20");
    }
}

/// Rails that would fetch once a day have each other's changes as they are made, for each tells the other.
/// Either can see what the other observes.
#[test]
fn a_rail_tells_the_others_that_it_has_something_new() {
    let pair = Pair::fetching_every("1d");
    for (turn, rail) in [0, 1, 0].into_iter().enumerate() {
        let weight = (turn + 1).to_string();
        pair.write(rail, "services/web/backends/web-1/weight", &weight);
        wait_for("the change on both", || {
            pair.rails
                .iter()
                .all(|rail| backends(rail)[0] == format!("web-1:up:{weight}"))
        });
    }
    let [one, two] = pair.heads();
    assert_eq!(one, two);

    // What the second rail observes is on a branch of its own there, and comes with what is fetched.
    let own = pair.rails[1].store();
    wait_for("the commit that runs to be written down", || {
        let arguments = ["show", "node/rail-t:observed/running"];
        could(&own, &arguments).is_some_and(|running| running == two)
    });
    let desired = git(&own, &["show", "node/rail-t:observed/services/web/desired"]);
    let services = show(&pair.rails[1], "services");
    assert_eq!(Some(desired.trim()), services[0]["desired"].as_str());
    let mac = git(&own, &["show", "node/rail-t:observed/neighbors/192.0.2.1"]);
    assert_eq!(mac, "02:00:00:00:00:fe\n");
    let synced = verb(&pair.rails[0], &["sync"]);
    assert!(synced.status.success(), "{}", stderr(&synced));
    let fetched = ["rev-parse", "refs/remotes/other/node/rail-t"];
    let ancestor = git(&pair.rails[0].store(), &fetched);
    let is_ancestor = [
        "merge-base",
        "--is-ancestor",
        ancestor.trim(),
        "node/rail-t",
    ];
    assert!(could(&own, &is_ancestor).is_some());
    // None of it is in the history that people read.
    let changed = git(&own, &["log", "--format=", "--name-only", "main"]);
    assert!(!changed.contains("observed"), "{changed}");
}

/// What Git says, if it can.
fn could(directory: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new("git");
    let output = command.arg("-C").arg(directory).args(arguments).output();
    let output = output.unwrap();
    output.status.success().then(|| stdout(&output))
}
