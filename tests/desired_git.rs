//! A second opinion on the rail's store, by the real Git: what it reads there, and what it may push.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use running::store::{backends, git, stdout, with_store};
use running::{Running, metrics, rail, stderr};

/// Runs Git in a clone, which has somebody's name.
fn in_clone(clone: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .arg("-C")
        .arg(clone)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.net"])
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

fn good(clone: &Path, arguments: &[&str]) -> String {
    let output = in_clone(clone, arguments);
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn verb(running: &Running, arguments: &[&str]) {
    let socket = running.socket().display().to_string();
    let output = rail(&[arguments, &["--socket", &socket]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
}

fn clone_over_http(running: &Running) -> std::path::PathBuf {
    let clone = running.dir.path().join("clone");
    let url = format!("http://{}/store.git", metrics());
    good(
        running.dir.path(),
        &["clone", "--quiet", &url, &clone.display().to_string()],
    );
    clone
}

#[test]
fn a_clone_that_is_edited_and_pushed_changes_the_tables() {
    let running = Running::start(&with_store());
    let clone = clone_over_http(&running);
    let web = clone.join("services/web");
    assert_eq!(
        fs::read_to_string(web.join("vip")).unwrap(),
        "203.0.113.10\n"
    );

    fs::write(web.join("backends/web-1/weight"), "30\n").unwrap();
    fs::create_dir(web.join("backends/web-9")).unwrap();
    fs::write(web.join("backends/web-9/address"), "198.51.100.99\n").unwrap();
    good(&clone, &["add", "-A"]);
    good(&clone, &["commit", "--quiet", "-m", "one more"]);
    good(&clone, &["push", "--quiet", "origin", "HEAD:main"]);
    // The push was acknowledged, so the rail runs with it.
    assert_eq!(
        backends(&running),
        ["web-1:up:30", "web-2:up:100", "web-9:up:100"]
    );
    let changed = format!("web-1 has {} slots", slots(&running, "web-1"));
    assert!(
        slots(&running, "web-1") < slots(&running, "web-2"),
        "{changed}"
    );

    // A wrong one is refused with file and reason, and changes nothing.
    let before = git(&running.store(), &["rev-parse", "main"]);
    fs::write(web.join("backends/web-9/weight"), "5000\n").unwrap();
    good(&clone, &["add", "-A"]);
    good(&clone, &["commit", "--quiet", "-m", "too heavy"]);
    let refused = in_clone(&clone, &["push", "origin", "HEAD:main"]);
    assert!(!refused.status.success());
    let said = stderr(&refused);
    assert!(
        said.contains("services/web/backends/web-9/weight"),
        "{said}"
    );
    assert!(said.contains("5000"), "{said}");
    assert_eq!(git(&running.store(), &["rev-parse", "main"]), before);
    assert_eq!(backends(&running)[2], "web-9:up:100");

    // So it is on the way past the rail, and so is rewriting history.
    let directory = running.store().display().to_string();
    let refused = in_clone(&clone, &["push", &directory, "HEAD:main"]);
    assert!(stderr(&refused).contains("services/web/backends/web-9/weight"));
    good(&clone, &["reset", "--quiet", "--hard", "origin/main~1"]);
    let refused = in_clone(&clone, &["push", "--force", "origin", "HEAD:main"]);
    assert!(!refused.status.success());
    assert_eq!(git(&running.store(), &["rev-parse", "main"]), before);
    // A draft may be anything.
    good(
        &clone,
        &["push", "--quiet", "origin", "HEAD:refs/heads/draft"],
    );
    assert_eq!(git(&running.store(), &["fsck", "--full", "--strict"]), "");
    assert!(!running.log().contains("ERROR"), "{}", running.log());
}

fn slots(running: &Running, backend: &str) -> u64 {
    let rows: serde_json::Value = serde_json::from_str(&running.get("/v1/backends").body).unwrap();
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["name"] == backend).unwrap()["slots"]
        .as_u64()
        .unwrap()
}

#[test]
fn git_reads_history_and_bisect_finds_the_commit_that_moved_a_flow() {
    let running = Running::start(&with_store());
    let store = running.store();
    let flow = ["udp", "198.51.100.7:4242", "203.0.113.10:443"];
    let directory = store.display().to_string();
    let trace = |at: &str| {
        let output = rail(
            &[
                &["trace", "--json", "--store", &directory, "--at", at],
                &flow[..],
            ]
            .concat(),
        );
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()
    };
    let first = trace("main")["backend"].as_str().unwrap().to_owned();
    let state = format!("services/web/backends/{first}/state");

    // Ten commits that do not matter, one that does, ten that do not.
    let other = if first == "web-1" { "web-2" } else { "web-1" };
    let notes = |from: u32| {
        for number in from..from + 5 {
            verb(&running, &["write", "notes/web", &format!("note {number}")]);
            let mtu = format!("services/web/backends/{other}/mtu");
            verb(&running, &["write", &mtu, &(1300 + number).to_string()]);
        }
    };
    notes(0);
    verb(&running, &["write", &state, "down", "-m", "take it out"]);
    let guilty = git(&store, &["rev-parse", "main"]);
    notes(5);

    let now = trace("main");
    assert_eq!(now["backend"], other);
    assert_eq!(now["since"]["commit"].as_str(), Some(guilty.trim()));
    assert_eq!(now["since"]["message"], "take it out");
    assert_eq!(
        trace(&format!("{}~1", guilty.trim()))["backend"],
        first.as_str()
    );

    let clone = clone_over_http(&running);
    let root = good(&clone, &["rev-list", "--max-parents=0", "HEAD"]);
    good(&clone, &["bisect", "start", "HEAD", root.trim()]);
    let mut run = vec![
        "bisect",
        "run",
        env!("CARGO_BIN_EXE_rail"),
        "trace",
        "--store",
        ".",
    ];
    run.extend(flow);
    run.extend(["--expect", &first]);
    let found = good(&clone, &run);
    let line = format!("{} is the first bad commit", guilty.trim());
    assert!(found.contains(&line), "{found}");

    // The other tools read it too.
    let graph = git(&store, &["log", "--graph", "--oneline", "main"]);
    assert_eq!(graph.lines().count(), 1 + 21);
    let diff = git(&store, &["diff", &format!("{0}~1..{0}", guilty.trim())]);
    assert!(diff.contains("-up\n+down\n"), "{diff}");
    let blame = git(&store, &["blame", "-l", "main", "--", &state]);
    assert!(blame.starts_with(guilty.trim()), "{blame}");
    assert_eq!(git(&store, &["fsck", "--full", "--strict"]), "");
}

/// The commit that moved a flow was made on a branch, beside others on both sides, and came to `main` by a merge.
#[test]
fn a_commit_that_came_by_a_merge_is_found() {
    let running = Running::start(&with_store());
    let store = running.store();
    let flow = ["udp", "198.51.100.7:4242", "203.0.113.10:443"];
    let directory = store.display().to_string();
    let trace = || {
        let arguments = [&["trace", "--json", "--store", &directory], &flow[..]].concat();
        let output = rail(&arguments);
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()
    };
    let first = trace()["backend"].as_str().unwrap().to_owned();
    let state = format!("services/web/backends/{first}/state");
    verb(&running, &["branch", "side"]);
    let on_side = |arguments: &[&str]| verb(&running, &[arguments, &["--branch", "side"]].concat());
    let note = |number: u32| ["notes/web".to_owned(), format!("note {number}")];
    for number in 0..3 {
        let [path, text] = note(number);
        verb(&running, &["write", &path, &text]);
    }
    on_side(&["write", "notes/side", "before"]);
    on_side(&["write", &state, "down", "-m", "take it out"]);
    let guilty = git(&store, &["rev-parse", "side"]);
    on_side(&["write", "notes/side", "after"]);
    assert_eq!(trace()["backend"], first.as_str());
    verb(&running, &["merge", "side"]);
    for number in 3..6 {
        let [path, text] = note(number);
        verb(&running, &["write", &path, &text]);
    }
    let now = trace();
    assert_ne!(now["backend"], first.as_str());
    assert_eq!(now["since"]["commit"].as_str(), Some(guilty.trim()));

    let clone = clone_over_http(&running);
    let graph = good(&clone, &["log", "--graph", "--oneline"]);
    assert!(graph.contains("|\\") && graph.contains("|/"), "{graph}");
    let root = good(&clone, &["rev-list", "--max-parents=0", "HEAD"]);
    good(&clone, &["bisect", "start", "HEAD", root.trim()]);
    let program = env!("CARGO_BIN_EXE_rail");
    let mut run = vec!["bisect", "run", program, "trace", "--store", "."];
    run.extend(flow);
    run.extend(["--expect", &first]);
    let found = good(&clone, &run);
    let line = format!("{} is the first bad commit", guilty.trim());
    assert!(found.contains(&line), "{found}");
    let blame = git(&store, &["blame", "-l", "main", "--", &state]);
    assert!(blame.starts_with(guilty.trim()), "{blame}");
    assert_eq!(git(&store, &["fsck", "--full", "--strict"]), "");
}
