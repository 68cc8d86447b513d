//! Made-up traffic for measuring: writes the headers of random flows into received frames.

use dpdk::{Burst, Mbuf};

use crate::wire::IpProtocol;
use crate::worker::Source;

/// Bytes of the frames that are written: the shortest Ethernet frame, and the shortest that holds TCP
/// over IPv6.
pub const SHORT_FRAME: usize = 64;
/// See [`SHORT_FRAME`].
pub const LONG_FRAME: usize = 78;

/// Where the IP header of a frame starts.
const L3: usize = 14;
/// Where its source address starts, and the IPv4 header checksum.
const V4_SOURCE: usize = L3 + 12;
const V4_CHECKSUM: usize = L3 + 10;
const V4_L4: usize = L3 + 20;
/// The last eight bytes of an IPv6 source, which tell clients apart.
const V6_CLIENT: usize = L3 + 16;
const V6_L4: usize = L3 + 40;

/// A frame to a service, but for what tells flows apart: the low bytes of the client's address and the
/// client's port.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Template {
    bytes: [u8; LONG_FRAME],
    /// Sum over the IPv4 header with checksum and the low 24 bits of the source zero.
    sum: u32,
}

impl Template {
    /// A frame from `10.0.0.0/8` to an IPv4 service.
    pub fn v4(vip: [u8; 4], protocol: IpProtocol, port: u16, tcp_flags: u8) -> Self {
        let mut bytes = [0; LONG_FRAME];
        let total = (SHORT_FRAME - L3) as u16;
        ethernet(&mut bytes, [0x08, 0x00]);
        bytes[L3] = 0x45;
        bytes[L3 + 2..L3 + 4].copy_from_slice(&total.to_be_bytes());
        bytes[L3 + 8] = CLIENT_TTL;
        bytes[L3 + 9] = protocol.0;
        bytes[V4_SOURCE] = 10;
        bytes[V4_SOURCE + 4..V4_SOURCE + 8].copy_from_slice(&vip);
        transport(&mut bytes[V4_L4..SHORT_FRAME], protocol, port, tcp_flags);
        let words = bytes[L3..V4_L4].chunks_exact(2);
        let sum = words.map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        Template {
            sum: sum.sum(),
            bytes,
        }
    }

    /// A frame from `2001:db8::/64` to an IPv6 service.
    pub fn v6(vip: [u8; 16], protocol: IpProtocol, port: u16, tcp_flags: u8) -> Self {
        let mut bytes = [0; LONG_FRAME];
        let payload = (LONG_FRAME - V6_L4) as u16;
        ethernet(&mut bytes, [0x86, 0xdd]);
        bytes[L3] = 0x60;
        bytes[L3 + 4..L3 + 6].copy_from_slice(&payload.to_be_bytes());
        bytes[L3 + 6] = protocol.0;
        bytes[L3 + 7] = CLIENT_TTL;
        bytes[L3 + 8..L3 + 12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        bytes[L3 + 24..L3 + 40].copy_from_slice(&vip);
        transport(&mut bytes[V6_L4..], protocol, port, tcp_flags);
        Template { bytes, sum: 0 }
    }

    /// Writes the frame of a flow.
    #[inline(always)]
    fn write_v4(&self, flow: Flow, out: &mut [u8; SHORT_FRAME]) {
        // One copy of a known length; the template is longer than what is taken of it.
        out.copy_from_slice(&self.bytes[..SHORT_FRAME]);
        let client = flow.client() | 10 << 24;
        let sum = self.sum + (client >> 16 & 0xff) + (client & 0xffff);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        out[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
        out[V4_SOURCE..V4_SOURCE + 4].copy_from_slice(&client.to_be_bytes());
        out[V4_L4..V4_L4 + 2].copy_from_slice(&flow.port().to_be_bytes());
    }

    #[inline(always)]
    fn write_v6(&self, flow: Flow, out: &mut [u8; LONG_FRAME]) {
        out.copy_from_slice(&self.bytes);
        let client = u64::from(flow.client());
        out[V6_CLIENT..V6_CLIENT + 8].copy_from_slice(&client.to_be_bytes());
        out[V6_L4..V6_L4 + 2].copy_from_slice(&flow.port().to_be_bytes());
    }
}

/// TTL or hop limit of the frames.
const CLIENT_TTL: u8 = 63;

fn ethernet(bytes: &mut [u8; LONG_FRAME], ethertype: [u8; 2]) {
    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x10]);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
    bytes[12..14].copy_from_slice(&ethertype);
}

/// The rest of the frame; its checksum is left zero, which the packet path does not look at.
fn transport(out: &mut [u8], protocol: IpProtocol, port: u16, tcp_flags: u8) {
    out[2..4].copy_from_slice(&port.to_be_bytes());
    if protocol == IpProtocol::UDP {
        let len = out.len() as u16;
        out[4..6].copy_from_slice(&len.to_be_bytes());
    } else {
        out[12] = 5 << 4;
        out[13] = tcp_flags;
    }
}

/// One of 2^40 flows, in a form that looks random: neighbouring numbers are far apart in it.
#[derive(Clone, Copy)]
struct Flow(u64);

impl Flow {
    const BITS: u32 = 40;

