//! The packet builder: link layer, and putting it all together. IP is in `ip.rs`, what IP carries
//! in `upper.rs`.

use crate::wire::arp::ArpPacket;
use crate::wire::{EtherType, EthernetHeader, MacAddr};

use super::layer::{Around, Layer};
use super::{Frame, RAIL_MAC, ROUTER_MAC, ToIpv4, ToIpv6, ToMac};

/// The shortest Ethernet frame without its check sequence, bytes.
const MIN_FRAME: usize = 60;

/// A packet in the making: layers from the outside in, then bytes. A method that sets a field acts
/// on the innermost layer that has such a field, and panics if there is none.
#[derive(Clone, Debug, Default)]
pub struct PacketBuilder {
    layers: Vec<Layer>,
    /// Indices of the layers whose checksum has to be wrong.
    bad_checksums: Vec<usize>,
    payload: Vec<u8>,
    min_len: usize,
}

/// An Ethernet frame from [`ROUTER_MAC`] to [`RAIL_MAC`].
pub fn ether() -> PacketBuilder {
    PacketBuilder::default().push(Layer::Ether {
        header: EthernetHeader::new(RAIL_MAC, ROUTER_MAC, EtherType(0)),
        ethertype: None,
    })
}

/// A bare IPv4 packet, as tunnels carry and ICMP errors quote it.
pub fn ipv4(source: impl ToIpv4, destination: impl ToIpv4) -> PacketBuilder {
    PacketBuilder::default().ipv4(source, destination)
}

/// A bare IPv6 packet, as tunnels carry and ICMP errors quote it.
pub fn ipv6(source: impl ToIpv6, destination: impl ToIpv6) -> PacketBuilder {
    PacketBuilder::default().ipv6(source, destination)
}

/// Who has `target`? Tell `sender`. To everybody.
pub fn arp_request(
    sender_mac: impl ToMac,
    sender: impl ToIpv4,
    target: impl ToIpv4,
) -> PacketBuilder {
    let mac = sender_mac.to_mac();
    let packet = ArpPacket::request(mac, sender.to_ipv4(), target.to_ipv4());
    ether()
        .source_mac(mac)
        .destination_mac(MacAddr::BROADCAST)
        .push(Layer::Arp(packet))
}

/// `sender` is at `sender_mac`, told to `target`.
pub fn arp_reply(
    (sender_mac, sender): (impl ToMac, impl ToIpv4),
    (target_mac, target): (impl ToMac, impl ToIpv4),
) -> PacketBuilder {
    let (from, to) = (sender_mac.to_mac(), target_mac.to_mac());
    let packet = ArpPacket::reply((from, sender.to_ipv4()), (to, target.to_ipv4()));
    ether()
        .source_mac(from)
        .destination_mac(to)
        .push(Layer::Arp(packet))
}

/// Sets a field of the innermost layer that matches.
macro_rules! set {
    ($builder:expr, $field:literal, $($layer:pat => $assignment:expr),+ $(,)?) => {
        $builder.set($field, |layer| match layer {
            $($layer => {
                $assignment;
                true
            })+
            _ => false,
        })
    };
}
pub(super) use set;

/// Layer 2.
impl PacketBuilder {
    pub fn source_mac(self, mac: impl ToMac) -> Self {
        let mac = mac.to_mac();
        set!(self, "source MAC", Layer::Ether { header, .. } => header.source = mac)
    }

    pub fn destination_mac(self, mac: impl ToMac) -> Self {
        let mac = mac.to_mac();
        set!(self, "destination MAC", Layer::Ether { header, .. } => header.destination = mac)
    }

    /// The type in the Ethernet header, whatever follows.
    pub fn ethertype(self, value: EtherType) -> Self {
        set!(self, "EtherType", Layer::Ether { ethertype, .. } => *ethertype = Some(value))
    }

    /// Adds an 802.1Q tag behind the Ethernet header and the tags it has; the number is not
    /// checked.
    pub fn vlan(self, vlan: u16) -> Self {
        self.tag(EtherType::VLAN, vlan)
    }

