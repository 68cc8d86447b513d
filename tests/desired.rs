//! The pool in the store: a running rail that keeps to it, and the verbs that change it.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use running::store::{backends, git, stdout, with_store};
use running::{Running, Setup, rail, stderr, wait_for};

/// Runs a verb on the store of a running rail; its standard output.
fn verb(running: &Running, arguments: &[&str]) -> String {
    let socket = running.socket().display().to_string();
    let output = rail(&[arguments, &["--socket", &socket]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

/// Runs a verb that fails; what it says.
fn refused(running: &Running, arguments: &[&str]) -> String {
    let socket = running.socket().display().to_string();
    let output = rail(&[arguments, &["--socket", &socket]].concat());
    assert_eq!(
        output.status.code(),
        Some(1),
        "{arguments:?}: {}",
        stdout(&output)
    );
    stderr(&output)
}

#[test]
fn the_first_commit_is_the_file_and_afterwards_the_store_is_the_truth() {
    let mut setup = with_store();
    let running = Running::start(&setup);
    let store = running.store();
    assert_eq!(
        git(&store, &["show", "main:services/web/vip"]),
        "203.0.113.10\n"
    );
    assert_eq!(
        git(&store, &["show", "main:services/web/backends/web-1/weight"]),
        "100\n"
    );
    assert_eq!(git(&store, &["rev-list", "--count", "main"]), "1\n");
    assert!(
        git(&store, &["log", "-1", "--format=%an %s"]).starts_with("rail-t import the pool of")
    );

    // A value written through the rail is in its tables at once.
    verb(
        &running,
        &[
            "write",
            "services/web/backends/web-1/state",
            "drain",
            "-m",
            "maintenance",
        ],
    );
    assert_eq!(backends(&running), ["web-1:drain:100", "web-2:up:100"]);
    assert_eq!(
        verb(&running, &["read", "services/web/backends/web-1/state"]),
        "drain\n"
    );
    assert!(git(&store, &["log", "-1", "--format=%s", "main"]).starts_with("maintenance"));

    // The file on disk is another pool by now: it warns, and changes nothing.
    setup.backends = vec!["web-1", "web-2", "web-3"];
    fs::write(running.file(), setup.text(running.dir.path())).unwrap();
    running.signal(Signal::SIGHUP);
    wait_for("the warning", || {
        running.log().contains("the pool differs from the store's")
    });
    assert_eq!(backends(&running), ["web-1:drain:100", "web-2:up:100"]);

    // It says the same after a restart.
    let running = Running::start_in(running.kill(), &setup);
    assert!(running.log().contains("rail apply"), "{}", running.log());
    assert_eq!(backends(&running), ["web-1:drain:100", "web-2:up:100"]);

    // Applying it makes it the store's, in one commit with an author.
    let file = running.file().display().to_string();
    let applied = rail(&[
        "apply",
        &file,
        "--author",
        "Ada <ada@example.net>",
        "-m",
        "a third one",
    ]);
    assert!(applied.status.success(), "{}", stderr(&applied));
    assert_eq!(
        backends(&running),
        ["web-1:up:100", "web-2:up:100", "web-3:up:100"]
    );
    let log = git(&store, &["log", "-1", "--format=%an <%ae> %s", "main"]);
    assert_eq!(log, "Ada <ada@example.net> a third one\n");
    let changed = git(&store, &["show", "--format=", "--name-only", "main"]);
    assert!(
        changed.lines().all(|line| line.contains("/backends/")),
        "{changed}"
    );
    assert_eq!(git(&store, &["fsck", "--full", "--strict"]), "");
}

#[test]
fn what_is_no_pool_is_refused_with_rule_and_path() {
    let running = Running::start(&with_store());
    let before = git(&running.store(), &["rev-parse", "main"]);
    let said = refused(
        &running,
        &["write", "services/web/backends/web-1/weight", "heavy"],
    );
    assert!(
        said.contains("services/web/backends/web-1/weight"),
        "{said}"
    );
    let said = refused(
        &running,
        &["write", "services/web/backends/web-1/wieght", "1"],
    );
    assert!(said.contains("did you mean `weight`?"), "{said}");
    let said = refused(&running, &["rm", "services/web/vip"]);
    assert!(
        said.contains("lacks `vip`") && said.contains("services/web"),
        "{said}"
    );

    // A server must not believe its clients: this one checks nothing itself.
    use rustyrail::store::rest::{Address, RestBackend};
    use rustyrail::store::{Info, Leaf, Options, Store};
    let backend = RestBackend::connect(Address::Unix(running.socket())).unwrap();
    let store = Store::open(std::sync::Arc::new(backend), Options::default()).unwrap();
    let path = "services/web/vip".parse().unwrap();
    let info = Info::now("Eve", "", "break it");
    let broken = store.main().set(&path, &Leaf::plain("nowhere\n"), &info);
    let said = broken.unwrap_err().to_string();
    assert!(said.contains("services/web/vip"), "{said}");
    let deleted = store.main().reset(store.main().head().unwrap(), None);
    let said = deleted.unwrap_err().to_string();
    assert!(said.contains("main is the pool"), "{said}");
    assert_eq!(git(&running.store(), &["rev-parse", "main"]), before);
    // Other branches may hold drafts; merging one is what is checked.
    verb(&running, &["branch", "draft"]);
    let branch = ["--branch", "draft"];
    verb(
        &running,
        &[&["write", "services/web/vip", "nowhere"], &branch[..]].concat(),
    );
    let said = refused(&running, &["merge", "draft"]);
    assert!(said.contains("services/web/vip"), "{said}");
    assert_eq!(git(&running.store(), &["rev-parse", "main"]), before);
}

#[test]
fn verbs_read_change_and_undo() {
    let running = Running::start(&with_store());
    assert_eq!(
        verb(&running, &["ls", "services/web"]),
        "backends/\nencap\nport\nprotocol\nvip\n"
    );
    let recursive = verb(&running, &["ls", "-r", "services/web/backends/web-1"]);
    assert_eq!(
        recursive.lines().next(),
        Some("services/web/backends/web-1/address")
    );
    assert!(refused(&running, &["read", "services/web"]).contains("is a directory"));

    verb(
        &running,
        &["write", "services/web/backends/web-2/weight", "50"],
    );
    let diff = verb(&running, &["diff"]);
    assert_eq!(diff, "~ services/web/backends/web-2/weight 100 -> 50\n");
    let log: Value = serde_json::from_str(&verb(&running, &["log", "--json"])).unwrap();
    assert_eq!(log.as_array().unwrap().len(), 2);
    let commit = log[0]["commit"].as_str().unwrap();
    verb(
        &running,
        &["write", "services/web/backends/web-1/weight", "70"],
    );
    verb(&running, &["revert", commit]);
    assert_eq!(backends(&running), ["web-1:up:70", "web-2:up:100"]);
    let since = verb(&running, &["log", "--path", "services/web/backends/web-1"]);
    assert_eq!(since.lines().count(), 1 + 2, "{since}");

    // A branch is tried, looked at and merged.
    verb(&running, &["branch", "try"]);
    let draft = ["--branch", "try"];
    verb(
        &running,
        &[
            &["write", "services/web/backends/web-1/state", "down"],
            &draft[..],
        ]
        .concat(),
    );
    assert_eq!(backends(&running)[0], "web-1:up:70");
    let socket = running.socket().display().to_string();
    let plan = rail(&["plan", "try", "--detailed-exitcode", "--socket", &socket]);
    assert_eq!(plan.status.code(), Some(2), "{}", stderr(&plan));
    assert!(
        stdout(&plan).contains("~ backend web-1"),
        "{}",
        stdout(&plan)
    );
    verb(&running, &["merge", "try"]);
    assert_eq!(backends(&running)[0], "web-1:down:70");
    let nothing = rail(&["plan", "try", "--detailed-exitcode", "--socket", &socket]);
    assert_eq!(nothing.status.code(), Some(0), "{}", stdout(&nothing));
    verb(&running, &["branch", "-d", "try"]);
    let branches = verb(&running, &["branch"]);
    assert!(
        branches.contains("main ") && !branches.contains("try "),
        "{branches}"
    );
}

#[test]
fn a_conflict_is_shown_and_settled() {
    let running = Running::start(&with_store());
    let weight = "services/web/backends/web-1/weight";
    verb(&running, &["branch", "other"]);
    verb(&running, &["write", weight, "10", "--branch", "other"]);
    verb(&running, &["write", weight, "20"]);
    let said = refused(&running, &["merge", "other"]);
    assert!(
        said.contains(weight) && said.contains("--ours PATH"),
        "{said}"
    );
    verb(
        &running,
        &["merge", "other", "--theirs-at", weight, "-m", "ten it is"],
    );
    assert_eq!(backends(&running)[0], "web-1:up:10");
    let store = running.store();
    assert_eq!(
        git(&store, &["log", "-1", "--format=%s", "main"]),
        "ten it is\n"
    );
    assert_eq!(
        git(&store, &["log", "-1", "--format=%p", "main"])
            .split_whitespace()
            .count(),
        2
    );

    // Each side is a pool, both together are not.
    verb(&running, &["branch", "clash"]);
    let text = "write services/one/vip 203.0.113.9\nwrite services/one/protocol tcp\nwrite services/one/port 80\n";
    let txn = |more: &[&str], text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rail"))
            .args(
                [
                    &["txn", "--socket", &running.socket().display().to_string()],
                    more,
                ]
                .concat(),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let done = txn(&[], text);
    assert!(done.status.success(), "{}", stderr(&done));
    let done = txn(&["--branch", "clash"], &text.replace("/one/", "/two/"));
    assert!(done.status.success(), "{}", stderr(&done));
    let said = refused(&running, &["merge", "clash"]);
    assert!(
        said.contains("have the same key") && said.contains("services/two"),
        "{said}"
    );
    verb(
        &running,
        &["merge", "clash", "--set", "services/two/port=81"],
    );
    assert_eq!(verb(&running, &["read", "services/two/port"]), "81\n");
    // A transaction whose expectation does not hold writes nothing.
    let done = txn(
        &[],
        "write services/two/port 82\nexpect services/one/port 81\n",
    );
    assert_eq!(done.status.code(), Some(1));
    assert!(
        stderr(&done).contains("services/one/port is \"80\""),
        "{}",
        stderr(&done)
    );
    assert_eq!(verb(&running, &["read", "services/two/port"]), "81\n");
}

#[test]
fn an_unconfirmed_change_is_undone_also_after_a_restart() {
    let mut setup = with_store();
    let running = Running::start(&setup);
    setup.backends = vec!["web-1", "web-2", "web-3"];
    let next = running.dir.path().join("next.toml");
    fs::write(&next, setup.text(running.dir.path())).unwrap();
    let next = next.display().to_string();
    let apply = |confirm: &str| {
        let applied = rail(&["apply", &next, "--confirm", confirm]);
        assert!(applied.status.success(), "{}", stderr(&applied));
    };
    // A rail that was killed meanwhile still waits. Confirmed: it stays.
    apply("1h");
    let running = Running::start_in(running.kill(), &with_store());
    assert_eq!(backends(&running).len(), 3);
    assert_eq!(running.metric("rustyrail_store_unconfirmed"), 1.0);
    let said = verb(&running, &["confirm"]);
    assert!(said.contains("stays"), "{said}");
    assert!(refused(&running, &["confirm"]).contains("no change waits"));
    wait_for("nothing to wait for", || {
        running.metric("rustyrail_store_unconfirmed") == 0.0
    });
    let confirmed = git(&running.store(), &["rev-parse", "main"]);

    // Not confirmed: undone, although the rail was away when the time came.
    setup.backends = vec!["web-1"];
    fs::write(&next, setup.text(running.dir.path())).unwrap();
    apply("2s");
    assert_eq!(backends(&running).len(), 1);
    let running = Running::start_in(running.kill(), &with_store());
    wait_for("the change to be undone", || backends(&running).len() == 3);
    let log = git(
        &running.store(),
        &["log", "-1", "--format=%an %s%n%b", "main"],
    );
    assert!(log.starts_with("rail-t Revert \"apply "), "{log}");
    assert!(log.contains("This reverts commit "), "{log}");
    let [now, then] = ["main", confirmed.trim()].map(|commit| {
        git(
            &running.store(),
            &["rev-parse", &format!("{commit}^{{tree}}")],
        )
    });
    assert_eq!(now, then);
}

#[test]
fn verbs_work_on_a_store_without_a_rail() {
    let running = Running::start(&with_store());
    let dir = running.kill();
    let store = dir.path().join("store.git").display().to_string();
    let at_store = |arguments: &[&str]| {
        let output = rail(&[arguments, &["--store", &store]].concat());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    };
    at_store(&["write", "services/web/backends/web-2/state", "drain"]);
    let flow = ["tcp", "198.51.100.7:4242", "203.0.113.10:443"];
    let trace = at_store(&[&["trace", "--json", "udp"], &flow[1..]].concat());
    let trace: Value = serde_json::from_str(&trace).unwrap();
    assert_eq!(trace["backend"], "web-1");
    // What another process writes, the rail that starts next runs.
    let running = Running::start_in(dir, &with_store());
    assert_eq!(backends(&running)[1], "web-2:drain:100");
    // And the one that runs, by itself.
    at_store(&["write", "services/web/backends/web-2/state", "up"]);
    wait_for("the change", || backends(&running)[1] == "web-2:up:100");
    drop(running);
    let without = Running::start(&Setup::default());
    let said = refused(&without, &["log"]);
    assert!(said.contains("no store"), "{said}");
}
