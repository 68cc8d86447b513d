//! The tables that concern one rail alone: `[node]`, `[dpdk]`, `[[port]]`, `[[neighbor]]`,
//! `[tunnel]`, `[timeouts]`, `[limits]`.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use toml::de::DeTable;

use super::fields::{Address, Fields};
use super::reader::{Finding, Reader};
use super::{eal, keys};
use crate::pool::{
    Accept, Dpdk, HugePages, IfAddr, IpPrefix, Item, Limits, MacAddr, Mtu, Name, Node, Port,
    StaticNeighbor, TIMEOUT_BOUNDS, Timeouts, Tunnel, VlanId,
};

/// Where control sockets are when the file names none.
const RUN_DIRECTORY: &str = "/run/rustyrail";

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
    let flows = fields.integer(reader, "flows", Node::FLOWS);
    let name = name?;
    Some(Node {
        control_socket: control_socket
            .unwrap_or_else(|| format!("{RUN_DIRECTORY}/{name}.sock").into()),
        name,
        workers: workers?,
        control_core: control_core.unwrap_or(0),
        metrics,
        idle: idle.unwrap_or(true),
        store,
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

/// All `[[port]]`, and whether every one of them could be read.
pub fn ports(reader: &mut Reader, root: &DeTable<'_>) -> (Vec<Port>, bool) {
    let before = reader.errors();
    let tables = reader.several(root, keys::PORT.path, &keys::PORT);
    if tables.is_empty() {
        let help = "add a [[port]] with device and address";
        reader.report(
            Finding::error(0..0, "there is no [[port]]")
                .help(help)
                .structural(),
        );
    }
    let mut ports = Vec::new();
    for (index, fields) in tables.iter().enumerate() {
        if let Some(port) = port(reader, fields, index) {
            fields.record(reader, Item::Port(ports.len()));
            ports.push(port);
        }
    }
    (ports, reader.errors() == before)
}

/// One `[[port]]`, the `index`th of the file.
fn port(reader: &mut Reader, fields: &Fields<'_>, index: usize) -> Option<Port> {
    let name: Option<Name> = fields.parsed(reader, "name");
    let device = fields.required(reader, "device");
    if let Some((device, span)) = &device
        && !is_device(device)
    {
        let message = format!("device {device:?} is neither a PCI address nor a virtual device");
        let help = "a PCI address as in \"0000:3b:00.0\", or a kernel interface by \
                    \"net_af_packet0,iface=eth0\"";
        reader.report(Finding::error(span.clone(), message).help(help));
    }
    if !fields.has("address") {
        fields.report_missing(reader, "address");
    }
    let addresses: Option<Vec<IfAddr>> = fields.list(reader, "address");
    if let Some(value) = fields.get("address")
        && value
            .get_ref()
            .as_array()
            .is_some_and(|addresses| addresses.is_empty())
    {
        fields.report_bad(
            reader,
            "address",
            value.span(),
            "a port has at least one address",
        );
    }
    let gateways = fields
        .list::<Address>(reader, "gateway")
        .unwrap_or_default();
    let mtu = fields
        .integer(reader, "mtu", Mtu::MIN..=Mtu::MAX)
        .and_then(Mtu::new);
    let vlan = fields.integer(reader, "vlan", VlanId::MIN.get()..=VlanId::MAX.get());
    let queues = fields.integer(reader, "queues", 1..=Port::MAX_QUEUES);
    Some(Port {
        name: name.or_else(|| Name::new(&format!("port{index}")).ok())?,
        device: device?.0.to_owned(),
        addresses: addresses?,
        gateways: gateways.into_iter().map(|gateway| gateway.0).collect(),
        mtu: mtu.unwrap_or_default(),
        vlan: vlan.and_then(|id| VlanId::new(id).ok()),
        queues: queues.and_then(NonZeroU16::new),
    })
}

/// All `[[neighbor]]`.
pub fn neighbors(reader: &mut Reader, root: &DeTable<'_>) -> Vec<StaticNeighbor> {
    let mut neighbors = Vec::new();
    for fields in reader.several(root, keys::NEIGHBOR.path, &keys::NEIGHBOR) {
        let address = fields.address(reader);
        let text = fields.required(reader, "mac");
        let mac: Option<MacAddr> = fields.parsed(reader, "mac");
        if let (Some(mac), Some((_, span))) = (mac, text)
            && !mac.is_unicast()
        {
            let message = format!("mac {mac} is not the address of one station");
            fields.report_bad(reader, "mac", span, message);
        }
        if let (Some(address), Some(mac)) = (address, mac) {
            fields.record(reader, Item::Neighbor(neighbors.len()));
            neighbors.push(StaticNeighbor { address, mac });
        }
    }
    neighbors
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
    let mut read = |key, default| {
        fields
            .duration(reader, key, TIMEOUT_BOUNDS)
            .unwrap_or(default)
    };
    Timeouts {
        tcp: read("tcp", defaults.tcp),
        udp: read("udp", defaults.udp),
        closing: read("closing", defaults.closing),
        embryonic: read("embryonic", defaults.embryonic),
        min_idle: read("min_idle", defaults.min_idle),
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

/// Whether `text` has the form of a DPDK device name, arguments after a comma included: a PCI
/// address with or without its domain, a virtual device (`net_...`), another bus (`auxiliary:...`),
/// or a VMBus UUID.
fn is_device(text: &str) -> bool {
    let name = text.split(',').next().unwrap_or_default();
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let pci = |address: &str| {
        let parts: Vec<_> = address.split([':', '.']).collect();
        let digits: &[usize] = if parts.len() == 4 {
            &[4, 2, 2, 1]
        } else {
            &[2, 2, 1]
        };
        address.as_bytes().iter().rev().nth(1) == Some(&b'.')
            && parts.len() == digits.len()
            && parts
                .iter()
                .zip(digits)
                .all(|(part, digits)| hex(part, *digits))
    };
    let uuid = |text: &str| {
        let parts: Vec<_> = text.split('-').collect();
        let digits = [8, 4, 4, 4, 12];
        parts.len() == digits.len() && parts.iter().zip(digits).all(|(part, n)| hex(part, n))
    };
    let word = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
    pci(name)
        || uuid(name)
        || name.strip_prefix("pci:").is_some_and(pci)
        || ["net_", "auxiliary:", "vdev:net_"]
            .iter()
            .any(|bus| name.strip_prefix(bus).is_some_and(word))
}

#[cfg(test)]
mod tests {
    use super::is_device;

    #[test]
    fn devices() {
        for device in [
            "0000:3b:00.0",
            "3b:00.1",
            "0000:3b:00.0,representor=0",
            "net_af_packet0,iface=veth0,qpairs=2",
            "net_null0",
            "auxiliary:mlx5_core.sf.2",
            "f8615163-df3e-46c5-913f-f2d2f965ed0e",
        ] {
            assert!(is_device(device), "{device}");
        }
        for device in [
            "",
            "eth0",
            "0000:3b:00",
            "3b:00:0",
            "0000:3b:0.0",
            "net_",
            "net_ null",
            ",iface=a",
        ] {
            assert!(!is_device(device), "{device}");
        }
    }
}
