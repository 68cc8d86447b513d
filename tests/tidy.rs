//! House rules that a machine can check: who imports whom, where `unsafe` stands, how long files are.

use std::fs;
use std::path::{Path, PathBuf};

/// For each module of `src/`: the modules of the crate it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("cpu", &[]),
    ("smaps", &[]),
    ("hw", &["cpu", "smaps"]),
    ("sync", &[]),
    ("table", &["wire", "hw", "sync"]),
    ("pipeline", &["table", "wire", "hw"]),
    ("worker", &["pipeline", "table", "wire"]),
    ("pool", &["table", "wire"]),
    ("store", &[]),
    ("control", &["store", "pool", "table", "wire"]),
    ("api", &["control", "store", "pool", "table"]),
    ("testkit", &["pipeline", "table", "wire", "control", "pool"]),
    (
        "cli",
        &[
            "api", "control", "store", "pool", "worker", "pipeline", "table", "wire", "hw",
        ],
    ),
];

/// A file longer than this has two subjects.
const LONGEST_FILE: usize = 480;

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        for file in sources(module) {
            let text = code_of(&file);
            for (used, line) in crate_paths(&text) {
                let known = MAY_USE.iter().any(|(name, _)| *name == used);
                if known && used != *module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{line}: {module} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_rule() {
    let lib = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    for line in lib.lines() {
        let module = line.strip_prefix("pub mod ").or(line.strip_prefix("mod "));
        if let Some(module) = module.and_then(|m| m.strip_suffix(';')) {
            let known = MAY_USE.iter().any(|(name, _)| *name == module);
            assert!(known, "src/lib.rs: no rule says what {module} may use");
        }
    }
}

#[test]
fn only_workers_know_dpdk() {
    let allowed = |file: &Path| file.starts_with("src/worker") || file == Path::new("src/main.rs");
    for file in files_below(Path::new("src")) {
        let text = code_of(&file);
        let uses = text.contains("use dpdk") || text.contains("dpdk::");
        let own = text.contains("crate::pool") && file.starts_with("src/pool");
        assert!(
            !uses || own || allowed(&file),
            "{} uses dpdk",
            file.display()
        );
    }
    for file in files_below(Path::new("dpdk")) {
        let text = code_of(&file);
        assert!(
            !text.contains("rustyrail::"),
            "{} uses rustyrail",
            file.display()
        );
    }
}

#[test]
fn unsafe_stands_in_hw_alone() {
    for file in files_below(Path::new("src")) {
        if file == Path::new("src/hw.rs") {
            continue;
        }
        for (number, line) in code_of(&file).lines().enumerate() {
            let found = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|w| line.contains(w));
            assert!(!found, "{}:{}: unsafe", file.display(), number + 1);
        }
    }
}

#[test]
fn files_have_one_subject() {
    let mut long = Vec::new();
    for root in ["src", "dpdk", "tests"] {
        for file in files_below(Path::new(root)) {
            let lines = fs::read_to_string(&file)
                .unwrap_or_default()
                .lines()
                .count();
            if lines > LONGEST_FILE {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The hot loop and the packet's way are each read in one piece.
#[test]
fn the_packet_path_fits_a_screen() {
    const SCREEN: usize = 60;
    let cases = [
        ("src/worker/mod.rs", "fn round_at("),
        ("src/pipeline/mod.rs", "fn process<"),
    ];
    for (file, function) in cases {
        let text = fs::read_to_string(file).expect(file);
        let body: Vec<_> = text.lines().skip_while(|l| !l.contains(function)).collect();
        let end = body.iter().position(|l| *l == "    }").expect("its end");
        assert!(end < SCREEN, "{file}: {function} has {end} lines");
    }
}

fn sources(module: &str) -> Vec<PathBuf> {
    let file = PathBuf::from(format!("src/{module}.rs"));
    if file.exists() {
        return vec![file];
    }
    files_below(Path::new(&format!("src/{module}")))
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder of the project")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The text without comments and without the tests at its foot.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(&text);
    code.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every `crate::module` in the text, with its line.
fn crate_paths(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for part in line.split("crate::").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            found.push((name, number + 1));
        }
    }
    found
}
