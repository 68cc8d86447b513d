//! The tables that all rails of a pool share: `[pool]`, `[[peer]]`, `[[remote]]`, `[[service]]`.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::fields::Fields;
use super::keys;
use super::reader::{Finding, Reader, unknown_word};
use crate::pool::{
    Affinity, Backend, Draft, Dscp, Encap, GUE_PORT, HashKey, Ingress, Item, MAX_WEIGHT, Mtu, Peer,
    Ports, Protocol, Remote, Service, State, TableSize, TableSizeError, Weight,
};

/// Bounds of `drain_deadline`: a drain that lasts longer than a week is a forgotten one.
const DRAIN_DEADLINE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);

/// Reads the pool. Where a value was bad a default stands in, and the error has been reported.
pub fn pool(reader: &mut Reader, root: &DeTable<'_>) -> Draft {
    let mut draft = Draft {
        hash_key: HashKey::from_bytes([0; HashKey::BYTES]),
        table_size: TableSize::default(),
        peer_key: None,
        ingress: Ingress::default(),
        peers: Vec::new(),
        remotes: Vec::new(),
        services: Vec::new(),
    };
    match reader.single(root, &keys::POOL, Item::Pool) {
        Some(fields) => {
            if let Some(key) = fields.required_parsed(reader, "hash_key") {
                draft.hash_key = key;
            }
            if let Some(size) = table_size(reader, &fields) {
                draft.table_size = size;
            }
            draft.peer_key = fields.integer(reader, "peer_key", 0..=u32::MAX);
            draft.ingress = fields
                .word(reader, "ingress", &Ingress::WORDS)
                .unwrap_or_default();
        }
        None if root.contains_key(keys::POOL.path) => {}
        None => {
            let help = "add [pool] with a hash_key of 32 hexadecimal digits, the same on every \
                        rail (openssl rand -hex 16 makes one)";
            reader.report(
                Finding::error(0..0, "[pool] is missing")
                    .help(help)
                    .structural(),
            );
        }
    }
    for fields in reader.several(root, keys::PEER.path, &keys::PEER) {
        let (name, address) = (fields.name(reader), fields.address(reader));
        if let (Some(name), Some(address)) = (name, address) {
            fields.record(reader, Item::Peer(draft.peers.len()));
            draft.peers.push(Peer { name, address });
        }
    }
    for fields in reader.several(root, keys::REMOTE.path, &keys::REMOTE) {
        let (name, address) = (fields.name(reader), fields.address(reader));
        if let (Some(name), Some(address)) = (name, address) {
            fields.record(reader, Item::Remote(draft.remotes.len()));
            draft.remotes.push(Remote { name, address });
        }
    }
    for fields in reader.several(root, keys::SERVICE.path, &keys::SERVICE) {
        let index = draft.services.len();
        if let Some(service) = service(reader, &fields, index) {
            fields.record(reader, Item::Service(index));
            draft.services.push(service);
        }
    }
    draft
}

fn table_size(reader: &mut Reader, fields: &Fields<'_>) -> Option<TableSize> {
    let (low, high) = (TableSize::MIN.get().into(), TableSize::MAX.get().into());
    let size = fields.integer::<u64>(reader, "table_size", low..=high)?;
    match TableSize::new(size) {
        Ok(size) => Some(size),
        Err(error) => {
            let help = match &error {
                TableSizeError::NotPrime { below, above, .. } => {
                    // The larger one if both are equally near: it is the more even.
                    let nearer_below =
                        size - u64::from(below.get()) < u64::from(above.get()) - size;
                    format!("table_size = {}", if nearer_below { below } else { above })
                }
                TableSizeError::OutOfRange(_) => format!("table_size = {}", TableSize::default()),
            };
            let span = fields.get("table_size")?.span();
            reader.report(Finding::error(span, error.to_string()).help(help));
            None
        }
    }
}

/// One `[[service]]`, to become the `index`th; `None` without a name or a VIP.
fn service(reader: &mut Reader, fields: &Fields<'_>, index: usize) -> Option<Service> {
    let name = fields.name(reader);
    let vip = fields.required_parsed(reader, "vip");
    let protocol = protocol(reader, fields).unwrap_or_default();
    let ports = ports(reader, fields).unwrap_or_default();
    let encap = encap(reader, fields).unwrap_or_default();
    let affinity = fields
        .word(reader, "affinity", &Affinity::WORDS)
        .unwrap_or_default();
    let track = fields.boolean(reader, "track").unwrap_or(true);
    let connections = fields.integer(reader, "new_connections_per_second", 1..=u32::MAX);
    let drain_deadline = fields.duration(reader, "drain_deadline", DRAIN_DEADLINE);
    let mut backends = Vec::new();
    for fields in reader.several(fields.content(), "backend", &keys::BACKEND) {
        if let Some(backend) = backend(reader, &fields) {
            fields.record(reader, Item::Backend(index, backends.len()));
            backends.push(backend);
        }
    }
    Some(Service {
        name: name?,
        vip: vip?,
        protocol,
        ports,
        encap,
        affinity,
        track,
        new_connections_per_second: connections.and_then(NonZeroU32::new),
        drain_deadline,
        backends,
    })
}

