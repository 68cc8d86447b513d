//! Ports of the null driver, and what a port says about what it cannot do.

use std::thread;

use dpdk::{
    BURST, Burst, DEFAULT_DATA_ROOM, Eal, EalOptions, Mempool, Port, PortConfig, PortError,
    PortWarning, RssConfig, RssTypes,
};

fn eal_and_pool(vdevs: &[&str]) -> (Eal, Mempool) {
    let eal = Eal::init(EalOptions::no_huge(vdevs.iter().copied()).args()).expect("EAL starts");
    let pool = Mempool::new(&eal, "packets", 8191, 128, DEFAULT_DATA_ROOM, None).expect("it fits");
    (eal, pool)
}

#[test]
fn the_null_port_invents_and_swallows_packets() {
    let (eal, pool) = eal_and_pool(&["net_null0,size=90"]);
    let port = Port::by_name(&eal, "net_null0,size=90").expect("it started");
    let mut started = port
        .configure(&PortConfig::default(), &pool)
        .expect("it starts");
    let id = started.port.id();
    let mut burst = Burst::new();
    for _ in 0..10 {
        assert_eq!(started.rx[0].burst(&mut burst), BURST);
        assert_eq!(
            started.rx[0].burst(&mut burst),
            0,
            "a full burst takes no more"
        );
        assert!(
            burst
                .iter()
                .all(|mbuf| mbuf.len() == 90 && mbuf.port() == id)
        );
        assert_eq!(started.tx[0].send(&mut burst), BURST);
        assert_eq!(
            started.tx[0].send(&mut burst),
            0,
            "there is nothing to send"
        );
    }
    let stats = started.port.stats().expect("it counts");
    assert_eq!((stats.rx_packets, stats.tx_packets), (320, 320));
    let xstats = started.port.xstats().expect("it counts");
    assert!(
        xstats.contains(&("rx_good_packets".into(), 320)),
        "{xstats:?}"
    );
    started.port.reset_stats().expect("it can");
    assert_eq!(started.port.stats().expect("it counts").rx_packets, 0);
    assert!(started.port.link().expect("it has a link").up);
    drop(started);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn queues_work_on_their_own_threads_and_keep_the_port_running() {
    let (eal, pool) = eal_and_pool(&["net_null0"]);
    let port = Port::by_name(&eal, "net_null0").expect("it started");
    let started = port
        .configure(&PortConfig::with_queues(2, 2), &pool)
        .expect("it starts");
    let workers: Vec<_> = started.rx.into_iter().zip(started.tx).collect();
    assert_eq!(workers.len(), 2);
    // The control handle goes first; the queues still work.
    drop(started.port);
    thread::scope(|scope| {
        for (mut rx, mut tx) in workers {
            let eal = &eal;
            scope.spawn(move || {
                let _registration = dpdk::thread::register(eal).expect("an lcore id is free");
                let mut burst = Burst::new();
                for _ in 0..1000 {
                    assert_eq!(rx.burst(&mut burst), BURST);
                    assert_eq!(tx.send(&mut burst), BURST);
                }
            });
        }
    });
    assert_eq!(pool.available(), pool.size());
    let gone = Port::by_name(&eal, "net_null0")
        .err()
        .expect("it was closed");
    assert!(matches!(gone, PortError::NotFound { .. }), "{gone}");
}

/// Whoever used the port before may have left another table.
#[test]
fn the_rss_table_deals_the_queues_in_turn() {
    let (eal, pool) = eal_and_pool(&["net_null0"]);
    let port = Port::by_name(&eal, "net_null0").expect("it started");
    let entries = port.info().expect("it has properties").reta_size;
    let config = PortConfig {
        rss: Some(RssConfig {
            key: vec![0x6d, 0x5a],
            types: RssTypes::FLOWS,
            innermost: false,
        }),
        ..PortConfig::with_queues(3, 3)
    };
    let started = port.configure(&config, &pool).expect("it starts");
    assert_eq!(started.warnings, [], "this port hashes all there is");
    let queues = started.port.rss_queues().expect("it tells");
    let dealt: Vec<_> = (0..entries).map(|entry| entry % 3).collect();
    assert!(entries > 0);
    assert_eq!(queues, dealt);
    if let Some(types) = started.port.rss_types() {
        assert!(types.contains(RssTypes::SCTP), "{types:?}");
    }
}

#[test]
fn what_a_port_cannot_do_is_a_warning() {
    let (eal, pool) = eal_and_pool(&["net_null0"]);
    let port = Port::by_name(&eal, "net_null0").expect("it started");
    let info = port.info().expect("it has properties");
    assert_eq!(info.driver, "net_null");
    let config = PortConfig {
        rx_queues: u16::MAX,
        rx_checksums: true,
        tx_checksums: true,
        vlan_strip: true,
        vlan_insert: true,
        rss: Some(RssConfig {
            key: vec![0x6d, 0x5a],
            types: RssTypes::FLOWS,
            innermost: true,
        }),
        ..PortConfig::default()
    };
    let started = port
        .configure(&config, &pool)
        .expect("it starts all the same");
    assert_eq!(started.rx.len(), usize::from(info.max_rx_queues));
    let texts: Vec<String> = started
        .warnings
        .iter()
        .map(PortWarning::to_string)
        .collect();
    for part in [
        "RX queues",
        "checking of",
        "filling in of",
        "stripping",
        "insertion",
        "innermost",
    ] {
        assert!(
            texts.iter().any(|text| text.contains(part)),
            "no {part} in {texts:#?}"
        );
    }
    assert!(
        texts.iter().all(|text| text.contains("net_null0")),
        "{texts:#?}"
    );
}

#[test]
fn what_cannot_be_is_an_error() {
    let (eal, pool) = eal_and_pool(&["net_null0"]);
    let none = PortConfig {
        rx_queues: 0,
        ..PortConfig::default()
    };
    let port = Port::by_name(&eal, "net_null0").expect("it started");
    let Err(error) = port.configure(&none, &pool) else {
        panic!("no queues")
    };
    assert!(matches!(error, PortError::NoQueues { .. }), "{error}");
}

#[test]
fn an_mtu_that_no_mbuf_holds_is_an_error() {
    let (eal, pool) = eal_and_pool(&["net_null0"]);
    let jumbo = PortConfig {
        mtu: Some(9000),
        ..PortConfig::default()
    };
    let port = Port::by_name(&eal, "net_null0").expect("it started");
    let Err(error) = port.configure(&jumbo, &pool) else {
        panic!("does not fit")
    };
    let text = error.to_string();
    assert!(
        text.contains("9000") && text.contains("data room"),
        "{text}"
    );
}