    #[inline(always)]
    fn number(number: u64) -> Self {
        // Odd, so different numbers below 2^40 stay different (Vigna's splitmix64 multiplier).
        Flow(number.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    /// The low 24 bits of the client's address.
    #[inline(always)]
    fn client(self) -> u32 {
        self.0 as u32 & 0x00ff_ffff
    }

    #[inline(always)]
    fn port(self) -> u16 {
        (self.0 >> 24) as u16
    }

    /// One of `n` services, the same for every packet of the flow.
    #[inline(always)]
    fn service(self, n: usize) -> usize {
        // The low bits alone decide, as above, and the product's high half is below `n`.
        let spread = (self.0 << (64 - Self::BITS)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(spread) * n as u128) >> 64) as usize
    }
}

/// In which order flows send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A random one of so many sends next.
    Random(u64),
    /// One after the other from the first on; none comes twice.
    InTurn,
}

/// Flows of one worker, so that no two workers share one.
const FLOWS_PER_WORKER: u64 = 1 << 33;

/// Writes frames of flows to services into what a port receives.
pub struct Traffic {
    templates: Box<[Template]>,
    v6: bool,
    order: Order,
    first: u64,
    next: u64,
    random: u64,
    delay: Delay,
}

impl Traffic {
    /// Traffic for worker number `worker`; at least one template, all of one IP version. Frames come
    /// out `delay` bursts after they were written, when their memory has left the nearer caches.
    pub fn new(
        templates: Box<[Template]>,
        v6: bool,
        order: Order,
        worker: usize,
        delay: usize,
    ) -> Self {
        Traffic {
            templates,
            v6,
            order,
            first: worker as u64 * FLOWS_PER_WORKER,
            next: 0,
            random: worker as u64,
            delay: Delay::new(delay),
        }
    }

    #[inline(always)]
    fn next_flow(&mut self) -> Flow {
        let number = match self.order {
            Order::Random(flows) => {
                // A random number of 64 bits times `flows`: the high half is below `flows`.
                ((u128::from(self.next_random()) * u128::from(flows)) >> 64) as u64
            }
            Order::InTurn => {
                self.next += 1;
                self.next - 1
            }
        };
        Flow::number(self.first + number)
    }

    /// Wang Yi's wyrand: an addition, a multiplication, an exclusive or.
    #[inline(always)]
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.random) * u128::from(self.random ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    #[inline(always)]
    fn write(&mut self, mbuf: &mut Mbuf) {
        let flow = self.next_flow();
        let template = &self.templates[flow.service(self.templates.len())];
        if self.v6 {
            // Room for it there is: the frame came with 64 bytes in a buffer of 2 KiB.
            let _ = mbuf.append(LONG_FRAME - SHORT_FRAME);
            if let Some(out) = mbuf.data_mut().first_chunk_mut() {
                template.write_v6(flow, out);
            }
        } else if let Some(out) = mbuf.data_mut().first_chunk_mut() {
            template.write_v4(flow, out);
        }
    }
}

impl Source for Traffic {
    #[inline]
    fn fill(&mut self, burst: &mut Burst) {
        for mbuf in burst.iter_mut() {
            self.write(mbuf);
        }
        self.delay.exchange(burst);
    }
}

/// Bursts on their way, first in, first out.
struct Delay {
    bursts: Box<[Burst]>,
    at: usize,
}

impl Delay {
    fn new(bursts: usize) -> Self {
        Delay {
            bursts: (0..bursts).map(|_| Burst::new()).collect(),
            at: 0,
        }
    }

    /// Takes the newest burst in and gives the oldest out.
    #[inline]
    fn exchange(&mut self, burst: &mut Burst) {
        if let Some(oldest) = self.bursts.get_mut(self.at) {
            std::mem::swap(oldest, burst);
            self.at += 1;
            if self.at == self.bursts.len() {
                self.at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::wire::ipv4::Ipv4;
    use crate::wire::ipv6::Ipv6;
    use crate::wire::tcp::Tcp;
    use crate::wire::udp::Udp;

    const ACK: u8 = 0x10;

    #[test]
    fn frames_are_right() {
        for number in [0, 1, 77, 1 << 20, u64::MAX >> 24] {
            let flow = Flow::number(number);
            let mut frame = [0; SHORT_FRAME];
            Template::v4([198, 18, 0, 1], IpProtocol::TCP, 443, ACK).write_v4(flow, &mut frame);
            let ip = Ipv4::parse(&frame[L3..]).expect("a right header");
            assert_eq!(ip.header.source[0], 10);
            let tcp = Tcp::parse(ip.payload).expect("a right header");
            assert_eq!(tcp.header.ports.destination.get(), 443);
            assert_eq!(tcp.header.ports.source.get(), flow.port());

            let mut frame = [0; LONG_FRAME];
            Template::v6([0x20; 16], IpProtocol::UDP, 53, ACK).write_v6(flow, &mut frame);
            let ip = Ipv6::parse(&frame[L3..]).expect("a right header");
            let udp = Udp::parse(ip.payload).expect("a right header");
            assert_eq!(udp.header.ports.destination.get(), 53);
            assert_eq!(udp.header.ports.source.get(), flow.port());
        }
    }

    #[test]
    fn flows_differ_and_keep_their_service() {
        let key = |n| (Flow::number(n).client(), Flow::number(n).port());
        let seen: HashSet<_> = (0..100_000).map(key).collect();
        assert_eq!(seen.len(), 100_000);
        let mut share = [0u32; 100];
        for n in 0..100_000 {
            share[Flow::number(n).service(100)] += 1;
        }
        assert!(share.iter().all(|&n| (800..1200).contains(&n)), "{share:?}");
        // Beyond 40 bits a number names the flow that its low bits name.
        let (a, b) = (Flow::number(5), Flow::number(5 + (1 << Flow::BITS)));
        assert_eq!(
            (a.client(), a.port(), a.service(9)),
            (b.client(), b.port(), b.service(9))
        );
    }
}
