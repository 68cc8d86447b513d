//! `[[port]]` and the static next hops behind them, `[[neighbor]]`.

use std::num::NonZeroU16;

use toml::de::DeTable;

use super::fields::{Address, Fields};
use super::keys;
use super::reader::{Finding, Reader};
use crate::pool::{IfAddr, IfName, Item, MacAddr, Mtu, Name, Port, StaticNeighbor, VlanId};

/// All `[[port]]`, and whether every one of them could be read.
pub fn ports(reader: &mut Reader, root: &DeTable<'_>) -> (Vec<Port>, bool) {
    let before = reader.errors();
    let tables = reader.several(root, keys::PORT.path, &keys::PORT);
    if tables.is_empty() && !root.contains_key(keys::PORT.path) {
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
    let outer_vlan = fields.integer(reader, "outer_vlan", VlanId::MIN.get()..=VlanId::MAX.get());
    let keep_tags = fields.word(reader, "tags", &TAGS).unwrap_or_default();
    let queues = fields.integer(reader, "queues", 1..=Port::MAX_QUEUES);
    let host = host(reader, fields, index);
    Some(Port {
        name: name.or_else(|| Name::new(&format!("port{index}")).ok())?,
        device: device?.0.to_owned(),
        addresses: addresses?,
        gateways: gateways.into_iter().map(|gateway| gateway.0).collect(),
        mtu: mtu.unwrap_or_default(),
        vlan: vlan.and_then(|id| VlanId::new(id).ok()),
        outer_vlan: outer_vlan.and_then(|id| VlanId::new(id).ok()),
        keep_tags,
        queues: queues.and_then(NonZeroU16::new),
        host,
    })
}

/// The words for the tags of what goes out, and whether it keeps those it came with.
const TAGS: [(&str, bool); 2] = [("port", false), ("keep", true)];

/// The word for a port without a host interface.
const NO_HOST: &str = "off";

/// The host's interface of the `index`th port.
fn host(reader: &mut Reader, fields: &Fields<'_>, index: usize) -> Option<IfName> {
    let Some((text, span)) = fields.string(reader, "host") else {
        return IfName::new(&format!("rail{index}"));
    };
    if text == NO_HOST {
        return None;
    }
    let name = IfName::new(text);
    if name.is_none() {
        let message = format!("host {text:?} is no name of a kernel interface, nor \"off\"");
        fields.report_bad(reader, "host", span, message);
    }
    name
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
