//! The pool as a tree of small values, and back.
//!
//! ```text
//! pool/hash_key              services/web/vip           peers/rail-b/address
//! pool/table_size            services/web/port          remotes/site-2/address
//!                            services/web/backends/web-1/weight
//! ```
//!
//! A directory is a table of the configuration file and bears its name; a value is a key, written as in the file but
//! without quotes, with a line feed at its end (`git show main:services/web/vip`). The tree is read by the parser
//! of the configuration file, so that both accept the same and complain in the same words. Other directories at
//! the root (`notes`, say) are nobody's business here.

use std::collections::BTreeMap;
use std::fmt;

use crate::pool::{Diagnostic, MAX_FILE, Pool, Severity, parse_pool};
use crate::store::diff::{Change, diff};
use crate::store::directory::{Source, ValueId};
use crate::store::merge::Content;
use crate::store::{ObjectId, Path, StoreError};

/// The directories at the root that are the pool.
pub const ROOTS: [&str; 4] = ["pool", "services", "peers", "remotes"];

/// Why a tree is not a pool: the first error, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The value or the directory it is about.
    pub path: Path,
    /// What is wrong; names the thing.
    pub message: String,
    /// The other place, if two contradict each other, and what that one is.
    pub also: Option<(Path, &'static str)>,
    /// The way out.
    pub help: Option<String>,
}

impl fmt::Display for Fault {
    /// The place, and what leads out: what is wrong stands before that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some((path, label)) = &self.also {
            write!(f, " ({path}: {label})")?;
        }
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

/// The values that stand where a pool stands, whether they make one or not.
pub fn stored_values(
    source: &dyn Source,
    tree: &ObjectId,
) -> Result<Vec<(Path, ValueId)>, StoreError> {
    let mut found = Vec::new();
    for root in ROOTS {
        let Ok(root) = root.parse() else { continue };
        let changes = diff(source, &root, None, Some(*tree))?;
        found.extend(
            changes
                .into_iter()
                .filter_map(|(path, change)| match change {
                    Change::Added(value) => Some((path, value)),
                    Change::Removed(_) | Change::Updated { .. } => None,
                }),
        );
    }
    Ok(found)
}

/// Reads the pool in a tree.
pub fn read(source: &dyn Source, tree: &ObjectId) -> Result<Result<Pool, Fault>, StoreError> {
    let mut tables = Tables::default();
    let mut size = 0;
    for (path, value) in stored_values(source, tree)? {
        if !value.tag.is_plain() {
            let message = format!("a value of the pool is plain, not of type {}", value.tag);
            return Ok(Err(fault(&path, message, "remove it and write it again")));
        }
        let content = Content::load(source, value.mode, &value.id)?;
        let text = content
            .as_blob()
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(text) = text else {
            let message = "the value is not UTF-8 text".to_owned();
            return Ok(Err(fault(&path, message, "write it again")));
        };
        size += text.len();
        if size as u64 > MAX_FILE {
            let message = format!("the pool is larger than {} MiB", MAX_FILE >> 20);
            return Ok(Err(fault(&path, message, "split the pool")));
        }
        if let Err(fault) = tables.add(&path, text.trim()) {
            return Ok(Err(fault));
        }
    }
    let document = tables.document();
    Ok(parse_pool(&document.text, "store")
        .map(|(pool, _)| pool)
        .map_err(|found| document.fault(&found)))
}

/// Keys and values of one table.
type Keys = Vec<(Path, String)>;

/// The tables of the configuration file, found in the tree.
#[derive(Default)]
struct Tables {
    pool: Keys,
    peers: BTreeMap<String, Keys>,
    remotes: BTreeMap<String, Keys>,
    services: BTreeMap<String, (Keys, BTreeMap<String, Keys>)>,
}

impl Tables {
    fn add(&mut self, path: &Path, text: &str) -> Result<(), Fault> {
        let segments: Vec<_> = path.segments().collect();
        let service = |name: &&str| (*name).to_owned();
        let (keys, key) = match segments.as_slice() {
            ["pool", key] => (&mut self.pool, key),
            ["peers", name, key] => (self.peers.entry(service(name)).or_default(), key),
            ["remotes", name, key] => (self.remotes.entry(service(name)).or_default(), key),
            ["services", name, key] => {
                (&mut self.services.entry(service(name)).or_default().0, key)
            }
            ["services", name, "backends", backend, key] => {
                let backends = &mut self.services.entry(service(name)).or_default().1;
                (backends.entry(service(backend)).or_default(), key)
            }
            _ => {
                let help = "the pool is pool/KEY, peers/NAME/KEY, remotes/NAME/KEY, services/NAME/KEY and \
                            services/NAME/backends/NAME/KEY";
                return Err(fault(
                    path,
                    "no value of the pool stands here".to_owned(),
                    help,
                ));
            }
        };
        if matches!(*key, "name" | "backend") {
            let message = format!("{key} is no value of its own");
            return Err(fault(path, message, "the directory's name is the name"));
        }
        keys.push((path.clone(), text.to_owned()));
        Ok(())
    }

