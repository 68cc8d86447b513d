//! The pool that is measured: many services with many backends, all in address ranges set aside for
//! benchmarks (RFC 2544, RFC 5180).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::scenario::{Inner, Transport};
use crate::pool::{Config, Diagnostic, Environment, parse};
use crate::wire::IpProtocol;
use crate::wire::tcp::TcpFlags;
use crate::worker::bench::traffic::Template;

/// What the pool is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Services.
    pub services: usize,
    /// Backends of each.
    pub backends: usize,
    /// IP version of the VIPs.
    pub inner: Inner,
    /// IP version of the backends' addresses.
    pub outer: Inner,
    /// Transport of the services.
    pub transport: Transport,
    /// The lines of a service that say how packets reach its backends.
    pub encap: &'static str,
}

/// Most services a pool is made for: a byte of the address tells them apart, another is left.
pub const MAX_SERVICES: usize = 10_000;
/// Most backends of one service.
pub const MAX_BACKENDS: usize = 1_000;
/// New entries per second that are let through: more than any core makes.
const NEW_PINS: u32 = 50_000_000;

impl Shape {
    /// The configuration.
    ///
    /// # Errors
    /// What is wrong with it, should a shape make no valid pool.
    pub fn config(&self) -> Result<Config, Vec<Diagnostic>> {
        let text = self.text();
        parse(&text, "the measured pool", &Environment::any()).map(|(config, _)| config)
    }

    /// A frame for each service; `syn` begins a connection, else it goes on.
    pub fn templates(&self, syn: bool) -> Vec<Template> {
        let flags = if syn { TcpFlags::SYN } else { TcpFlags::ACK };
        let services = 0..self.services;
        services
            .map(|index| match self.inner {
                Inner::V4 => {
                    Template::v4(vip4(index).octets(), self.protocol(index), PORT, flags.0)
                }
                Inner::V6 => {
                    Template::v6(vip6(index).octets(), self.protocol(index), PORT, flags.0)
                }
            })
            .collect()
    }

    fn protocol(&self, service: usize) -> IpProtocol {
        match self.transport {
            Transport::Tcp => IpProtocol::TCP,
            Transport::Udp => IpProtocol::UDP,
            Transport::Mixed if service.is_multiple_of(2) => IpProtocol::TCP,
            Transport::Mixed => IpProtocol::UDP,
        }
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let backends = self.services * self.backends;
        let _ = write!(
            text,
            "[limits]\nnew_pins_per_second = {NEW_PINS}\nbackends = {}\n",
            backends.max(1)
        );
        for service in 0..self.services {
            let protocol = match self.protocol(service) {
                IpProtocol::UDP => "udp",
                _ => "tcp",
            };
            let vip = match self.inner {
                Inner::V4 => vip4(service).to_string(),
                Inner::V6 => vip6(service).to_string(),
            };
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "[[service]]\nname = \"s{service}\"\nvip = \"{vip}\"\nprotocol = \"{protocol}\"\n\
                 port = {PORT}\n{}\n",
                self.encap
            );
            for backend in 0..self.backends {
                let number = (service * self.backends + backend) as u32;
                let address = match self.outer {
                    Inner::V4 => Ipv4Addr::from(FIRST_BACKEND + number).to_string(),
                    Inner::V6 => Ipv6Addr::from(FIRST_BACKEND_V6 + u128::from(number)).to_string(),
                };
                let _ = write!(
                    text,
                    "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{address}\"\n"
                );
            }
        }
        text
    }
}

/// The services' port.
const PORT: u16 = 443;

/// 10.64.0.0: room for ten million backends that are not on the port's own subnet.
const FIRST_BACKEND: u32 = 0x0a40_0000;
const FIRST_BACKEND_V6: u128 = 0x2001_0002_0000_0001 << 64;

/// 198.18.0.0/15.
fn vip4(service: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc612_0000 + service as u32)
}

/// 2001:2::/48.
fn vip6(service: usize) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0002_u128 << 96) + service as u128)
}

/// Everything but the services. The device is a place holder: the port is opened by the bench itself.
const HEAD: &str = r#"
[node]
name = "bench"
workers = [0]

[[port]]
device = "net_null0"
address = ["192.0.2.10/24", "2001:db8:1::10/64"]
gateway = ["192.0.2.1", "2001:db8:1::1"]
mtu = 1600

[[neighbor]]
address = "192.0.2.1"
mac = "02:00:00:00:00:fe"

[[neighbor]]
address = "2001:db8:1::1"
mac = "02:00:00:00:00:fe"

[tunnel]
source = "192.0.2.10"
source6 = "2001:db8:1::10"

[pool]
hash_key = "000102030405060708090a0b0c0d0e0f"

"#;

#[cfg(test)]
mod tests {
    use super::super::scenario::all;

    #[test]
    fn every_scenario_has_a_valid_pool() {
        for scenario in all(&[1000]) {
            let shape = scenario.shape(3, 2);
            let config = shape.config().unwrap_or_else(|found| panic!("{found:?}"));
            assert_eq!(config.pool.services.len(), 3);
            assert_eq!(shape.templates(false).len(), 3);
        }
    }
}
