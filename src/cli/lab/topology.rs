//! What a lab consists of: hosts, their segments and addresses, and the drawing of it all.

use std::net::Ipv4Addr;

/// The virtual address all services of a lab share.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// What the router routes to the rails.
pub const VIP_PREFIX: &str = "203.0.113.0/24";
/// The subnet length of every segment.
pub const PREFIX_LEN: u8 = 24;
/// The host part of the router's address on every segment.
const ROUTER_HOST: u8 = 1;
/// The host part of the first client and the first rail.
const FIRST_HOST: u8 = 10;
/// The host part of the first backend, so that `web-1` is .11, `web-2` .12.
const FIRST_BACKEND: u8 = 11;

/// How many hosts of each kind one lab may have: every one costs a namespace and, for rails and
/// backends, processes on the same few cores; rails are lettered, `rail-a` to `rail-h`.
pub const MAX_HOSTS: u8 = 8;

/// What a host does in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends requests to the VIP.
    Client,
    /// Runs `rail run` on an af_packet port.
    Rail,
    /// Runs nginx on the VIP behind a tunnel end.
    Backend,
}

/// One host: a namespace with one interface, `eth0`, on the segment of its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name in the lab, such as `rail-a` or `web-1`.
    pub name: String,
    pub role: Role,
    pub address: Ipv4Addr,
}

/// The hosts of a lab. The router stands in the middle and is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub clients: Vec<Host>,
    pub rails: Vec<Host>,
    pub backends: Vec<Host>,
}

/// The router's name among the hosts.
pub const ROUTER: &str = "router";

impl Role {
    pub const ALL: [Role; 3] = [Role::Client, Role::Rail, Role::Backend];

    /// The network address of this role's segment: RFC 2544's benchmarking range for clients,
    /// RFC 5737's documentation ranges for the rest.
    pub fn segment(self) -> Ipv4Addr {
        match self {
            Role::Client => Ipv4Addr::new(198, 18, 0, 0),
            Role::Rail => Ipv4Addr::new(192, 0, 2, 0),
            Role::Backend => Ipv4Addr::new(198, 51, 100, 0),
        }
    }

    /// The router's bridge on this role's segment.
    pub fn bridge(self) -> &'static str {
        match self {
            Role::Client => "br-clients",
            Role::Rail => "br-rails",
            Role::Backend => "br-backends",
        }
    }

    /// The router's address on this role's segment.
    pub fn gateway(self) -> Ipv4Addr {
        self.address(ROUTER_HOST)
    }

    fn address(self, host: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.segment().octets();
        Ipv4Addr::new(a, b, c, host)
    }
}

impl Host {
    /// The MAC address of its interface: locally administered, ending in its IPv4 address, so that
    /// captures can be read.
    pub fn mac(&self) -> String {
        let [a, b, c, d] = self.address.octets();
        format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

impl Topology {
    /// A lab of this many hosts of each role, each count from 1 to [`MAX_HOSTS`].
    pub fn new(clients: u8, rails: u8, backends: u8) -> Self {
        let hosts = |role: Role, count: u8, first: u8, name: &dyn Fn(u8) -> String| {
            (0..count.clamp(1, MAX_HOSTS))
                .map(|i| Host {
                    name: name(i),
                    role,
                    address: role.address(first + i),
                })
                .collect()
        };
        Self {
            clients: hosts(Role::Client, clients, FIRST_HOST, &|i| {
                format!("client-{}", i + 1)
            }),
            rails: hosts(Role::Rail, rails, FIRST_HOST, &|i| {
                format!("rail-{}", char::from(b'a' + i))
            }),
            backends: hosts(Role::Backend, backends, FIRST_BACKEND, &|i| {
                format!("web-{}", i + 1)
            }),
        }
    }

    /// All hosts but the router.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clients.iter().chain(&self.rails).chain(&self.backends)
    }

    /// The hosts of one role.
    pub fn of(&self, role: Role) -> &[Host] {
        match role {
            Role::Client => &self.clients,
            Role::Rail => &self.rails,
            Role::Backend => &self.backends,
        }
    }

    /// The picture printed by `rail lab up` and `rail lab demo`.
    pub fn drawing(&self) -> String {
        let row = |role: Role| {
            let cells: Vec<String> = self
                .of(role)
                .iter()
                .map(|host| format!("[{} {}]", host.name, host.address))
                .collect();
            cells.join(" ")
        };
        let segment = |role: Role| format!("{}/{PREFIX_LEN}", role.segment());
        let rails: Vec<&str> = self.rails.iter().map(|rail| rail.name.as_str()).collect();
        format!(
            "  {clients}
            |  {client_segment}
        [{ROUTER}]   {VIP_PREFIX} by layer-4 ECMP over {rails}
         |     |
         |     |  {rail_segment}
         |    {rail_row}
         |
         |  {backend_segment}
  {backends}

  client -> router -> rail        the packet for {VIP}, as it came
  rail -> router -> backend       the same packet in GRE, to the backend Maglev chose
  backend -> router -> client     the answer, past the rails
",
            clients = row(Role::Client),
            client_segment = segment(Role::Client),
            rails = rails.join(", "),
            rail_segment = segment(Role::Rail),
            rail_row = row(Role::Rail),
            backend_segment = segment(Role::Backend),
            backends = row(Role::Backend),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_the_documented_ones() {
        let topology = Topology::new(2, 2, 3);
        let found: Vec<String> = topology
            .hosts()
            .map(|host| format!("{} {}", host.name, host.address))
            .collect();
        assert_eq!(
            found,
            [
                "client-1 198.18.0.10",
                "client-2 198.18.0.11",
                "rail-a 192.0.2.10",
                "rail-b 192.0.2.11",
                "web-1 198.51.100.11",
                "web-2 198.51.100.12",
                "web-3 198.51.100.13",
            ]
        );
        assert_eq!(Role::Rail.gateway(), Ipv4Addr::new(192, 0, 2, 1));
    }

    #[test]
    fn the_drawing_names_every_host() {
        let topology = Topology::new(1, MAX_HOSTS, MAX_HOSTS);
        let drawing = topology.drawing();
        for host in topology.hosts() {
            assert!(
                drawing.contains(&host.name),
                "{} is not in\n{drawing}",
                host.name
            );
            assert!(drawing.contains(&host.address.to_string()));
        }
    }
}
