//! Frames that ask for a next hop's link address.

use std::net::IpAddr;

use crate::pool::Port;
use crate::table::neighbor::Request;
use crate::table::template::LinkHeader;
use crate::wire::arp::ArpPacket;
use crate::wire::{EtherType, MacAddr, put};

/// Ethernet with one tag, and ARP.
const ARP_FRAME: usize = 18 + ArpPacket::LEN;

/// The frame for a request on a port, if the address asked for is on its link. IPv4 asks by ARP (RFC 826).
pub fn request(port: &Port, mac: [u8; 6], request: Request) -> Option<Vec<u8>> {
    let address = request.address;
    let own = port.addresses.iter().find(|own| own.on_link(address))?;
    match (own.address(), address) {
        (IpAddr::V4(sender), IpAddr::V4(target)) => {
            let link = LinkHeader {
                destination: request.unicast.unwrap_or(MacAddr::BROADCAST).octets(),
                source: mac,
                vlan: port.vlan.map(|v| v.get()),
            };
            let mut frame = vec![0; ARP_FRAME];
            let at = link.write(EtherType::ARP.0, &mut frame);
            put(
                frame.get_mut(at..)?,
                &ArpPacket::request(MacAddr(mac), sender, target),
            )?;
            frame.truncate(at + ArpPacket::LEN);
            Some(frame)
        }
        _ => None,
    }
}
