//! The buffers of a rail's ports, by NUMA node, and what is said of workers far from a port.

use dpdk::{Eal, Mempool};
use rustyrail::worker::buffers::{BufferSetup, data_room, pools};
use rustyrail::worker::numa::Nodes;
use rustyrail::worker::ports::{EalOptions, PortSetup, PortsSetup, Workers, buffers_for, open_for};

const JUMBO: u16 = 9198;

/// Whether both are one pool.
fn same(one: &Mempool, other: &Mempool) -> bool {
    let before = other.available();
    let taken = one.alloc().expect("a fresh pool is not empty");
    let same = other.available() < before;
    drop(taken);
    same
}

#[test]
fn ports_of_one_node_share_a_pool() {
    let eal = Eal::init(EalOptions::no_huge([] as [&str; 0]).args()).expect("EAL starts");
    let setup = BufferSetup {
        mtu: 1500,
        mbufs: Some(2047),
        workers: 1,
        held: 0,
    };
    let (pools, warnings) = pools(&eal, &[Some(0), None, Some(0)], &setup).expect("it fits");
    assert_eq!(warnings, [""; 0]);
    assert!(same(&pools[0], &pools[2]) && !same(&pools[0], &pools[1]));
    let sizes: Vec<_> = pools.iter().map(Mempool::size).collect();
    assert_eq!(sizes, [2047; 3]);
}

/// What is reckoned to be needed is enough, for jumbo frames too.
#[test]
fn jumbo_frames_fit_the_memory_reckoned_for_them() {
    let mut setup = PortsSetup {
        eal: EalOptions::no_huge([] as [&str; 0]),
        ports: vec![PortSetup {
            device: "net_null0,size=9212".into(),
            mtu: JUMBO,
            queues: None,
        }],
        workers: 2,
        mbufs: None,
    };
    let dir = tempfile::tempdir().expect("a directory");
    for (node, core) in [(0, 0), (1, 5)] {
        let path = dir.path().join(format!("node{node}/cpu{core}"));
        std::fs::create_dir_all(path).expect("made");
    }
    let workers = Workers {
        cores: vec![0, 5],
        held: 1024,
        nodes: Nodes::at(dir.path()),
    };
    setup.eal.memory_mb = buffers_for(&setup, &workers).memory_mb(1);
    let ports = open_for(&setup, &workers).expect("it fits");
    assert_eq!(ports.pool.data_room(), usize::from(data_room(JUMBO)));
    // A virtual port is on some node or on none, and only the first can be far.
    let node = ports.ports[0].info().expect("it has properties").socket;
    let far = ports.warnings.iter().any(|w| w.contains("worker core 5"));
    assert_eq!(far, node == Some(0), "{node:?}: {:?}", ports.warnings);
}
