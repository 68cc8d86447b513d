//! A pool as the text of a configuration file.

use std::fmt::{self, Display, Formatter};

use super::parse::duration;
use super::{Affinity, Backend, Draft, Encap, GUE_PORT, Ingress, Ports, Protocol, Service};

/// Writes the tables of a pool: `[pool]`, `[[peer]]`, `[[remote]]` and `[[service]]`.
///
/// Reading the text back gives an equal pool. Keys that have their default value are left out,
/// except those a reader looks for: protocol, port, encapsulation, weight and state.
pub fn to_toml(pool: &Draft) -> String {
    Text(pool).to_string()
}

/// The pool as `Display` writes it. No value of a pool needs escaping: names, addresses, numbers
/// and words hold neither quotes nor backslashes.
struct Text<'a>(&'a Draft);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Draft {
            hash_key,
            table_size,
            peer_key,
            ingress,
            peers,
            remotes,
            services,
        } = self.0;
        writeln!(
            f,
            "[pool]\nhash_key = \"{hash_key}\"\ntable_size = {table_size}"
        )?;
        if let Some(key) = peer_key {
            writeln!(f, "peer_key = {key}")?;
        }
        if *ingress != Ingress::default() {
            writeln!(f, "ingress = \"{}\"", ingress.as_str())?;
        }
        for peer in peers {
            writeln!(
                f,
                "\n[[peer]]\nname = \"{}\"\naddress = \"{}\"",
                peer.name, peer.address
            )?;
        }
        for remote in remotes {
            let (name, address) = (&remote.name, remote.address);
            writeln!(
                f,
                "\n[[remote]]\nname = \"{name}\"\naddress = \"{address}\""
            )?;
        }
        services
            .iter()
            .try_for_each(|service| write_service(f, service))
    }
}

fn write_service(f: &mut Formatter<'_>, service: &Service) -> fmt::Result {
    writeln!(
        f,
        "\n[[service]]\nname = \"{}\"\nvip = \"{}\"",
        service.name, service.vip
    )?;
    match service.protocol {
        Protocol::Number(number) if !service.protocol.has_ports() => {
            writeln!(f, "protocol = {number}")?;
        }
        protocol => writeln!(f, "protocol = \"{protocol}\"")?,
    }
    match service.ports {
        Ports::One(port) => writeln!(f, "port = {port}")?,
        ports => writeln!(f, "port = \"{ports}\"")?,
    }
    writeln!(f, "encap = \"{}\"", service.encap.as_str())?;
    match service.encap {
        Encap::Gre { key: Some(key) } => writeln!(f, "gre_key = {key}")?,
        Encap::Gue { port } if port != GUE_PORT => writeln!(f, "gue_port = {port}")?,
        Encap::L3dsr { dscp } => writeln!(f, "dscp = {}", dscp.get())?,
        Encap::Gre { key: None } | Encap::Gue { .. } | Encap::Ipip | Encap::L2dsr => {}
    }
    if service.affinity != Affinity::default() {
        writeln!(f, "affinity = \"{}\"", service.affinity.as_str())?;
    }
    if !service.track {
        writeln!(f, "track = false")?;
    }
    if let Some(limit) = service.new_connections_per_second {
        writeln!(f, "new_connections_per_second = {limit}")?;
    }
    if let Some(deadline) = service.drain_deadline {
        writeln!(f, "drain_deadline = \"{}\"", duration::write(deadline))?;
    }
    service
        .backends
        .iter()
        .try_for_each(|backend| write_backend(f, backend))
}

