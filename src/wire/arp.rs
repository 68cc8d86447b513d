//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use std::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::{EtherType, MacAddr};

const HARDWARE_ETHERNET: u16 = 1;
const MAC_LEN: u8 = 6;
const IPV4_LEN: u8 = 4;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP packet for IPv4 over Ethernet, as on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ArpPacket {
    pub hardware_type: U16,
    pub protocol_type: U16,
    pub hardware_len: u8,
    pub protocol_len: u8,
    pub operation: U16,
    pub sender_mac: MacAddr,
    pub sender_ip: [u8; 4],
    pub target_mac: MacAddr,
    pub target_ip: [u8; 4],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArpOperation {
    Request,
    Reply,
}

/// Why an ARP packet is not for us to understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArpError {
    #[error("the frame ends within the ARP packet")]
    Truncated,
    #[error("the ARP packet is not about IPv4 over Ethernet")]
    BadType,
    #[error("the ARP packet's address lengths are not 6 and 4")]
    BadLength,
    #[error("the ARP operation is neither request nor reply")]
    BadOperation,
    /// RFC 1812, section 3.3.2: a group address must not be believed.
    #[error("the ARP sender's MAC address is not that of one station")]
    BadSender,
}

/// What an ARP packet says, host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    pub operation: ArpOperation,
    pub sender_mac: MacAddr,
    pub sender_ip: Ipv4Addr,
    pub target_mac: MacAddr,
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the packet behind the Ethernet header; padding may follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArpError> {
        let packet: &ArpPacket = super::view(bytes).ok_or(ArpError::Truncated)?;
        if packet.hardware_type.get() != HARDWARE_ETHERNET
            || packet.protocol_type.get() != EtherType::IPV4.0
        {
            return Err(ArpError::BadType);
        }
        if packet.hardware_len != MAC_LEN || packet.protocol_len != IPV4_LEN {
            return Err(ArpError::BadLength);
        }
        let operation = match packet.operation.get() {
            REQUEST => ArpOperation::Request,
            REPLY => ArpOperation::Reply,
            _ => return Err(ArpError::BadOperation),
        };
        if !packet.sender_mac.is_unicast() {
            return Err(ArpError::BadSender);
        }
        Ok(Self {
            operation,
            sender_mac: packet.sender_mac,
            sender_ip: packet.sender_ip.into(),
            target_mac: packet.target_mac,
            target_ip: packet.target_ip.into(),
        })
    }

    /// Whether the sender only asks if the address is free (RFC 5227): such a packet must be
    /// answered, but there is no address in it to learn.
    pub const fn is_probe(&self) -> bool {
        self.sender_ip.is_unspecified()
    }

    /// Whether the sender announces its own address (RFC 5227, section 2.3).
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// The reply that says `mac` has the address asked for.
    pub fn reply(&self, mac: MacAddr) -> ArpPacket {
        ArpPacket::new(
            REPLY,
            (mac, self.target_ip),
            (self.sender_mac, self.sender_ip),
        )
    }
}

impl ArpPacket {
    /// Size on the wire, bytes.
    pub const LEN: usize = size_of::<Self>();

    /// Who has `target`? Tell `sender`.
    pub fn request(sender_mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::new(REQUEST, (sender_mac, sender), (MacAddr::ZERO, target))
    }

    /// `sender` has `sender_mac`, told to `target`.
    pub fn reply(sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Self {
        Self::new(REPLY, sender, target)
    }

    fn new(operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Self {
        Self {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IPV4.0),
            hardware_len: MAC_LEN,
            protocol_len: IPV4_LEN,
            operation: U16::new(operation),
            sender_mac: sender.0,
            sender_ip: sender.1.octets(),
            target_mac: target.0,
            target_ip: target.1.octets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
    const RAIL: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x10]);

    fn request() -> [u8; 28] {
        let asker = Ipv4Addr::new(192, 0, 2, 1);
        let packet = ArpPacket::request(ASKER, asker, Ipv4Addr::new(192, 0, 2, 10));
        zerocopy::transmute!(packet)
    }

    #[test]
    fn request_is_the_bytes_of_rfc_826() {
        let expected = [
            0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, lengths, request
            2, 0, 0, 0, 0, 0xfe, 192, 0, 2, 1, // sender
            0, 0, 0, 0, 0, 0, 192, 0, 2, 10, // target
        ];
        assert_eq!(request(), expected);
    }

    #[test]
    fn reply_answers_who_asked() {
        let asked = Arp::parse(&request()).expect("a request");
        assert_eq!(asked.operation, ArpOperation::Request);
        let reply: [u8; 28] = zerocopy::transmute!(asked.reply(RAIL));
        let answer = Arp::parse(&reply).expect("a reply");
        assert_eq!(answer.operation, ArpOperation::Reply);
        assert_eq!(
            (answer.sender_mac, answer.sender_ip),
            (RAIL, asked.target_ip)
        );
        assert_eq!(
            (answer.target_mac, answer.target_ip),
            (ASKER, asked.sender_ip)
        );
    }

    #[test]
    fn every_lie_has_its_error() {
        for (at, byte, error) in [
            (1, 6, ArpError::BadType),
            (2, 0x86, ArpError::BadType),
            (4, 8, ArpError::BadLength),
            (5, 16, ArpError::BadLength),
            (7, 3, ArpError::BadOperation),
            (8, 0x33, ArpError::BadSender),
        ] {
            let mut packet = request();
            packet[at] = byte;
            assert_eq!(Arp::parse(&packet), Err(error), "byte {at}");
        }
        for len in 0..ArpPacket::LEN {
            assert_eq!(Arp::parse(&request()[..len]), Err(ArpError::Truncated));
        }
    }

    #[test]
    fn probes_and_announcements() {
        let of = |sender: [u8; 4], target: [u8; 4]| {
            let bytes: [u8; 28] =
                zerocopy::transmute!(ArpPacket::request(ASKER, sender.into(), target.into()));
            Arp::parse(&bytes).expect("a request")
        };
        assert!(of([0; 4], [192, 0, 2, 10]).is_probe());
        assert!(of([192, 0, 2, 10], [192, 0, 2, 10]).is_announcement());
        let ordinary = of([192, 0, 2, 1], [192, 0, 2, 10]);
        assert!(!ordinary.is_probe() && !ordinary.is_announcement());
    }
}
