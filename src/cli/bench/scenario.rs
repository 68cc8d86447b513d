//! What is measured: traffic and the service it meets.

use std::fmt;

use super::pool::Shape;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport protocols of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP and UDP in random order.
    Mixed,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Senders {
    /// So many flows, all of them known, in random order.
    Known(u64),
    /// Every packet is the first of its flow.
    New,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// Who sends.
    pub senders: Senders,
    /// Transport protocols.
    pub transport: Transport,
    /// IP version of the packets.
    pub inner: Inner,
    /// IP version of the backends.
    pub outer: Inner,
    /// The lines of a service that say how packets reach its backends.
    pub encap: &'static str,
    /// Whether the headers have left the nearer caches when they are read.
    pub cold: bool,
}

/// Flows of the scenarios that are not about their number.
const FLOWS: u64 = 1_000_000;

const GRE: &str = "encap = \"gre\"";

/// Known TCP connections, IPv4 in GRE over IPv4: what the others vary.
pub const HIT: Scenario = Scenario {
    name: "hit",
    senders: Senders::Known(FLOWS),
    transport: Transport::Tcp,
    inner: Inner::V4,
    outer: Inner::V4,
    encap: GRE,
    cold: false,
};

/// The scenarios, the known flows once for each of `flows`.
pub fn all(flows: &[u64]) -> Vec<Scenario> {
    let mut all: Vec<_> = flows
        .iter()
        .map(|&flows| Scenario {
            senders: Senders::Known(flows),
            ..HIT
        })
        .collect();
    all.extend([1, FLOWS].map(|flows| Scenario {
        name: "connectionless",
        senders: Senders::Known(flows),
        transport: Transport::Udp,
        encap: "encap = \"gre\"\ntrack = false",
        ..HIT
    }));
    all.extend([
        Scenario {
            name: "flood",
            senders: Senders::New,
            ..HIT
        },
        Scenario {
            name: "mixed",
            transport: Transport::Mixed,
            ..HIT
        },
        Scenario {
            name: "udp",
            transport: Transport::Udp,
            ..HIT
        },
        Scenario {
            name: "cold",
            cold: true,
            ..HIT
        },
        Scenario {
            name: "ipv6",
            inner: Inner::V6,
            ..HIT
        },
        Scenario {
            name: "ipv6-in-ipv6",
            inner: Inner::V6,
            outer: Inner::V6,
            ..HIT
        },
        Scenario {
            name: "gre-in-ipv6",
            outer: Inner::V6,
            ..HIT
        },
        Scenario {
            name: "gre-key",
            encap: "encap = \"gre\"\ngre_key = 7",
            ..HIT
        },
        Scenario {
            name: "ipip",
            encap: "encap = \"ipip\"",
            ..HIT
        },
        Scenario {
            name: "gue",
            encap: "encap = \"gue\"",
            ..HIT
        },
        Scenario {
            name: "l3dsr",
            encap: "encap = \"l3dsr\"\ndscp = 9",
            ..HIT
        },
    ]);
    all
}

impl Scenario {
    /// The pool it needs.
    pub fn shape(&self, services: usize, backends: usize) -> Shape {
        Shape {
            services,
            backends,
            inner: self.inner,
            outer: self.outer,
            transport: self.transport,
            encap: self.encap,
        }
    }

    /// Number of flows, if it is limited.
    pub fn flows(&self) -> Option<u64> {
        match self.senders {
            Senders::Known(flows) => Some(flows),
            Senders::New => None,
        }
    }
}

impl fmt::Display for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Senders::Known(flows) => f.pad(&short(*flows)),
            Senders::New => f.pad("new"),
        }
    }
}

/// `1k` for 1000, `10M` for 10,000,000.
fn short(number: u64) -> String {
    match number {
        n if n > 0 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        n if n > 0 && n.is_multiple_of(1000) => format!("{}k", n / 1000),
        n => n.to_string(),
    }
}

/// Reads what [`Senders`] prints for a number of flows.
pub fn parse_flows(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let number = digits.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    number
        .filter(|n| (1..=MAX_FLOWS).contains(n))
        .ok_or_else(|| {
            format!(
                "a number of flows from 1 to {}, such as 1, 100k or 10M",
                short(MAX_FLOWS)
            )
        })
}

/// More would need a connection table of many GiB.
const MAX_FLOWS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_flows_read_as_they_print() {
        for flows in [1, 999, 1000, 100_000, 1_500_000, 10_000_000] {
            let text = Senders::Known(flows).to_string();
            assert_eq!(parse_flows(&text), Ok(flows), "{text}");
        }
        for text in ["", "0", "k", "-1", "1e6", "101M", "99999999999999999999M"] {
            assert!(parse_flows(text).is_err(), "{text}");
        }
    }
}
