//! What a file that is accepted means.

use std::net::IpAddr;
use std::time::Duration;

use rustyrail::pool::{
    Accept, Affinity, Encap, Environment, HugePages, Ingress, IpPrefix, Ports, Protocol, State,
    load_for, parse, parse_pool, to_toml,
};

use super::{BASE, config, findings};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_base_means_what_it_says() {
    let config = config(BASE);
    assert_eq!(config.node.name.as_str(), "rail-a");
    assert_eq!(config.node.workers, [2, 3]);
    assert_eq!(config.node.control_core, 1);
    assert_eq!(config.node.metrics, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(
        config.node.control_socket.to_str(),
        Some("/run/rustyrail/rail-a.sock")
    );
    assert!(config.node.idle);
    assert_eq!(config.dpdk.hugepages, HugePages::Auto);
    let names: Vec<_> = config.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["port0", "port1"]);
    assert_eq!(
        config.ports[0].gateways,
        [ip("192.0.2.1"), ip("2001:db8::1")]
    );
    assert_eq!(config.ports[0].mtu.get(), 1600);
    assert_eq!(config.neighbors[0].mac.to_string(), "02:00:00:00:00:fe");
    assert_eq!(config.pool.table_size.get(), 65537);
    assert_eq!(config.pool.peer_key, Some(7));
    assert_eq!(config.pool.ingress, Ingress::Ecmp);
    assert_eq!(config.pool.remotes[0].address, ip("203.0.113.200"));
    assert_eq!(config.timeouts.tcp, Duration::from_secs(3600));
    assert_eq!(config.limits.backends, 1000);
    let web = &config.pool.services[0];
    assert_eq!(web.vip, IpPrefix::host(ip("203.0.113.10")));
    assert_eq!(web.protocol, Protocol::TCP);
    assert_eq!(web.ports, Ports::one(443).unwrap());
    assert_eq!(web.encap, Encap::Gre { key: None });
    assert_eq!(web.affinity, Affinity::Flow);
    assert!(web.track);
    assert_eq!(web.backends[0].weight.get(), 100);
    assert_eq!(web.backends[0].state, State::Up);
    assert_eq!(web.backends[1].weight.get(), 50);
}

#[test]
fn tunnel_defaults_come_from_ports_and_peers() {
    let text = BASE.replace("[tunnel]\nsource = \"192.0.2.10\"\n", "");
    let config = config(&text);
    assert_eq!(
        config.tunnel.source.map(IpAddr::from),
        Some(ip("192.0.2.10"))
    );
    assert_eq!(
        config.tunnel.source6.map(IpAddr::from),
        Some(ip("2001:db8::10"))
    );
    assert_eq!(config.tunnel.accept, Accept::GatewaysAndPeers);
    // Of the peers, the one that is this rail does not count.
    let accepted = ["192.0.2.1", "192.0.2.11", "2001:db8::1"].map(|text| IpPrefix::host(ip(text)));
    assert_eq!(config.tunnel_accept(), accepted);
    assert_eq!(
        config
            .port_on_link(ip("198.51.100.77"))
            .map(|(index, _)| index),
        Some(1)
    );
    assert!(config.port_on_link(ip("10.0.0.1")).is_none());
}

