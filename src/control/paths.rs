//! The paths to the pool's tunnel ends, as far as routers have said that less fits than configured.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::pool::{Config, Encap};
use crate::table::Nanos;
use crate::table::path::{PathError, PathMtus, PathNews};
use crate::wire::IpProtocol;

/// What is known, and of whom something may be learnt.
#[derive(Default, Clone)]
pub struct Paths {
    known: PathMtus,
    news: Option<PathNews>,
    /// What the configuration has of tunnel ends, once it has been asked for: seldom under most configurations.
    ends: Option<Ends>,
}

/// The configured MTU by far end, protocol and UDP port: what is not in here sent us nothing back.
type Ends = HashMap<(IpAddr, u8, u16), u16>;

impl Paths {
    /// Forgets paths to tunnel ends that a new configuration does not have.
    pub fn configure(&mut self, config: &Config) {
        self.ends = None;
        if self.count() > 0 {
            let ends = tunnel_ends(config);
            let still: std::collections::HashSet<_> = ends.keys().map(|end| end.0).collect();
            self.known.retain(|address| still.contains(&address));
            self.ends = Some(ends);
        }
    }

    /// Hears what workers have read from now on.
    pub fn listen(&mut self, news: PathNews) {
        self.news = Some(news);
    }

    /// Takes note of what has come of the configuration's tunnel ends, and forgets what is old. Whether a path is
    /// another than before.
    pub fn tick(&mut self, config: &Config, now: Nanos) -> bool {
        let mut changed = self.known.expire(now);
        while let Some(error) = self.news.as_ref().and_then(|news| news.pop()) {
            changed |= self.learn(config, &error, now);
        }
        changed
    }

    fn learn(&mut self, config: &Config, error: &PathError, now: Nanos) -> bool {
        let end = (error.destination, error.protocol, error.port);
        let ends = self.ends.get_or_insert_with(|| tunnel_ends(config));
        let Some(&configured) = ends.get(&end) else {
            return false;
        };
        let smaller = self.known.learn(error, configured, now);
        if smaller {
            let mtu = self.known.get(error.destination);
            tracing::info!(end = %error.destination, mtu, "the path is smaller than configured");
        }
        smaller
    }

    /// The MTU of the path to a tunnel end, if it is known to be smaller than configured.
    pub fn mtu(&self, end: IpAddr) -> Option<u16> {
        self.known.get(end)
    }

    /// How many paths are known to be smaller than configured.
    pub fn count(&self) -> usize {
        self.known.iter().count()
    }
}

fn tunnel_ends(config: &Config) -> Ends {
    let mut ends = HashMap::new();
    let largest = config.ports.iter().map(|p| p.mtu.get()).max().unwrap_or(0);
    for service in &config.pool.services {
        let (protocol, port) = match service.encap {
            Encap::Gre { .. } => (IpProtocol::GRE, 0),
            Encap::Ipip if service.vip.is_ipv4() => (IpProtocol::IPIP, 0),
            Encap::Ipip => (IpProtocol::IPV6, 0),
            Encap::Gue { port } => (IpProtocol::UDP, port.get()),
            Encap::L3dsr { .. } | Encap::L2dsr => continue,
        };
        for backend in &service.backends {
            let mtu = backend.mtu.map_or(largest, |mtu| mtu.get());
            let known = ends
                .entry((backend.address, protocol.0, port))
                .or_insert(mtu);
            *known = mtu.max(*known);
        }
    }
    // Other rails, too: what is handed to them travels as far.
    let peers = config.other_peers().map(|peer| peer.address);
    let remotes = config.pool.remotes.iter().map(|remote| remote.address);
    for address in peers.chain(remotes) {
        ends.entry((address, IpProtocol::GRE.0, 0))
            .or_insert(largest);
    }
    ends
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;

    use super::*;
    use crate::pool::{Environment, parse};

    fn config(rails: &str) -> Config {
        let text = format!(
            "[node]\nname = \"rail-a\"\nworkers = [1]\n[[port]]\ndevice = \"net_null0\"\n\
             address = [\"192.0.2.10/24\"]\nmtu = 1600\n[pool]\npeer_key = 1\n\
             hash_key = \"000102030405060708090a0b0c0d0e0f\"\n{rails}"
        );
        let parsed = parse(&text, "test.toml", &Environment::any());
        parsed.expect("valid").0
    }

    /// What routers say of the way to another rail is believed, too; of the way to anybody else not.
    #[test]
    fn other_rails_are_tunnel_ends() {
        let rails = "[[peer]]\nname = \"rail-a\"\naddress = \"192.0.2.10\"\n\
                     [[peer]]\nname = \"rail-b\"\naddress = \"192.0.2.11\"\n\
                     [[remote]]\nname = \"far\"\naddress = \"198.51.100.1\"\n";
        let news: PathNews = Arc::new(ArrayQueue::new(8));
        let mut paths = Paths::default();
        let with_rails = config(rails);
        paths.configure(&with_rails);
        paths.listen(Arc::clone(&news));
        let address = |text: &str| text.parse::<IpAddr>().expect("test address");
        let gre = IpProtocol::GRE.0;
        for (to, protocol) in [
            ("192.0.2.10", gre),
            ("192.0.2.11", gre),
            ("198.51.100.1", gre),
            ("198.51.100.2", gre),
            ("198.51.100.1", IpProtocol::IPIP.0),
        ] {
            let error = PathError {
                destination: address(to),
                protocol,
                port: 0,
                mtu: if protocol == gre { 1400 } else { 1300 },
                length: 1600,
            };
            news.push(error).expect("room");
        }
        assert!(paths.tick(&with_rails, Nanos::from_secs(1)));
        assert_eq!(paths.count(), 2);
        assert_eq!(paths.mtu(address("192.0.2.11")), Some(1400));
        assert_eq!(paths.mtu(address("198.51.100.1")), Some(1400));
        paths.configure(&config(""));
        assert_eq!(paths.count(), 0, "they are no rails any more");
    }
}
