//! History that is carried elsewhere in a file, and history that is forgotten: the verbs, and the real Git on what
//! they leave.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;

use std::path::Path;

use running::store::{backends, git, stdout, with_store};
use running::{Running, rail, stderr};

fn done(arguments: &[&str]) -> String {
    let output = rail(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

fn refused(arguments: &[&str]) -> String {
    let output = rail(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

const WEIGHT: &str = "services/web/backends/web-1/weight";

fn commits(store: &Path) -> String {
    git(store, &["rev-list", "--count", "main"])
        .trim()
        .to_owned()
}

#[test]
fn a_slice_of_history_goes_to_another_store_in_a_file() {
    let running = Running::start(&with_store());
    let socket = running.socket().display().to_string();
    let here = ["--socket", &socket];
    let [whole, rest] = ["whole", "rest"].map(|name| running.dir.path().join(name));
    let [whole_text, rest_text] = [&whole, &rest].map(|file| file.display().to_string());
    done(&[&["export", &whole_text], &here[..]].concat());
    let first = git(&running.store(), &["rev-parse", "main"]);
    for weight in ["10", "20"] {
        done(&[&["write", WEIGHT, weight], &here[..]].concat());
    }
    let since = [&["export", &rest_text, "--since", first.trim()], &here[..]].concat();
    assert!(done(&since).contains("main at "));
    git(
        &running.store(),
        &["bundle", "verify", "--quiet", &rest_text],
    );

    // A store that Git made of the first file takes the second one over.
    let other = running.dir.path().join("other.git");
    let other_text = other.display().to_string();
    let dir = running.dir.path();
    git(
        dir,
        &["clone", "--quiet", "--bare", &whole_text, &other_text],
    );
    assert_eq!(commits(&other), "1");
    let there = ["--store", &other_text];
    let said = done(&[&["import", &rest_text], &there[..]].concat());
    assert_eq!(commits(&other), "1");
    let head = git(&running.store(), &["rev-parse", "main"]);
    assert!(said.contains(&head[..12]), "{said}");
    done(&[&["merge", &head[..12]], &there[..]].concat());
    assert_eq!(git(&other, &["rev-parse", "main"]), head);
    assert_eq!(git(&other, &["fsck", "--full", "--strict"]), "");

    // One that lacks what the second file builds on says so, and takes it if it may begin there.
    let third = dir.join("third.git");
    let third_text = third.display().to_string();
    git(
        dir,
        &["init", "--quiet", "--bare", "-b", "main", &third_text],
    );
    let import = ["import", &rest_text, "--store", &third_text];
    let said = refused(&import);
    assert!(
        said.contains("which is not here") && said.contains(&rest_text),
        "{said}"
    );
    let said = refused(&[&import[..], &["--cut"]].concat());
    assert!(said.contains("it lacks "), "{said}");
    done(&[&since[..], &["--complete"]].concat());
    done(&[&import[..], &["--cut"]].concat());
    done(&["merge", &head[..12], "--store", &third_text]);
    assert_eq!(commits(&third), "2");
    assert_eq!(git(&third, &["fsck", "--full", "--strict"]), "");
    assert!(refused(&["import", "/nowhere", "--store", &third_text]).contains("/nowhere"));
}

#[test]
fn old_history_is_forgotten_and_ids_stay() {
    let running = Running::start(&with_store());
    let (store, socket) = (running.store(), running.socket().display().to_string());
    for weight in 1..=20 {
        done(&["write", WEIGHT, &weight.to_string(), "--socket", &socket]);
    }
    assert_eq!(commits(&store), "21");
    let squash = [
        "squash", "--keep", "5", "--grace", "1ms", "--socket", &socket,
    ];
    let head = git(&store, &["rev-parse", "main"]);
    // A remote that has nothing yet is to get all of it.
    git(&store, &["remote", "add", "other", "/nowhere"]);
    assert_eq!(done(&squash), "nothing to forget\n");
    git(&store, &["remote", "remove", "other"]);
    let said = done(&squash);
    assert!(
        said.starts_with("16 commits forgotten; history begins with "),
        "{said}"
    );
    assert_eq!(commits(&store), "5");
    assert_eq!(git(&store, &["rev-parse", "main"]), head);
    assert_eq!(git(&store, &["fsck", "--full", "--strict"]), "");
    // The rail goes on, and undoes what it still knows.
    done(&["revert", "main", "--socket", &socket]);
    assert_eq!(backends(&running)[0], "web-1:up:19");
    let log = done(&["log", "--socket", &socket]);
    assert_eq!(log.lines().count(), 1 + 6, "{log}");
    assert!(refused(&["squash", "--keep", "0", "--socket", &socket]).contains("--keep"));
}