    /// As [`vlan`](Self::vlan), an 802.1ad service tag.
    pub fn service_vlan(self, vlan: u16) -> Self {
        self.tag(EtherType::QINQ, vlan)
    }

    fn tag(mut self, tpid: EtherType, tci: u16) -> Self {
        let place = self.layers.iter().take_while(|layer| layer.is_l2()).count();
        self.layers.insert(place, Layer::Vlan { tpid, tci });
        for index in &mut self.bad_checksums {
            *index += usize::from(*index >= place);
        }
        self
    }
}

/// Bytes, and the end of the chain.
impl PacketBuilder {
    /// What the innermost layer carries.
    pub fn payload(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.payload = bytes.as_ref().to_vec();
        self
    }

    /// A payload of `len` bytes in which no two neighbourhoods look alike.
    pub fn payload_len(self, len: usize) -> Self {
        let bytes: Vec<u8> = (0..len)
            .map(|i| (i % 251) as u8 ^ (i / 251) as u8)
            .collect();
        self.payload(bytes)
    }

    /// Makes the checksum of the innermost layer that has one wrong.
    pub fn bad_checksum(mut self) -> Self {
        let index = self.layers.iter().rposition(Layer::has_checksum);
        self.bad_checksums
            .push(index.expect("no layer with a checksum"));
        self
    }

    /// Pads the frame with zeros to what Ethernet requires, 60 bytes without its check sequence.
    pub fn padded(self) -> Self {
        self.padded_to(MIN_FRAME)
    }

    pub fn padded_to(mut self, len: usize) -> Self {
        self.min_len = len;
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.write_from(0);
        bytes.resize(bytes.len().max(self.min_len), 0);
        bytes
    }

    /// The packet in packet memory.
    pub fn frame(&self) -> Frame {
        Frame::new(&self.build())
    }

    /// The innermost IP packet cut into fragments of at most `max_payload` bytes (a multiple of 8)
    /// of what is cut; the layers around it are repeated around each.
    pub fn fragments(&self, id: u32, max_payload: usize) -> Vec<Vec<u8>> {
        assert!(
            max_payload > 0 && max_payload.is_multiple_of(8),
            "{max_payload} is no length of a fragment that is not the last"
        );
        let ip = self.layers.iter().rposition(Layer::is_ip);
        let behind_ip = ip.expect("only IP packets have fragments") + 1;
        let kept = self.layers[behind_ip..]
            .iter()
            .take_while(|layer| layer.is_per_fragment());
        let inside = behind_ip + kept.count();
        let protocol = self.layers.get(inside).map(Layer::protocol);
        let whole = self.write_from(inside);
        let fragment = |(index, chunk): (usize, &[u8])| {
            let offset = index * max_payload;
            let more = offset + chunk.len() < whole.len();
            let mut part = self.clone().payload(chunk);
            part.layers.truncate(inside);
            part.bad_checksums.retain(|&index| index < inside);
            part = part.fragment(id, offset as u16, more);
            match protocol {
                Some(protocol) => part.protocol(protocol).build(),
                None => part.build(),
            }
        };
        whole
            .chunks(max_payload)
            .enumerate()
            .map(fragment)
            .collect()
    }

    /// The layers from the one at `start` on.
    fn write_from(&self, start: usize) -> Vec<u8> {
        let mut bytes = self.payload.clone();
        for (index, layer) in self.layers.iter().enumerate().skip(start).rev() {
            let around = Around {
                inside: self.layers.get(index + 1),
                ip: self.layers[..index].iter().rfind(|layer| layer.is_ip()),
                bad_checksum: self.bad_checksums.contains(&index),
            };
            bytes = layer.write(&around, &bytes);
        }
        bytes
    }

    pub(super) fn push(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Applies `change` to the innermost layer it returns true for.
    pub(super) fn set(mut self, field: &str, change: impl Fn(&mut Layer) -> bool) -> Self {
        let found = self.layers.iter_mut().rev().any(change);
        assert!(found, "no layer of the packet has a {field}");
        self
    }

    /// The innermost IP layer.
    pub(super) fn ip(&self) -> &Layer {
        let ip = self.layers.iter().rfind(|layer| layer.is_ip());
        ip.expect("no IP layer to put this into")
    }
}