fn write_backend(f: &mut Formatter<'_>, backend: &Backend) -> fmt::Result {
    let Backend {
        name,
        address,
        weight,
        state,
        mtu,
    } = backend;
    writeln!(
        f,
        "\n[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\""
    )?;
    writeln!(
        f,
        "weight = {}\nstate = \"{}\"",
        weight.get(),
        state.as_str()
    )?;
    match mtu {
        Some(mtu) => writeln!(f, "mtu = {}", mtu.get()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::num::{NonZeroU16, NonZeroU32};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::pool::{
        Dscp, HashKey, IpPrefix, MAX_WEIGHT, Mtu, Name, Peer, Pool, Remote, State, TableSize,
        Weight, parse_pool,
    };

    /// Addresses of either family that packets can be sent to, apart from those of [`vips`].
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0..=u16::MAX)
                .prop_map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + u32::from(low)))),
            any::<u16>()
                .prop_map(|low| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, low))),
        ]
    }

    fn vip() -> impl Strategy<Value = IpPrefix> {
        prop_oneof![
            (any::<u8>(), 24..=32u8).prop_map(|(low, len)| {
                let bits = 0xcb00_7100 + u32::from(low);
                let network = bits & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpPrefix::new(Ipv4Addr::from_bits(network).into(), len).unwrap()
            }),
            any::<u16>().prop_map(|low| {
                IpPrefix::host(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, low).into())
            }),
        ]
    }

    fn name() -> impl Strategy<Value = Name> {
        proptest::collection::vec(proptest::sample::select(b"abz019._-".to_vec()), 0..6)
            .prop_map(|rest| Name::new(&format!("n{}", String::from_utf8(rest).unwrap())).unwrap())
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![
            Just(Protocol::Any),
            Just(Protocol::TCP),
            Just(Protocol::UDP),
            any::<u8>().prop_map(Protocol::Number),
        ]
    }

    fn ports() -> impl Strategy<Value = Ports> {
        prop_oneof![
            Just(Ports::Any),
            (1..=u16::MAX).prop_map(|port| Ports::one(port).unwrap()),
            (1..=u16::MAX, any::<u16>()).prop_map(|(low, more)| Ports::range(
                low,
                low.saturating_add(more)
            )
            .unwrap()),
        ]
    }

    fn encap() -> impl Strategy<Value = Encap> {
        prop_oneof![
            any::<Option<u32>>().prop_map(|key| Encap::Gre { key }),
            Just(Encap::Ipip),
            any::<NonZeroU16>().prop_map(|port| Encap::Gue { port }),
            (1..=Dscp::MAX).prop_map(|dscp| Encap::L3dsr {
                dscp: Dscp::new(dscp).unwrap()
            }),
            Just(Encap::L2dsr),
        ]
    }

    fn backend() -> impl Strategy<Value = Backend> {
        let states = State::WORDS.map(|(_, state)| state);
        let mtu = proptest::option::of(Mtu::MIN..=Mtu::MAX);
        (
            name(),
            address(),
            0..=MAX_WEIGHT,
            proptest::sample::select(states.to_vec()),
            mtu,
        )
            .prop_map(|(name, address, weight, state, mtu)| Backend {
                name,
                address,
                weight: Weight::new(weight).unwrap(),
                state,
                mtu: mtu.and_then(Mtu::new),
            })
    }

    fn service() -> impl Strategy<Value = Service> {
        let seconds = proptest::option::of(1..=86_400u64);
        let match_key = (name(), vip(), protocol(), ports());
        let rest = (
            encap(),
            any::<(bool, bool)>(),
            any::<Option<NonZeroU32>>(),
            seconds,
        );
        (match_key, rest, proptest::collection::vec(backend(), 0..4)).prop_map(
            |((name, vip, protocol, ports), (encap, (source, track), limit, seconds), backends)| {
                Service {
                    name,
                    vip,
                    protocol,
                    ports,
                    encap,
                    affinity: if source {
                        Affinity::Source
                    } else {
                        Affinity::Flow
                    },
                    track,
                    new_connections_per_second: limit,
                    drain_deadline: seconds.map(Duration::from_secs),
                    backends,
                }
            },
        )
    }

    fn draft() -> impl Strategy<Value = Draft> {
        let rails = || proptest::collection::vec((name(), address()), 0..3);
        let services = proptest::collection::vec(service(), 0..4);
        (
            any::<[u8; 16]>(),
            any::<Option<u32>>(),
            any::<bool>(),
            rails(),
            rails(),
            services,
        )
            .prop_map(|(key, peer_key, mirror, peers, remotes, services)| Draft {
                hash_key: HashKey::from_bytes(key),
                table_size: TableSize::new(251).unwrap(),
                peer_key,
                ingress: if mirror {
                    Ingress::Mirror
                } else {
                    Ingress::Ecmp
                },
                peers: peers
                    .into_iter()
                    .map(|(name, address)| Peer { name, address })
                    .collect(),
                remotes: remotes
                    .into_iter()
                    .map(|(name, address)| Remote { name, address })
                    .collect(),
                services,
            })
    }

    proptest! {
        /// Holds for invalid pools too: what the text says is refused for the same reasons.
        #[test]
        fn what_is_written_reads_the_same(draft in draft()) {
            let read = parse_pool(&to_toml(&draft), "pool.toml");
            match (Pool::new(draft), read) {
                (Ok(written), Ok((read, _))) => prop_assert_eq!(written, read),
                (Err(written), Err(read)) => {
                    let mut written: Vec<_> = written.iter().map(|v| v.message.clone()).collect();
                    let mut read: Vec<_> = read.into_iter().map(|found| found.message).collect();
                    written.sort();
                    read.sort();
                    prop_assert_eq!(written, read);
                }
                (written, read) => prop_assert!(false, "{:?} but {:?}", written, read),
            }
        }
    }
}