/// One `[[service.backend]]`; `None` without a name or an address.
fn backend(reader: &mut Reader, fields: &Fields<'_>) -> Option<Backend> {
    let name = fields.name(reader);
    let address = fields.address(reader);
    let weight = fields
        .integer(reader, "weight", 0..=MAX_WEIGHT)
        .and_then(Weight::new);
    let state = fields.word(reader, "state", &State::WORDS);
    let mtu = fields
        .integer(reader, "mtu", Mtu::MIN..=Mtu::MAX)
        .and_then(Mtu::new);
    Some(Backend {
        name: name?,
        address: address?,
        weight: weight.unwrap_or_default(),
        state: state.unwrap_or_default(),
        mtu,
    })
}

/// `protocol`: one of the words, or a number.
fn protocol(reader: &mut Reader, fields: &Fields<'_>) -> Option<Protocol> {
    if let DeValue::Integer(_) = fields.get("protocol")?.get_ref() {
        return fields
            .integer(reader, "protocol", 0..=u8::MAX)
            .map(Protocol::Number);
    }
    fields.word(reader, "protocol", &Protocol::WORDS)
}

/// `port`: a number, or a string with "any", a number, or two numbers and a hyphen.
fn ports(reader: &mut Reader, fields: &Fields<'_>) -> Option<Ports> {
    if let DeValue::Integer(_) = fields.get("port")?.get_ref() {
        return fields
            .integer(reader, "port", 1..=u16::MAX)
            .and_then(Ports::one);
    }
    if let DeValue::Array(_) = fields.get("port")?.get_ref() {
        let message = "`port` is one port or one range, not an array";
        let finding = Finding::error(fields.get("port")?.span(), message);
        reader.report(finding.help("write a [[service]] for each, or a range as in \"8000-8099\""));
        return None;
    }
    let (text, span) = fields.string(reader, "port")?;
    if text == "any" {
        return Some(Ports::Any);
    }
    // `parse` alone would accept a sign.
    let number = |text: &str| text.trim_start_matches('+').len() == text.len();
    let parse = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|_| number(text.trim()))
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let bounds = parse(low).zip(parse(high));
    match bounds.and_then(|(low, high)| Ports::range(low, high)) {
        Some(ports) => Some(ports),
        None => {
            let (message, help) = match bounds {
                Some((low, high)) if low > high => {
                    (format!("the port range {text:?} ends before it begins"), format!("write port = \"{high}-{low}\""))
                }
                _ => (
                    format!("port {text:?} is neither a port nor a range"),
                    "as in port = 443, port = \"8000-8099\" or port = \"any\"; ports are 1 to 65535"
                        .to_owned(),
                ),
            };
            reader.report(Finding::error(span, message).help(help));
            None
        }
    }
}

/// `encap` and the keys that belong to one kind of it.
fn encap(reader: &mut Reader, fields: &Fields<'_>) -> Option<Encap> {
    let gre_key = fields.integer(reader, "gre_key", 0..=u32::MAX);
    let gue_port = fields
        .integer(reader, "gue_port", 1..=u16::MAX)
        .and_then(NonZeroU16::new);
    let dscp = fields
        .integer(reader, "dscp", 1..=Dscp::MAX)
        .and_then(Dscp::new);
    let word = match fields.get("encap") {
        None => "gre",
        Some(_) => fields.string(reader, "encap")?.0,
    };
    if !Encap::WORDS.contains(&word) {
        let span = fields.get("encap")?.span();
        let finding = if word == "nat" {
            Finding::error(span, "encap \"nat\" is not yet specified")
                .help("use a tunnel such as encap = \"gre\", or l3dsr")
        } else {
            unknown_word("encap", word, span, Encap::WORDS.into_iter())
        };
        reader.report(finding);
        return None;
    }
    for (key, owner) in [("gre_key", "gre"), ("gue_port", "gue"), ("dscp", "l3dsr")] {
        if let Some(value) = fields.get(key)
            && word != owner
        {
            let message = format!("`{key}` means nothing with encap = \"{word}\"");
            let help = format!("leave it out, or write encap = \"{owner}\"");
            reader.report(Finding::error(value.span(), message).help(help));
        }
    }
    match word {
        "ipip" => Some(Encap::Ipip),
        "gue" => Some(Encap::Gue {
            port: gue_port.unwrap_or(GUE_PORT),
        }),
        "l2dsr" => Some(Encap::L2dsr),
        "l3dsr" => {
            if !fields.has("dscp") {
                fields.report_missing(reader, "dscp");
            }
            Some(Encap::L3dsr { dscp: dscp? })
        }
        _ => Some(Encap::Gre { key: gre_key }),
    }
}