#[test]
fn every_kind_of_service() {
    let text = BASE.to_owned()
        + r#"
        [[service]]
        name = "all"
        vip = "203.0.113.64/26"
        [[service.backend]]
        name = "b"
        address = "198.51.100.1"
        state = "drain"
        weight = 0
        mtu = 1550

        [[service]]
        name = "sctp"
        vip = "203.0.113.10"
        protocol = 132
        port = "8000-8099"
        encap = "gue"
        gue_port = 6081
        affinity = "source"
        track = true
        new_connections_per_second = 10
        drain_deadline = "1m30s"
        [[service.backend]]
        name = "b"
        address = "2001:db8::1:1"

        [[service]]
        name = "direct"
        vip = "203.0.113.11"
        encap = "l3dsr"
        dscp = 63
        affinity = "source"
        track = false
        [[service.backend]]
        name = "b"
        address = "198.51.100.1"
        "#;
    let pool = config(&text).pool;
    let [_, _, all, sctp, direct] = &pool.services[..] else {
        panic!("five services")
    };
    assert_eq!(all.vip.to_string(), "203.0.113.64/26");
    assert_eq!((all.protocol, all.ports), (Protocol::Any, Ports::Any));
    assert_eq!(all.backends[0].state, State::Drain);
    assert!(!all.backends[0].has_slots());
    assert_eq!(all.backends[0].mtu.map(|mtu| mtu.get()), Some(1550));
    assert_eq!(sctp.protocol, Protocol::SCTP);
    assert_eq!(sctp.ports, Ports::range(8000, 8099).unwrap());
    assert_eq!((sctp.affinity, sctp.track), (Affinity::Source, true));
    assert_eq!(sctp.drain_deadline, Some(Duration::from_secs(90)));
    assert!(matches!(sctp.encap, Encap::Gue { port } if port.get() == 6081));
    assert_eq!((direct.affinity, direct.track), (Affinity::Source, false));
    assert!(matches!(direct.encap, Encap::L3dsr { dscp } if dscp.get() == 63));
}

#[test]
fn ranges_may_nest_and_protocols_may_share_a_port() {
    let service = |name: &str, protocol: &str, port: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"203.0.113.99\"\nprotocol = \"{protocol}\"\n\
             port = \"{port}\"\n[[service.backend]]\nname = \"b\"\naddress = \"198.51.100.11\"\n"
        )
    };
    let services = [
        service("a", "tcp", "8000-8999"),
        service("b", "tcp", "8000-8099"),
        service("c", "tcp", "8050"),
        service("d", "tcp", "any"),
        service("e", "udp", "8050-9050"),
        service("f", "any", "8050-9050"),
        service("g", "tcp", "9000"),
    ];
    assert_eq!(
        findings(&format!("{BASE}{}", services.concat())),
        Vec::<String>::new()
    );
}

#[test]
fn single_values_stand_for_arrays() {
    let text = BASE.replace("workers = [2, 3]", "workers = 2").replace(
        "address = [\"198.51.100.10/24\"]",
        "address = \"198.51.100.10/24\"",
    );
    let config = config(&text);
    assert_eq!(config.node.workers, [2]);
    assert_eq!(config.ports[1].addresses.len(), 1);
}

#[test]
fn eal_arguments_that_have_keys_become_those_keys() {
    let args = r#"args = ["--no-huge", "-m", "128", "--log-level=8", "--no-pci", "-m96"]"#;
    let dpdk = config(&BASE.replace("args = []", args)).dpdk;
    assert_eq!(dpdk.hugepages, HugePages::Never);
    assert_eq!(dpdk.memory_mb, 96);
    assert_eq!(dpdk.args, ["--log-level=8", "--no-pci"]);
}

#[test]
fn inline_tables_and_dotted_keys_are_tables_too() {
    let text = r#"
        node = { name = "rail-a", workers = [0] }
        port = [{ device = "net_null0", address = ["192.0.2.10/24"] }]
        pool.hash_key = "000102030405060708090a0b0c0d0e0f"
    "#;
    let config = config(text);
    assert_eq!(config.ports[0].device, "net_null0");
    assert!(config.pool.services.is_empty());
}

#[test]
fn the_example_passes_without_a_warning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rail.example.toml");
    let (config, warnings) = load_for(path.as_ref(), &Environment::with_cpus(0..8)).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.ports.len(), 2);
    assert_eq!(config.pool.services.len(), 2);
}

#[test]
fn a_pool_is_written_and_read_alone() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/rail.example.toml");
    let (config, _) = load_for(path.as_ref(), &Environment::any()).unwrap();
    let text = to_toml(&config.pool);
    let (pool, warnings) = parse_pool(&text, "pool.toml").unwrap();
    assert_eq!(warnings, []);
    assert_eq!(pool, config.pool);
    // As the configuration of a rail it lacks the rail.
    assert!(parse(&text, "pool.toml", &Environment::any()).is_err());
    let errors = parse_pool("[pool]\nhash_key = \"\"\n[[service]]\n", "F").unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}
