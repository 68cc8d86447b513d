//! A port made of rings: two queues, packets injected on each come out where they were sent.

use dpdk::{
    BURST, Burst, DEFAULT_DATA_ROOM, Eal, EalOptions, Mempool, Port, PortConfig, PortError, Wire,
};

fn eal() -> Eal {
    Eal::init(EalOptions::no_huge([""; 0]).args()).expect("EAL starts without huge pages")
}

fn pool(eal: &Eal) -> Mempool {
    Mempool::new(eal, "packets", 4095, 0, DEFAULT_DATA_ROOM, None).expect("the pool fits")
}

/// A packet of `len` bytes that tells its queue and its number.
fn packet(pool: &Mempool, queue: u16, number: usize, len: usize) -> dpdk::Mbuf {
    let mut mbuf = pool.alloc().expect("the pool has an mbuf");
    let bytes: Vec<u8> = (0..len).map(|i| content(queue, number, i)).collect();
    assert!(mbuf.set_data(&bytes));
    mbuf
}

fn content(queue: u16, number: usize, i: usize) -> u8 {
    (usize::from(queue) * 101 + number * 7 + i) as u8
}

fn inject(wire: &Wire, pool: &Mempool, queue: u16, count: usize) {
    let mut burst = Burst::new();
    for number in 0..count {
        burst
            .push(packet(pool, queue, number, 60 + number))
            .expect("the burst has room");
    }
    assert_eq!(wire.inject(queue, &mut burst), count);
    assert!(burst.is_empty());
}

#[test]
fn packets_keep_queue_order_and_content() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, wire) = Port::over_wire(&eal, "wire", 2, 255).expect("the port is made");
    let mut started = port
        .configure(&PortConfig::with_queues(2, 2), &pool)
        .expect("the port starts");
    assert_eq!((started.rx.len(), started.tx.len()), (2, 2));

    inject(&wire, &pool, 0, 5);
    inject(&wire, &pool, 1, BURST);
    assert_eq!((wire.pending(0), wire.pending(1)), (5, BURST));

    // Queue 0 goes out on queue 1, and the other way round, with a byte changed on the way.
    let mut burst = Burst::new();
    for (rx, tx, count) in [(0, 1, 5), (1, 0, BURST)] {
        assert_eq!(started.rx[rx].burst(&mut burst), count);
        for mbuf in burst.iter_mut() {
            mbuf.data_mut()[0] ^= 0xff;
        }
        assert_eq!(started.tx[tx].send(&mut burst), count);
        assert!(burst.is_empty());
    }
    for (rx, tx, count) in [(0u16, 1u16, 5), (1, 0, BURST)] {
        assert_eq!(wire.collect(tx, &mut burst), count);
        for (number, mbuf) in burst.iter().enumerate() {
            assert_eq!(mbuf.len(), 60 + number);
            assert_eq!(mbuf.data()[0], content(rx, number, 0) ^ 0xff);
            let rest = mbuf.data().iter().enumerate().skip(1);
            assert!(
                rest.into_iter()
                    .all(|(i, &byte)| byte == content(rx, number, i))
            );
        }
        burst.clear();
    }

    let stats = started.port.stats().expect("ring ports count");
    assert_eq!((stats.rx_packets, stats.tx_packets), (37, 37));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_full_ring_leaves_the_rest_in_the_burst() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, wire) = Port::over_wire(&eal, "wire", 1, 15).expect("the port is made");
    let mut started = port
        .configure(&PortConfig::default(), &pool)
        .expect("the port starts");

    let mut burst = Burst::new();
    for number in 0..BURST {
        burst
            .push(packet(&pool, 0, number, 60))
            .expect("the burst has room");
    }
    assert_eq!(started.tx[0].send(&mut burst), 15);
    assert_eq!(burst.len(), 17);
    // The first that was not sent is at the front now.
    assert_eq!(burst[0].data()[0], content(0, 15, 0));
    assert_eq!(wire.inject(7, &mut burst), 0, "there is no queue 7");
    assert_eq!(burst.len(), 17);
    drop(burst);

    let mut collected = Burst::new();
    assert_eq!(wire.collect(0, &mut collected), 15);
    assert_eq!(collected[14].data()[0], content(0, 14, 0));
    drop(collected);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn sixteen_queues_and_not_one_more() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, wire) = Port::over_wire(&eal, "wide", 16, 63).expect("16 queues are possible");
    let mut started = port
        .configure(&PortConfig::with_queues(16, 16), &pool)
        .expect("the port starts");
    let mut burst = Burst::new();
    for queue in 0..16 {
        inject(&wire, &pool, queue, 1);
        assert_eq!(started.rx[usize::from(queue)].burst(&mut burst), 1);
        assert_eq!(
            burst.pop().expect("received").data()[0],
            content(queue, 0, 0)
        );
    }
    for queues in [0, 17] {
        let error = Port::over_wire(&eal, "wider", queues, 63)
            .err()
            .expect("refused");
        assert!(error.to_string().contains("net_ring_wider"), "{error}");
    }
}

#[test]
fn rings_left_full_give_their_packets_back() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, wire) = Port::over_wire(&eal, "wire", 1, 255).expect("the port is made");
    let started = port
        .configure(&PortConfig::default(), &pool)
        .expect("the port starts");
    inject(&wire, &pool, 0, BURST);
    assert_eq!(pool.available(), pool.size() - BURST);
    // The port holds the rings as well: only when both are gone are they emptied.
    drop(wire);
    assert_eq!(pool.available(), pool.size() - BURST);
    drop(started);
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_port_has_one_owner() {
    let eal = eal();
    let pool = pool(&eal);
    let (port, _wire) = Port::over_wire(&eal, "wire", 1, 63).expect("the port is made");
    let again = Port::by_name(&eal, "net_ring_wire").err().expect("refused");
    assert!(matches!(again, PortError::InUse { .. }), "{again}");
    let started = port
        .configure(&PortConfig::default(), &pool)
        .expect("the port starts");
    let Err(again) = started.port.configure(&PortConfig::default(), &pool) else {
        panic!("configured twice");
    };
    assert!(matches!(again, PortError::Configured { .. }), "{again}");
}
