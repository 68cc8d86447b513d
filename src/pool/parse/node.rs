//! The tables that concern one rail alone, but for its ports: `[node]`, `[dpdk]`, `[tunnel]`,
//! `[timeouts]`, `[limits]`.

use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeTable;

use super::fields::Fields;
use super::reader::{Finding, Reader};
use super::{eal, keys};
use crate::pool::{
    Accept, Dpdk, HugePages, IfAddr, IpPrefix, Item, Limits, Node, PEER_PROBE, Port,
    TIMEOUT_BOUNDS, Timeouts, Tunnel,
};

/// The highest core number: above what any machine has, so that a typo is told as such.
const MAX_CORE: usize = 65_535;

/// `[node]`; `None` without a name or workers.
pub fn node(reader: &mut Reader, root: &DeTable<'_>) -> Option<Node> {
    let Some(fields) = reader.single(root, &keys::NODE, Item::Node) else {
        if !root.contains_key(keys::NODE.path) {
            let help = "add [node] with name = \"rail-a\" and workers = [1]";
            reader.report(
                Finding::error(0..0, "[node] is missing")
                    .help(help)
                    .structural(),
            );
        }
        return None;
    };
    let name = fields.name(reader);
    if !fields.has("workers") {
        fields.report_missing(reader, "workers");
    }
    let workers = fields.integers(reader, "workers", 0..=MAX_CORE);
    let control_core = fields.integer(reader, "control_core", 0..=MAX_CORE);
    let metrics = fields.parsed(reader, "metrics");
    let control_socket = path(reader, &fields, "control_socket", Node::MAX_SOCKET_PATH);
    let idle = fields.boolean(reader, "idle");
    let store = path(reader, &fields, "store", MAX_PATH);
    let sync_interval = fields.duration(reader, "sync_interval", Node::SYNC_INTERVAL);
    let flows = fields.integer(reader, "flows", Node::FLOWS);
    let name = name?;
    Some(Node {
        control_socket: control_socket.unwrap_or_else(|| Node::default_socket(name.as_str())),
        name,
        workers: workers?,
        control_core: control_core.unwrap_or(0),
        metrics,
        idle: idle.unwrap_or(true),
        store,
        sync_interval: sync_interval.unwrap_or(Node::DEFAULT_SYNC_INTERVAL),
        flows: flows.unwrap_or(Node::DEFAULT_FLOWS),
    })
}

/// `[dpdk]`, or its defaults.
pub fn dpdk(reader: &mut Reader, root: &DeTable<'_>) -> Dpdk {
    let mut dpdk = Dpdk::default();
    let Some(fields) = reader.single(root, &keys::DPDK, Item::Dpdk) else {
        return dpdk;
    };
    if let Some(memory) = fields.integer(reader, "memory_mb", Dpdk::MEMORY_MB) {
        dpdk.memory_mb = memory;
    }
    if let Some(hugepages) = fields.word(reader, "hugepages", &HugePages::WORDS) {
        dpdk.hugepages = hugepages;
    }
    dpdk.mbufs = fields.integer(reader, "mbufs", Dpdk::MBUFS);
    eal::arguments(reader, &fields, &mut dpdk);
    dpdk
}

/// `[tunnel]`, its sources taken from the ports where the file names none.
pub fn tunnel(reader: &mut Reader, root: &DeTable<'_>, ports: &[Port]) -> Tunnel {
    let own = || {
        ports
            .iter()
            .flat_map(|port| &port.addresses)
            .map(IfAddr::address)
    };
    let mut tunnel = Tunnel {
        source: own().find_map(|address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }),
        source6: own().find_map(|address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        }),
        ..Tunnel::default()
    };
    let Some(fields) = reader.single(root, &keys::TUNNEL, Item::Tunnel) else {
        return tunnel;
    };
    if let Some((text, span)) = fields.string(reader, "source") {
        match text.parse() {
            Ok(source) => tunnel.source = Some(source),
            Err(_) => {
                let message = format!("source {text:?}: not an IPv4 address");
                fields.report_bad(reader, "source", span, message);
            }
        }
    }
    if let Some((text, span)) = fields.string(reader, "source6") {
        match text.parse() {
            Ok(source) => tunnel.source6 = Some(source),
            Err(_) => {
                let message = format!("source6 {text:?}: not an IPv6 address");
                fields.report_bad(reader, "source6", span, message);
            }
        }
    }
    tunnel.entropy_prefix = entropy(reader, &fields, "entropy_prefix", true);
    tunnel.entropy_prefix6 = entropy(reader, &fields, "entropy_prefix6", false);
    if let Some(sources) = fields.list(reader, "accept") {
        tunnel.accept = Accept::Only(sources);
    }
    tunnel
}

