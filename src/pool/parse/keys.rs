//! Every table and key of the configuration file, with an example of each.
//!
//! This list is what makes a key known. Tests hold it against the parser (each key is read) and
//! against `deploy/config.md` (each key is documented there, and no other).

/// A table of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The path, as in the header: `service.backend`.
    pub path: &'static str,
    /// Whether the table may occur more than once, with two brackets around its header.
    pub array: bool,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key itself.
    pub name: &'static str,
    /// A value it can have, in TOML.
    pub example: &'static str,
}

impl Table {
    /// The header with its brackets.
    pub fn header(&self) -> String {
        if self.array {
            format!("[[{}]]", self.path)
        } else {
            format!("[{}]", self.path)
        }
    }

    /// The key called `name`.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example }
}

/// `[node]`
pub const NODE: Table = Table {
    path: "node",
    array: false,
    keys: &[
        key("name", r#""rail-a""#),
        key("workers", "[2, 3]"),
        key("control_core", "1"),
        key("metrics", r#""127.0.0.1:9464""#),
        key("control_socket", r#""/run/rustyrail/rail-a.sock""#),
        key("idle", "true"),
        key("store", r#""/var/lib/rustyrail/store.git""#),
        key("sync_interval", r#""2s""#),
        key("flows", "1_048_576"),
    ],
};

/// `[dpdk]`
pub const DPDK: Table = Table {
    path: "dpdk",
    array: false,
    keys: &[
        key("args", r#"["--log-level=lib.eal:warning"]"#),
        key("memory_mb", "512"),
        key("hugepages", r#""auto""#),
        key("mbufs", "65_536"),
    ],
};

/// `[[port]]`
pub const PORT: Table = Table {
    path: "port",
    array: true,
    keys: &[
        key("name", r#""port0""#),
        key("device", r#""0000:3b:00.0""#),
        key("address", r#"["192.0.2.10/24"]"#),
        key("gateway", r#"["192.0.2.1"]"#),
        key("mtu", "1500"),
        key("vlan", "100"),
        key("outer_vlan", "200"),
        key("tags", r#""port""#),
        key("queues", "2"),
        key("host", r#""rail0""#),
    ],
};

/// `[[neighbor]]`
pub const NEIGHBOR: Table = Table {
    path: "neighbor",
    array: true,
    keys: &[
        key("address", r#""192.0.2.1""#),
        key("mac", r#""02:00:00:00:00:fe""#),
    ],
};

/// `[tunnel]`
pub const TUNNEL: Table = Table {
    path: "tunnel",
    array: false,
    keys: &[
        key("source", r#""192.0.2.10""#),
        key("source6", r#""2001:db8::10""#),
        key("entropy_prefix", r#""172.16.0.0/16""#),
        key("entropy_prefix6", r#""2001:db8:1::/64""#),
        key("accept", r#"["192.0.2.1"]"#),
    ],
};

/// `[pool]`
pub const POOL: Table = Table {
    path: "pool",
    array: false,
    keys: &[
        key("hash_key", r#""000102030405060708090a0b0c0d0e0f""#),
        key("table_size", "65537"),
        key("peer_key", "0x7261696c"),
        key("ingress", r#""ecmp""#),
    ],
};

/// `[[peer]]`
pub const PEER: Table = Table {
    path: "peer",
    array: true,
    keys: &[
        key("name", r#""rail-b""#),
        key("address", r#""192.0.2.11""#),
    ],
};

/// `[[remote]]`
pub const REMOTE: Table = Table {
    path: "remote",
    array: true,
    keys: &[
        key("name", r#""site-2""#),
        key("address", r#""198.51.100.200""#),
    ],
};

/// `[timeouts]`
pub const TIMEOUTS: Table = Table {
    path: "timeouts",
    array: false,
    keys: &[
        key("tcp", r#""1h""#),
        key("udp", r#""2m""#),
        key("closing", r#""32s""#),
        key("embryonic", r#""32s""#),
        key("min_idle", r#""2m""#),
        key("peer_probe", r#""500ms""#),
    ],
};

/// `[limits]`
pub const LIMITS: Table = Table {
    path: "limits",
    array: false,
    keys: &[
        key("new_pins_per_second", "1_000_000"),
        key("icmp_per_second", "1000"),
        key("host_per_second", "10_000"),
        key("held_fragments", "1024"),
        key("held_fragment_bytes", "2_097_152"),
        key("held_fragment_time", r#""100ms""#),
        key("fragments", "65_536"),
        key("fragment_time", r#""30s""#),
        key("backends", "131_071"),
    ],
};

/// `[[service]]`
pub const SERVICE: Table = Table {
    path: "service",
    array: true,
    keys: &[
        key("name", r#""web""#),
        key("vip", r#""203.0.113.10""#),
        key("protocol", r#""tcp""#),
        key("port", "443"),
        key("encap", r#""gre""#),
        key("gre_key", "7"),
        key("gue_port", "6080"),
        key("dscp", "10"),
        key("affinity", r#""flow""#),
        key("track", "true"),
        key("new_connections_per_second", "50_000"),
        key("drain_deadline", r#""10m""#),
    ],
};

/// `[[service.backend]]`
pub const BACKEND: Table = Table {
    path: "service.backend",
    array: true,
    keys: &[
        key("name", r#""web-1""#),
        key("address", r#""198.51.100.11""#),
        key("weight", "100"),
        key("state", r#""up""#),
        key("mtu", "1500"),
    ],
};

/// All tables, in the order in which a file has them.
pub const TABLES: [&Table; 12] = [
    &NODE, &DPDK, &PORT, &NEIGHBOR, &TUNNEL, &POOL, &PEER, &REMOTE, &TIMEOUTS, &LIMITS, &SERVICE,
    &BACKEND,
];
