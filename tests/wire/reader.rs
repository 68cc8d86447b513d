//! A reader of whole frames made of the parsers alone.

use rustyrail::wire::arp::Arp;
use rustyrail::wire::fragment::FragmentError;
use rustyrail::wire::gre::{Gre, GreError};
use rustyrail::wire::gue::{self, Gue, GueError};
use rustyrail::wire::icmpv4::{Icmpv4, Icmpv4Error};
use rustyrail::wire::icmpv6::{Icmpv6, Icmpv6Error};
use rustyrail::wire::ipv4::{Ipv4, Ipv4Error};
use rustyrail::wire::ipv6::{Ipv6, Ipv6Error};
use rustyrail::wire::nd::{Nd, NdError};
use rustyrail::wire::tcp::{Tcp, TcpError};
use rustyrail::wire::udp::{Udp, UdpError};
use rustyrail::wire::vlan::L2Error;
use rustyrail::wire::{EtherType, IpProtocol, Ports, l2};

/// The first thing wrong with a frame, as a reader going inwards meets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    L2(L2Error),
    Arp,
    Ipv4(Ipv4Error),
    Ipv6(Ipv6Error),
    Fragment(FragmentError),
    Tcp(TcpError),
    Udp(UdpError),
    Icmpv4(Icmpv4Error),
    Icmpv6(Icmpv6Error),
    Nd(NdError),
    Gre(GreError),
    Gue(GueError),
}

/// Reads a frame to its innermost header, tunnels and quoted packets included.
pub fn read(frame: &[u8]) -> Result<(), Wrong> {
    let l2 = l2(frame).map_err(Wrong::L2)?;
    read_ethertype(l2.ethertype, &frame[usize::from(l2.l3_offset)..])
}

fn read_ethertype(ethertype: EtherType, bytes: &[u8]) -> Result<(), Wrong> {
    match ethertype {
        EtherType::ARP => Arp::parse(bytes).map(|_| ()).map_err(|_| Wrong::Arp),
        EtherType::IPV4 => {
            let ip = Ipv4::parse(bytes).map_err(Wrong::Ipv4)?;
            if let Some(fragment) = ip.header.fragment() {
                return fragment.check(ip.payload.len()).map_err(Wrong::Fragment);
            }
            match ip.header.protocol {
                IpProtocol::ICMP => {
                    let message = Icmpv4::parse(ip.payload).map_err(Wrong::Icmpv4)?;
                    match message.quoted().map(Ipv4::parse_quoted) {
                        None | Some(Ok(_)) => Ok(()),
                        Some(Err(error)) => Err(Wrong::Ipv4(error)),
                    }
                }
                protocol => read_protocol(protocol, ip.payload),
            }
        }
        EtherType::IPV6 => {
            let ip = Ipv6::parse(bytes).map_err(Wrong::Ipv6)?;
            if let Some(fragment) = ip.fragment {
                return fragment.check(ip.payload.len()).map_err(Wrong::Fragment);
            }
            match ip.protocol {
                IpProtocol::ICMPV6 => {
                    let (from, to) = (ip.header.source(), ip.header.destination());
                    let message = Icmpv6::parse(ip.payload, from, to).map_err(Wrong::Icmpv6)?;
                    match Nd::parse(ip.header, &message) {
                        Ok(_) | Err(NdError::BadType) => {}
                        Err(error) => return Err(Wrong::Nd(error)),
                    }
                    match message.quoted().map(Ipv6::parse_quoted) {
                        None | Some(Ok(_)) => Ok(()),
                        Some(Err(error)) => Err(Wrong::Ipv6(error)),
                    }
                }
                protocol => read_protocol(protocol, ip.payload),
            }
        }
        _ => Ok(()),
    }
}

fn read_protocol(protocol: IpProtocol, bytes: &[u8]) -> Result<(), Wrong> {
    match protocol {
        IpProtocol::TCP => Tcp::parse(bytes).map(|_| ()).map_err(Wrong::Tcp),
        IpProtocol::UDP => {
            let udp = Udp::parse(bytes).map_err(Wrong::Udp)?;
            if udp.header.ports.destination.get() != gue::PORT {
                return Ok(());
            }
            let gue = Gue::parse(udp.payload).map_err(Wrong::Gue)?;
            read_protocol(gue.protocol, gue.payload)
        }
        IpProtocol::GRE => {
            let gre = Gre::parse(bytes).map_err(Wrong::Gre)?;
            read_ethertype(gre.protocol, gre.payload)
        }
        IpProtocol::IPIP => read_ethertype(EtherType::IPV4, bytes),
        IpProtocol::IPV6 => read_ethertype(EtherType::IPV6, bytes),
        _ => Ok(()),
    }
}

/// Every parser on the same bytes, whatever they are.
pub fn every_parser(bytes: &[u8]) {
    let _ = read(bytes);
    let _ = Arp::parse(bytes);
    let _ = Ports::parse(bytes);
    let _ = Tcp::parse(bytes);
    let _ = Udp::parse(bytes);
    let _ = Gre::parse(bytes);
    let _ = Gue::parse(bytes);
    let _ = Ipv4::parse(bytes);
    let _ = Ipv6::parse(bytes);
    if let Ok(ip) = Ipv4::parse_quoted(bytes) {
        let _ = Icmpv4::parse(ip.payload);
    }
    if let Ok(ip) = Ipv6::parse_quoted(bytes)
        && let Ok(message) = Icmpv6::parse_quoted(ip.payload)
    {
        let _ = Nd::parse(ip.header, &message);
    }
}