/// A prefix of one family with room for host bits.
fn entropy(
    reader: &mut Reader,
    fields: &Fields<'_>,
    key: &'static str,
    v4: bool,
) -> Option<IpPrefix> {
    let prefix: IpPrefix = fields.parsed(reader, key)?;
    let span = fields.get(key)?.span();
    if prefix.is_ipv4() != v4 {
        let family = if v4 { "IPv4" } else { "IPv6" };
        fields.report_bad(
            reader,
            key,
            span,
            format!("{key} {prefix} is not an {family} prefix"),
        );
        return None;
    }
    if prefix.is_host() || prefix.prefix_len() == 0 {
        let message = format!("{key} {prefix} leaves no bits to the flow hash, or all of them");
        fields.report_bad(reader, key, span, message);
        return None;
    }
    Some(prefix)
}

/// `[timeouts]`, with defaults for what it leaves out.
pub fn timeouts(reader: &mut Reader, root: &DeTable<'_>) -> Timeouts {
    let defaults = Timeouts::default();
    let Some(fields) = reader.single(root, &keys::TIMEOUTS, Item::Timeouts) else {
        return defaults;
    };
    let mut read = |key, bounds, default| fields.duration(reader, key, bounds).unwrap_or(default);
    let connection = TIMEOUT_BOUNDS;
    Timeouts {
        tcp: read("tcp", connection.clone(), defaults.tcp),
        udp: read("udp", connection.clone(), defaults.udp),
        closing: read("closing", connection.clone(), defaults.closing),
        embryonic: read("embryonic", connection.clone(), defaults.embryonic),
        min_idle: read("min_idle", connection, defaults.min_idle),
        peer_probe: read("peer_probe", PEER_PROBE, defaults.peer_probe),
    }
}

/// `[limits]`, with defaults for what it leaves out.
pub fn limits(reader: &mut Reader, root: &DeTable<'_>) -> Limits {
    let defaults = Limits::default();
    let Some(fields) = reader.single(root, &keys::LIMITS, Item::Limits) else {
        return defaults;
    };
    let mut read = |key, bounds, default| fields.integer(reader, key, bounds).unwrap_or(default);
    let mut limits = Limits {
        new_pins_per_second: read(
            "new_pins_per_second",
            Limits::NEW_PINS_PER_SECOND,
            defaults.new_pins_per_second,
        ),
        icmp_per_second: read(
            "icmp_per_second",
            Limits::ICMP_PER_SECOND,
            defaults.icmp_per_second,
        ),
        host_per_second: read(
            "host_per_second",
            Limits::HOST_PER_SECOND,
            defaults.host_per_second,
        ),
        held_fragments: read(
            "held_fragments",
            Limits::HELD_FRAGMENTS,
            defaults.held_fragments,
        ),
        held_fragment_bytes: read(
            "held_fragment_bytes",
            Limits::HELD_FRAGMENT_BYTES,
            defaults.held_fragment_bytes,
        ),
        fragments: read("fragments", Limits::FRAGMENTS, defaults.fragments),
        backends: read("backends", Limits::BACKENDS, defaults.backends),
        ..defaults
    };
    if let Some(time) = fields.duration(reader, "held_fragment_time", Limits::HELD_FRAGMENT_TIME) {
        limits.held_fragment_time = time;
    }
    if let Some(time) = fields.duration(reader, "fragment_time", Limits::FRAGMENT_TIME) {
        limits.fragment_time = time;
    }
    limits
}

/// The longest path Linux takes (`PATH_MAX`, less the final zero).
const MAX_PATH: usize = 4_095;

/// An absolute path of at most `longest` bytes.
fn path(
    reader: &mut Reader,
    fields: &Fields<'_>,
    key: &'static str,
    longest: usize,
) -> Option<PathBuf> {
    let (text, span) = fields.string(reader, key)?;
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.contains('\0') {
        "holds a zero byte".to_owned()
    } else if text.len() > longest {
        format!("is longer than {longest} bytes")
    } else {
        return Some(text.into());
    };
    fields.report_bad(reader, key, span, format!("the path {key} {wrong}"));
    None
}