    fn document(&self) -> Document {
        let mut document = Document::default();
        document.table("[pool]", "pool", None, &self.pool);
        for (header, directory, rails) in [
            ("[[peer]]", "peers", &self.peers),
            ("[[remote]]", "remotes", &self.remotes),
        ] {
            for (name, keys) in rails {
                document.table(header, &format!("{directory}/{name}"), Some(name), keys);
            }
        }
        for (name, (keys, backends)) in &self.services {
            let directory = format!("services/{name}");
            document.table("[[service]]", &directory, Some(name), keys);
            for (backend, keys) in backends {
                let directory = format!("{directory}/backends/{backend}");
                document.table("[[service.backend]]", &directory, Some(backend), keys);
            }
        }
        document
    }
}

/// A configuration file made of a tree; every line knows where it comes from.
#[derive(Default)]
struct Document {
    text: String,
    origins: Vec<Path>,
}

impl Document {
    fn table(&mut self, header: &str, directory: &str, name: Option<&str>, keys: &Keys) {
        let Ok(directory) = directory.parse::<Path>() else {
            return;
        };
        self.line(header, &directory);
        if let Some(name) = name {
            self.line(&format!("name = {}", quoted(name)), &directory);
        }
        for (path, text) in keys {
            let key = path.segments().next_back().unwrap_or_default();
            self.line(
                &format!("{} = {}", quoted(key), toml_value(key, text)),
                path,
            );
        }
    }

    fn line(&mut self, text: &str, origin: &Path) {
        self.text.push_str(text);
        self.text.push('\n');
        self.origins.push(origin.clone());
    }

    /// The first error among findings about this document.
    fn fault(&self, found: &[Diagnostic]) -> Fault {
        let errors: Vec<_> = found
            .iter()
            .filter(|found| found.severity == Severity::Error)
            .collect();
        let path = |line: usize| {
            let origin = self.origins.get(line.saturating_sub(1));
            origin.cloned().unwrap_or_else(Path::root)
        };
        let first = errors.first();
        let message = first.map_or("it is not a pool".to_owned(), |error| error.message.clone());
        let more = match errors.len() {
            0 | 1 => String::new(),
            several => format!(" (and {} more)", several - 1),
        };
        Fault {
            path: path(
                first
                    .and_then(|error| error.location.as_ref())
                    .map_or(1, |at| at.line),
            ),
            message: message + &more,
            also: first
                .and_then(|error| error.also.as_ref())
                .map(|(at, label)| (path(at.line), *label)),
            help: first.and_then(|error| error.help.clone()),
        }
    }
}

