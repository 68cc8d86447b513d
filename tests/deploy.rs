//! What is in `deploy/`, checked by the programs that will read it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Prometheus would take the scrape configuration.
#[test]
fn prometheus_takes_the_scrape_configuration() {
    check(
        Command::new("promtool")
            .args(["check", "config", "--syntax-only"])
            .arg(deploy("prometheus.yml")),
    );
}

/// systemd would take the unit, once the binary is where the unit says.
#[test]
fn systemd_takes_the_unit() {
    const INSTALLED: &str = "/usr/local/bin/rail";
    let unit = fs::read_to_string(deploy("rustyrail.service")).unwrap();
    assert!(unit.contains(INSTALLED));
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("rustyrail.service");
    fs::write(&copy, unit.replace(INSTALLED, env!("CARGO_BIN_EXE_rail"))).unwrap();
    check(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(copy),
    );
}

/// Runs a checker; one that is not installed is said and passed over, since no packet depends on
/// it.
fn check(command: &mut Command) {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: {program}: {error}"),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(
        !said.contains("Unknown") && !said.contains("ignoring"),
        "{said}"
    );
}

fn deploy(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}
