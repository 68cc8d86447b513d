//! Configurations, traffic, and what is said about the outcome.

use rustyrail::pipeline::frame::Frame as _;
use rustyrail::pipeline::verdict::{DropReason, Verdict};
use rustyrail::table::snapshot::PortIndex;
use rustyrail::testkit::{Frame, PacketBuilder, Rail, ether};

pub const CLIENT: &str = "198.51.100.7";
pub const VIP: &str = "203.0.113.10";
pub const RAIL: &str = "192.0.2.10";
pub const ROUTER: &str = "192.0.2.1";
pub const BACKEND: &str = "198.18.0.1";

/// The parts of a file that do not matter to most tests. The MTU leaves room for the headers of any
/// tunnel in front of 1,500 bytes.
const NODE: &str = r#"
    [node]
    name = "rail-a"
    workers = [0]
    control_core = 1
    flows = 1024
    [pool]
    hash_key = "000102030405060708090a0b0c0d0e0f"
    table_size = 251
"#;

const PORT: &str = r#"
    [[port]]
    device = "net_null0"
    address = ["192.0.2.10/24"]
    gateway = ["192.0.2.1"]
    mtu = 1600
"#;

/// A configuration with one port and these services.
pub fn one_port(services: &str) -> String {
    [NODE, PORT, services].concat()
}

/// A configuration with these ports, services and other tables.
pub fn config(rest: &str) -> String {
    [NODE, rest].concat()
}

/// A service on [`VIP`]: `what` is its match and encapsulation, backends are called `name-1`, `name-2`
/// and so on.
pub fn service(name: &str, what: &str, backends: &[&str]) -> String {
    let mut text = format!("\n[[service]]\nname = \"{name}\"\nvip = \"{VIP}\"\n{what}\n");
    for (index, backend) in backends.iter().enumerate() {
        let number = index + 1;
        text += &format!(
            "[[service.backend]]\nname = \"{name}-{number}\"\naddress = \"198.18.0.{number}\"\n\
             {backend}\n"
        );
    }
    text
}

/// TCP port 443 of [`VIP`], with one backend at [`BACKEND`].
pub fn web() -> String {
    service("web", "protocol = \"tcp\"\nport = 443", &[""])
}

/// UDP port 53 of [`VIP`], with one backend.
pub fn dns() -> String {
    service("dns", "protocol = \"udp\"\nport = 53", &[""])
}

pub fn web_rail() -> Rail {
    Rail::new(&one_port(&web()))
}

/// A segment from [`CLIENT`] to port 443 of [`VIP`].
pub fn https(port: u16) -> PacketBuilder {
    ether().ipv4(CLIENT, VIP).tcp(port, 443)
}

/// A query from [`CLIENT`] to port 53 of [`VIP`].
pub fn query(port: u16) -> PacketBuilder {
    ether().ipv4(CLIENT, VIP).udp(port, 53).payload("query")
}

/// Out of the first port, towards a backend.
pub const FORWARD: Verdict = Verdict::Forward(PortIndex(0));
/// Out of the first port, from the rail itself.
pub const REPLY: Verdict = Verdict::Reply(PortIndex(0));
/// To the host behind the first port.
pub const HOST: Verdict = Verdict::Host(PortIndex(0));

/// Asserts that exactly these counters moved since the last look, and by that much.
macro_rules! assert_moved {
    ($rail:expr $(, $counter:expr => $by:expr)* $(,)?) => {
        let expected: std::collections::BTreeMap<String, u64> =
            [$(($counter.to_string(), $by)),*].into_iter().collect();
        assert_eq!($rail.moved(), expected, "counters that moved, and those expected");
    };
}
pub(crate) use assert_moved;

/// Receives `input` on a fresh rail: the verdict is `expected`, and no counter moves but its own.
#[track_caller]
pub fn check(config: &str, input: impl Into<Input>, expected: Verdict) {
    check_on(&mut Rail::new(config), input, expected);
}

/// As [`check`], on a rail that has been running. Forwarded packets go to `web-1`, as a new connection.
#[track_caller]
pub fn check_on(rail: &mut Rail, input: impl Into<Input>, expected: Verdict) {
    let Input(bytes) = input.into();
    rail.moved();
    let (verdict, frame) = rail.receive(bytes.as_slice());
    assert_eq!(verdict, expected, "for {bytes:02x?}");
    match verdict {
        Verdict::Forward(_) => {
            assert_moved!(rail, "web/web-1" => 1, "misses" => 1, "inserts" => 1);
        }
        Verdict::Reply(_) => {
            assert_moved!(rail, "replies" => 1);
        }
        Verdict::Heard => {
            assert_moved!(rail, "to_host" => 1);
        }
        Verdict::Host(_) => {
            assert_moved!(rail, "to_host" => 1);
            assert_eq!(frame.data(), bytes, "the host gets frames as they came");
        }
        Verdict::Drop(reason) => {
            assert_moved!(rail, reason.label() => 1);
        }
        Verdict::Hold(_) | Verdict::Await | Verdict::Split(_) => {
            assert_eq!(frame.data(), bytes, "held frames stay as they came");
        }
    }
}

/// Asserts that the frame is dropped for `reason`, by the rail of most tests.
#[track_caller]
pub fn check_dropped(input: impl Into<Input>, reason: DropReason) {
    check(&one_port(&web()), input, Verdict::Drop(reason));
}

/// The bytes of a frame.
pub struct Input(pub Vec<u8>);

impl From<PacketBuilder> for Input {
    fn from(packet: PacketBuilder) -> Self {
        Input(packet.build())
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Input(bytes)
    }
}

impl From<&[u8]> for Input {
    fn from(bytes: &[u8]) -> Self {
        Input(bytes.to_vec())
    }
}

/// A forwarded frame with an outer IPv4 header, taken apart without the rail's own parsers.
#[derive(Debug, PartialEq, Eq)]
pub struct Outer {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    pub vlan: Option<u16>,
    pub tos: u8,
    pub protocol: u8,
    pub source: [u8; 4],
    pub destination: [u8; 4],
    /// All behind the outer IPv4 header.
    pub payload: Vec<u8>,
}

impl Outer {
    /// Reads the frame; panics unless the header is just what every outer IPv4 header has to be.
    #[track_caller]
    pub fn of(frame: &Frame) -> Self {
        let data = frame.data();
        let be = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
        let (vlan, l3) = match be(12) {
            0x8100 => (Some(be(14) & 0xfff), 18),
            _ => (None, 14),
        };
        assert_eq!(be(l3 - 2), 0x0800, "EtherType");
        let ip = &data[l3..];
        assert_eq!(ip[0], 0x45, "version and header length");
        assert_eq!(usize::from(be(l3 + 2)), ip.len(), "total length");
        assert_eq!(be(l3 + 4), 0, "identification");
        assert_eq!(be(l3 + 6), 0x4000, "DF and nothing else");
        assert_eq!(ip[8], 64, "TTL");
        let sum: u32 = (0..20).step_by(2).map(|at| u32::from(be(l3 + at))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "header checksum");
        let array = |at: usize| ip[at..at + 4].try_into().expect("four bytes");
        Outer {
            destination_mac: data[..6].try_into().expect("six bytes"),
            source_mac: data[6..12].try_into().expect("six bytes"),
            vlan,
            tos: ip[1],
            protocol: ip[9],
            source: array(12),
            destination: array(16),
            payload: ip[20..].to_vec(),
        }
    }
}

/// The IP packet in an untagged frame.
pub fn ip_of(packet: &PacketBuilder) -> Vec<u8> {
    packet.build()[14..].to_vec()
}
