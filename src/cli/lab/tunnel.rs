//! The backends' end of the tunnels: the kernel's GRE and IPIP devices where it has them, otherwise
//! a process that takes GRE and IPIP packets off the wire and hands what they carry to the kernel
//! through a tun device.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use tun_rs::DeviceBuilder;

use super::netns::{Netns, NetnsError, feed};
use super::network::{INTERFACE, NFT_TABLE};
use crate::wire::gre::Gre;
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::{EtherType, IpProtocol};

/// The device through which decapsulated packets enter the kernel.
const DEVICE: &str = "tun0";
/// Larger than any IP packet.
const PACKET: usize = 65_536;
/// Packets that wait while this process does not run, bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Who decapsulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TunnelEnd {
    /// `ip link add type gre` and its kin.
    Kernel,
    /// A process behind a packet socket.
    Userspace,
}

impl TunnelEnd {
    /// Finds out whether this kernel has GRE and IPIP devices by making one of each in `scratch`.
    pub fn of_this_kernel(scratch: &Netns) -> Result<Self, NetnsError> {
        let has = |kind| {
            let probe = format!("link add probe type {kind} local 127.0.0.1\nlink del probe\n");
            scratch.ip(&probe).is_ok()
        };
        Ok(if has("gre") && has("ipip") {
            Self::Kernel
        } else {
            Self::Userspace
        })
    }
}

impl std::fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "the kernel's GRE and IPIP devices",
            Self::Userspace => "a userspace tunnel end on a tun device",
        })
    }
}

/// Prepares a backend to receive tunnelled packets; returns the process to be started, if it takes
/// one.
pub fn set_up(
    end: TunnelEnd,
    netns: &Netns,
    local: Ipv4Addr,
    rail: &Path,
) -> Result<Option<Command>, NetnsError> {
    match end {
        TunnelEnd::Kernel => {
            let mut batch = String::new();
            for kind in ["gre", "ipip"] {
                batch += &format!("link add rail-{kind} type {kind} local {local}\n");
                batch += &format!("link set rail-{kind} up\n");
            }
            netns.ip(&batch)?;
            Ok(None)
        }
        TunnelEnd::Userspace => {
            // The packet socket sees a packet before this drops it; the kernel, which has no
            // use for the protocols, would answer each with an ICMP error.
            let rules = format!(
                "table {} {{
                     chain ingress {{
                         type filter hook ingress device \"{INTERFACE}\" priority 0; policy accept;
                         ip protocol {{ 4, 41, 47 }} drop
                     }}
                 }}\n",
                NFT_TABLE.join(" ")
            );
            netns.enter(|| feed(Command::new("nft").args(["-f", "-"]), &rules))??;
            let mut command = netns.command(rail);
            command.args(["lab", "tunnel-end", "--local", &local.to_string()]);
            Ok(Some(command))
        }
    }
}

/// Decapsulates packets for `local` until the process is ended. Runs in the backend's namespace.
pub fn run(local: IpAddr) -> io::Result<()> {
    let device = DeviceBuilder::new().name(DEVICE).build_sync()?;
    // All frames of the namespace, each from its IP header on. A raw socket per protocol would see
    // the same, but a packet socket needs no more than one.
    let wire = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&wire, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    let mut buffer = vec![0; PACKET];
    loop {
        let length = match recv(
            wire.as_raw_fd(),
            &mut buffer,
            nix::sys::socket::MsgFlags::empty(),
        ) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(inner) = decapsulate(&buffer[..length], local) {
            // The kernel refuses what is not an IP packet, which is the sender's mistake, not ours.
            let _ = device.send(inner);
        }
    }
}

/// What an IPv4 or IPv6 packet for `local` carries in GRE or directly (RFC 2003, RFC 4213, RFC
/// 2473), one level deep; `None` for every other packet.
fn decapsulate(packet: &[u8], local: IpAddr) -> Option<&[u8]> {
    let (destination, protocol, payload) = match packet.first()? >> 4 {
        4 => {
            let outer = Ipv4::parse(packet).ok()?;
            let to = IpAddr::from(outer.header.destination);
            (to, outer.header.protocol, outer.payload)
        }
        6 => {
            let outer = Ipv6::parse(packet).ok()?;
            (
                IpAddr::from(outer.header.destination),
                outer.protocol,
                outer.payload,
            )
        }
        _ => return None,
    };
    if destination != local {
        return None;
    }
    match protocol {
        IpProtocol::GRE => {
            let gre = Gre::parse(payload).ok()?;
            matches!(gre.protocol, EtherType::IPV4 | EtherType::IPV6).then_some(gre.payload)
        }
        IpProtocol::IPIP | IpProtocol::IPV6 => Some(payload),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::wire::ipv4::Ipv4Header;

    const LOCAL: &str = "198.51.100.11";
    const INNER: &[u8] = b"\x45 any inner packet";

    /// An IPv4 packet for `to` with this protocol and payload.
    fn outer(to: &str, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let from = Ipv4Addr::new(192, 0, 2, 10);
        let header = Ipv4Header::new(from, to.parse().unwrap(), protocol, payload.len());
        [header.as_bytes(), payload].concat()
    }

    #[test]
    fn what_is_decapsulated() {
        let gre = [b"\0\0\x08\0", INNER].concat();
        let gre_key = [b"\x20\0\x86\xdd\0\0\0\x07", INNER].concat();
        let gre_arp = [b"\0\0\x08\x06", INNER].concat();
        let check = |to: &str, protocol, payload: &[u8], expected: Option<&[u8]>| {
            let packet = outer(to, protocol, payload);
            let found = decapsulate(&packet, LOCAL.parse().unwrap());
            assert_eq!(found, expected, "{protocol:?} to {to}");
        };
        check(LOCAL, IpProtocol::GRE, &gre, Some(INNER));
        check(LOCAL, IpProtocol::GRE, &gre_key, Some(INNER));
        check(LOCAL, IpProtocol::GRE, &gre_arp, None);
        check(LOCAL, IpProtocol::GRE, &gre[..3], None);
        check(LOCAL, IpProtocol::IPIP, INNER, Some(INNER));
        check(LOCAL, IpProtocol::IPV6, INNER, Some(INNER));
        check(LOCAL, IpProtocol::TCP, INNER, None);
        check("198.51.100.12", IpProtocol::IPIP, INNER, None);
    }

    #[test]
    fn no_truncated_packet_is_decapsulated() {
        let packet = outer(LOCAL, IpProtocol::IPIP, INNER);
        for length in 0..packet.len() {
            assert_eq!(decapsulate(&packet[..length], LOCAL.parse().unwrap()), None);
        }
    }
}