/// A value as TOML has it: numbers and booleans where the file has them, else a string.
fn toml_value(key: &str, text: &str) -> String {
    const NUMBERS: [&str; 10] = [
        "table_size",
        "peer_key",
        "protocol",
        "port",
        "gre_key",
        "gue_port",
        "dscp",
        "new_connections_per_second",
        "weight",
        "mtu",
    ];
    if key == "track" && matches!(text, "true" | "false") {
        return text.to_owned();
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number with a zero in front is none in TOML; what it is in quotes, the parser will say.
    let number = digits && (text == "0" || !text.starts_with('0')) && text.len() < 19;
    if number && NUMBERS.contains(&key) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A basic string of TOML, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn fault(path: &Path, message: String, help: &str) -> Fault {
    Fault {
        path: path.clone(),
        message,
        also: None,
        help: Some(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::{Values, values};
    use super::*;
    use crate::store::{Leaf, MemoryObjects, Tree};

    const POOL: &str = r#"
[pool]
hash_key = "00010203040506070809000102030405"
table_size = 251
peer_key = 7
[[peer]]
name = "rail-b"
address = "192.0.2.11"
[[remote]]
name = "far"
address = "198.51.100.200"
[[service]]
name = "web"
vip = "203.0.113.10"
protocol = "tcp"
port = "8000-8099"
encap = "l3dsr"
dscp = 10
drain_deadline = "10m"
[[service.backend]]
name = "web-1"
address = "198.51.100.11"
weight = 10
state = "drain"
mtu = 1400
[[service]]
name = "esp"
vip = "2001:db8::1"
protocol = 50
track = false
"#;

    fn tree(
        objects: &MemoryObjects,
        values: &Values,
        changes: &[(&str, Option<&str>)],
    ) -> ObjectId {
        let mut tree = Tree::new();
        for (path, text) in values {
            tree.set(objects, path, &Leaf::plain(format!("{text}\n")))
                .unwrap();
        }
        for (path, text) in changes {
            let path = path.parse().unwrap();
            match text {
                Some(text) => tree.set(objects, &path, &Leaf::plain(text)).unwrap(),
                None => assert!(tree.remove(objects, &path).unwrap(), "{path}"),
            }
        }
        tree.write(objects).unwrap()
    }

    #[test]
    fn a_pool_is_the_same_after_a_way_through_the_tree() {
        let (pool, _) = parse_pool(POOL, "pool.toml").unwrap();
        let values = values(&pool);
        let lines: Vec<_> = values
            .iter()
            .map(|(path, text)| format!("{path}={text}"))
            .collect();
        assert!(
            lines.contains(&"services/web/backends/web-1/weight=10".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"services/esp/protocol=50".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"services/esp/track=false".to_owned()),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 3 + 2 + 4 + 6 + 5);
        let objects = MemoryObjects::new();
        let read = super::read(&objects, &tree(&objects, &values, &[]))
            .unwrap()
            .unwrap();
        assert_eq!(super::super::values::values(&read), values);
        let mut sorted = pool.into_draft();
        sorted.services.reverse();
        assert_eq!(read, Pool::new(sorted).unwrap());
    }

    /// Broken trees, the place that is named, and part of what is said.
    #[test]
    fn faults_name_their_place() {
        let (pool, _) = parse_pool(POOL, "pool.toml").unwrap();
        let values = values(&pool);
        let check = |changes: &[(&str, Option<&str>)], path: &str, part: &str| {
            let objects = MemoryObjects::new();
            let id = tree(&objects, &values, changes);
            let fault = super::read(&objects, &id).unwrap().unwrap_err();
            assert_eq!(fault.path.as_str(), path, "{fault:?}");
            let text = format!("{}: {fault}", fault.message);
            assert!(text.contains(part), "{part:?} in {text}");
        };
        check(&[("pool/hash_key", None)], "pool", "lacks `hash_key`");
        check(&[("services/web/vip", None)], "services/web", "lacks `vip`");
        check(
            &[("services/web/backends/web-1/weight", Some("heavy"))],
            "services/web/backends/web-1/weight",
            "weight",
        );
        check(
            &[("services/web/track", Some("no"))],
            "services/web/track",
            "true or false",
        );
        check(
            &[("services/web/track", Some("false"))],
            "services/web/drain_deadline",
            "services/web/track: not tracked",
        );
        check(
            &[("services/web/backends/web-1/wieght", Some("1"))],
            "services/web/backends/web-1/wieght",
            "did you mean `weight`?",
        );
        check(
            &[("services/Web/vip", Some("203.0.113.11"))],
            "services/Web",
            "name",
        );
        check(
            &[("services/web/name", Some("x"))],
            "services/web/name",
            "no value of its own",
        );
        check(
            &[("services/web/a/b", Some("x"))],
            "services/web/a/b",
            "stands here",
        );
        check(
            &[("peers", None), ("peers", Some("x"))],
            "peers",
            "stands here",
        );
        check(
            &[("services/web/vip", Some("\"\n\\"))],
            "services/web/vip",
            "vip",
        );
        check(
            &[
                ("services/two/vip", Some("203.0.113.10\n")),
                ("services/two/protocol", Some("tcp")),
                ("services/two/port", Some("8000-8099")),
            ],
            "services/web",
            "services/two: the same VIP",
        );
        check(
            &[("services/web/vip", Some("\u{7f}"))],
            "services/web/vip",
            "vip",
        );
    }

    #[test]
    fn other_directories_are_free() {
        let (pool, _) = parse_pool(POOL, "pool.toml").unwrap();
        let objects = MemoryObjects::new();
        let id = tree(&objects, &values(&pool), &[("notes/web", Some("x"))]);
        assert!(super::read(&objects, &id).unwrap().is_ok());
    }
}
