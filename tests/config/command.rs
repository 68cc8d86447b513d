//! `rail check` as a process: streams and exit codes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::BASE;

const RAIL: &str = env!("CARGO_BIN_EXE_rail");

/// Runs `rail check` for a machine of eight cores.
fn check(args: &[&str]) -> Output {
    Command::new(RAIL)
        .args(["check", "--cpus", "0-7"])
        .args(args)
        .output()
        .unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A directory with a file of this text in it.
fn file(text: impl AsRef<[u8]>) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("rail.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn a_good_file() {
    let (_directory, path) = file(BASE);
    let output = check(&[&path]);
    assert_eq!((code(&output), err(&output)), (Some(0), ""));
    let summary = "ok: rail rail-a, 2 workers, 2 ports, 2 services, 3 backends";
    assert_eq!(out(&output), format!("{path}: {summary}\n"));
}

#[test]
fn warnings_do_not_refuse() {
    let (_directory, path) = file(BASE.replace("control_core = 1", "control_core = 2"));
    let output = check(&[&path]);
    assert_eq!(code(&output), Some(0));
    assert!(err(&output).starts_with(&format!("{path}:4:16: warning: the control core 2 is")));
    assert!(out(&output).starts_with(&format!("{path}: ok with 1 warning: ")));
}

#[test]
fn every_error_on_a_line_of_its_own() {
    let text = BASE
        .replace("weight = 50", "weight = 5000")
        .replace("port = 443", "prot = 443");
    let (_directory, path) = file(text);
    let output = check(&[&path]);
    assert_eq!((code(&output), out(&output)), (Some(1), ""));
    let lines: Vec<_> = err(&output).lines().collect();
    assert_eq!(
        lines,
        [
            format!(
                "{path}:55:1: error: unknown key `prot` in [[service]] (help: did you mean `port`?)"
            ),
            format!(
                "{path}:65:10: error: weight 5000 is out of range: 0 to 1000 \
                 (help: as in weight = 100)"
            ),
            format!("{path}: 2 errors"),
        ]
    );
}

#[test]
fn findings_as_json() {
    let text = BASE
        .replace("name = \"dns\"", "name = \"web\"")
        .replace("weight = 50", "weight = -1");
    let (_directory, path) = file(text);
    let output = check(&["--json", &path]);
    assert_eq!((code(&output), err(&output)), (Some(1), ""));
    let found: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(
        found[0],
        serde_json::json!({
            "file": path, "line": 65, "column": 10, "severity": "error",
            "message": "weight -1 is out of range: 0 to 1000",
            "help": "as in weight = 100", "also": null,
        })
    );
    assert_eq!(found[1]["also"]["line"], 52);
    assert_eq!(found.len(), 2);

    let (_directory, path) = file(BASE);
    let output = check(&["--json", &path]);
    assert_eq!((code(&output), out(&output)), (Some(0), "[]\n"));
}

#[test]
fn files_that_cannot_be_read() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    symlink("loop", directory.path().join("loop")).unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let cases = [
        (
            at("missing.toml"),
            "cannot be read: No such file or directory",
        ),
        (at(""), "cannot be read: Is a directory"),
        (at("file/rail.toml"), "cannot be read: Not a directory"),
        (
            at("loop"),
            "cannot be read: Too many levels of symbolic links",
        ),
        // The kernel lets it be opened, then refuses the read, root or not.
        (
            "/proc/self/mem".to_owned(),
            "cannot be read: Input/output error",
        ),
    ];
    for (path, expected) in cases {
        let output = check(&[&path]);
        assert_eq!((code(&output), out(&output)), (Some(1), ""), "{path}");
        let line = err(&output).lines().next().unwrap_or_default();
        assert!(
            line.starts_with(&format!("{path}: error: {expected} (help: ")),
            "{line}"
        );
        let output = check(&["--json", &path]);
        let found: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
        assert_eq!((code(&output), found.len()), (Some(1), 1));
        assert_eq!(found[0]["line"], Value::Null);
    }
}

#[test]
fn a_file_without_permission() {
    let (directory, path) = file(BASE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(RAIL);
    if fs::File::open(&path).is_ok() {
        // Root may read everything; be nobody, with a copy of the program where nobody may go.
        let copy = directory.path().join("rail");
        fs::copy(RAIL, &copy).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command = Command::new(copy);
        command.uid(65_534).gid(65_534);
    }
    let output = command.args(["check", &path]).output().unwrap();
    assert_eq!(code(&output), Some(1));
    let expected = format!("{path}: error: cannot be read: Permission denied (help: make it");
    assert!(err(&output).starts_with(&expected), "{}", err(&output));
}

#[test]
fn text_that_is_not_utf8() {
    let mut bytes = BASE.as_bytes().to_vec();
    let at = BASE.find("web-1").unwrap();
    bytes[at] = 0xff;
    let (_directory, path) = file(bytes);
    let output = check(&[&path]);
    assert_eq!(code(&output), Some(1));
    let expected = format!("{path}:59:9: error: the byte 0xff is not UTF-8 text");
    assert!(err(&output).starts_with(&expected), "{}", err(&output));
}

#[test]
fn the_file_may_be_a_pipe() {
    let (_directory, path) = file(BASE);
    let input = fs::File::open(path).unwrap();
    let output = Command::new(RAIL)
        .args(["check", "--cpus", "0-7", "/dev/stdin"])
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(code(&output), Some(0), "{}", err(&output));
}

#[test]
fn cores_are_those_of_this_machine_by_default() {
    let (_directory, path) = file(BASE.replace("control_core = 1", "control_core = 65535"));
    let output = Command::new(RAIL).args(["check", &path]).output().unwrap();
    assert_eq!(code(&output), Some(1));
    assert!(
        err(&output).contains(":4:16: error: core 65535 does not exist (help: the machine has")
    );
}

#[test]
fn usage() {
    let fails: [&[&str]; 5] = [
        &[],
        &["chekc"],
        &["check"],
        &["check", "--jsno", "x"],
        &["check", "--cpus", "3-1", "x"],
    ];
    for args in fails {
        let output = Command::new(RAIL).args(args).output().unwrap();
        assert_eq!((code(&output), out(&output)), (Some(2), ""), "{args:?}");
        assert!(!err(&output).is_empty());
    }
    for args in [["check", "--help"].as_slice(), &["--version"], &["--help"]] {
        let output = Command::new(RAIL).args(args).output().unwrap();
        assert_eq!((code(&output), err(&output)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn the_examples_directory_is_checked_as_people_do() {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let output = Command::new(RAIL)
        .args(["check", "--cpus", "0-7", "rail.example.toml"])
        .current_dir(root)
        .output()
        .unwrap();
    assert_eq!((code(&output), err(&output)), (Some(0), ""));
    assert!(out(&output).starts_with("rail.example.toml: ok: rail rail-a, 4 workers, 2 ports"));
}
