//! Mbufs and bursts: bounds, ownership, and that everything goes back to its pool.

use dpdk::{
    BURST, Burst, Checksum, DEFAULT_DATA_ROOM, Eal, EalOptions, HEADROOM, L4Checksum, Mbuf,
    Mempool, thread,
};

const ROOM: usize = DEFAULT_DATA_ROOM as usize;

fn pool(cache: u32) -> (Eal, Mempool) {
    let eal = Eal::init(EalOptions::no_huge([""; 0]).args()).expect("EAL starts");
    let pool = Mempool::new(&eal, "packets", 511, cache, DEFAULT_DATA_ROOM, None).expect("it fits");
    (eal, pool)
}

fn filled(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("the pool has an mbuf");
    assert!(mbuf.set_data(bytes));
    mbuf
}

#[test]
fn a_fresh_mbuf_is_empty_with_headroom() {
    let (_eal, pool) = pool(0);
    let mbuf = pool.alloc().expect("the pool has an mbuf");
    assert!(mbuf.is_empty() && mbuf.is_contiguous());
    assert_eq!(
        (mbuf.headroom(), mbuf.tailroom()),
        (HEADROOM, ROOM - HEADROOM)
    );
    assert_eq!(
        (
            mbuf.rss_hash(),
            mbuf.stripped_vlan(),
            mbuf.rx_timestamp_ns()
        ),
        (None, None, None)
    );
    assert_eq!(
        (mbuf.ip_checksum(), mbuf.l4_checksum()),
        (Checksum::Unknown, Checksum::Unknown)
    );
    assert_eq!((pool.size(), pool.data_room()), (511, ROOM));
}

#[test]
fn prepend_and_trim_stop_at_the_bounds() {
    let (_eal, pool) = pool(0);
    let mut mbuf = filled(&pool, b"payload");

    mbuf.prepend(4)
        .expect("there is headroom")
        .copy_from_slice(b"head");
    assert_eq!(mbuf.data(), b"headpayload");
    assert_eq!(
        (mbuf.len(), mbuf.packet_len(), mbuf.headroom()),
        (11, 11, HEADROOM - 4)
    );

    assert!(mbuf.prepend(HEADROOM - 3).is_none());
    assert!(mbuf.prepend(usize::MAX).is_none());
    assert_eq!(mbuf.data(), b"headpayload");
    assert_eq!(
        mbuf.prepend(HEADROOM - 4).map(|bytes| bytes.len()),
        Some(HEADROOM - 4)
    );
    assert_eq!(mbuf.headroom(), 0);
    assert!(mbuf.prepend(1).is_none());

    assert!(mbuf.trim_front(HEADROOM));
    assert_eq!(mbuf.data(), b"payload");
    assert!(!mbuf.trim_front(8));
    assert!(!mbuf.trim_front(usize::MAX));
    assert_eq!(mbuf.data(), b"payload");
    assert!(mbuf.trim_front(7));
    assert!(mbuf.is_empty() && mbuf.packet_len() == 0);
}

#[test]
fn append_and_truncate_stop_at_the_bounds() {
    let (_eal, pool) = pool(0);
    let mut mbuf = filled(&pool, b"abc");
    mbuf.append(2)
        .expect("there is tailroom")
        .copy_from_slice(b"de");
    assert_eq!(mbuf.data(), b"abcde");
    mbuf.truncate(9);
    assert_eq!(mbuf.data(), b"abcde");
    mbuf.truncate(1);
    assert_eq!((mbuf.data(), mbuf.packet_len()), (&b"a"[..], 1));

    let rest = mbuf.tailroom();
    assert_eq!(rest, ROOM - HEADROOM - 1);
    assert!(mbuf.append(rest + 1).is_none());
    assert!(mbuf.append(usize::MAX).is_none());
    assert_eq!(mbuf.append(rest).map(|bytes| bytes.len()), Some(rest));
    assert_eq!((mbuf.tailroom(), mbuf.len()), (0, ROOM - HEADROOM));

    assert!(!mbuf.set_data(&vec![0; ROOM - HEADROOM + 1]));
    assert!(mbuf.is_empty());
    assert!(mbuf.set_data(&vec![7; ROOM - HEADROOM]));
    assert!(mbuf.data().iter().all(|&byte| byte == 7));
}

#[test]
fn rewrapping_stops_at_the_bounds() {
    let (_eal, pool) = pool(0);
    let mut mbuf = filled(&pool, b"linkpayload, and padding");
    for (from, len, head) in [
        (4, 21, 0),
        (25, 0, 0),
        (usize::MAX, 1, 0),
        (usize::MAX, 0, 0),
        (4, usize::MAX, 0),
        (4, 7, HEADROOM + 5),
        (4, 7, usize::MAX),
    ] {
        assert!(mbuf.rewrap(from, len, head).is_none());
        assert_eq!(mbuf.data(), b"linkpayload, and padding");
    }
    let packet = mbuf.rewrap(4, 7, 6).expect("there is headroom");
    assert_eq!(packet.len(), 13);
    packet[..6].copy_from_slice(b"outer ");
    assert_eq!(mbuf.data(), b"outer payload");
    assert_eq!((mbuf.packet_len(), mbuf.headroom()), (13, HEADROOM - 2));

    let all = HEADROOM - 2 + 6;
    assert_eq!(
        mbuf.rewrap(6, 7, all).map(|packet| packet.len()),
        Some(all + 7)
    );
    assert_eq!(mbuf.headroom(), 0);
    assert!(mbuf.data().ends_with(b"payload"));
    assert_eq!(
        mbuf.rewrap(all, 7, 0).map(|packet| &*packet),
        Some(&b"payload"[..])
    );
    assert_eq!(mbuf.rewrap(7, 0, 0).map(|packet| packet.len()), Some(0));
}

#[test]
fn offload_requests_and_prefetches_leave_the_bytes_alone() {
    let (_eal, pool) = pool(0);
    let mut mbuf = filled(&pool, b"bytes");
    mbuf.offload_vlan(0x2005);
    mbuf.offload_ipv4_checksum(14, 20);
    mbuf.offload_l4_checksum(L4Checksum::Udp, true, 14, 40);
    mbuf.clear_tx_offloads();
    mbuf.prefetch_header();
    mbuf.prefetch_data();
    mbuf.prefetch_headroom();
    assert_eq!(mbuf.data(), b"bytes");
    assert_eq!(
        format!("{mbuf:?}"),
        format!("Mbuf(5 bytes from port {})", mbuf.port())
    );
}

#[test]
fn a_burst_frees_everything() {
    let (_eal, pool) = pool(64);
    for round in 0..100 {
        let mut burst = Burst::new();
        assert!(pool.alloc_bulk(&mut burst, 20 + round % 13));
        match round % 4 {
            0 => burst.clear(),
            1 => drop(burst.pop()),
            2 => drop(burst.drain().nth(3)),
            _ => drop(burst.swap_remove(1)),
        }
    }
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_burst_keeps_order_and_bounds() {
    let (_eal, pool) = pool(0);
    let numbers = |burst: &Burst| burst.iter().map(|mbuf| mbuf.data()[0]).collect::<Vec<u8>>();
    let mut burst = Burst::new();
    assert!(burst.pop().is_none() && burst.swap_remove(0).is_none());
    for i in 0..BURST {
        assert_eq!(burst.room(), BURST - i);
        burst
            .push(filled(&pool, &[i as u8]))
            .expect("there is room");
    }
    assert!(burst.is_full());
    let back = burst
        .push(filled(&pool, &[99]))
        .expect_err("the burst is full");
    assert_eq!(back.data(), [99]);
    drop(back);
    assert!(!pool.alloc_bulk(&mut burst, 1));

    assert_eq!(burst.swap_remove(30).expect("it is there").data(), [30]);
    assert!(burst.swap_remove(31).is_none());
    assert_eq!(burst[30].data(), [31]);

    // Deal out even and odd numbers to two bursts, and free the last five.
    let (mut even, mut odd) = (Burst::new(), Burst::new());
    let mut drain = burst.drain();
    assert_eq!(drain.len(), 31);
    for mbuf in drain.by_ref().take(26) {
        let target = if mbuf.data()[0] % 2 == 0 {
            &mut even
        } else {
            &mut odd
        };
        target.push(mbuf).expect("there is room");
    }
    drop(drain);
    assert!(burst.is_empty());
    assert_eq!(numbers(&even), (0..26).step_by(2).collect::<Vec<u8>>());
    assert_eq!(pool.available(), pool.size() - 26);

    assert_eq!(even.append(&mut odd), 13);
    assert_eq!((even.len(), odd.len()), (26, 0));
    assert!(pool.alloc_bulk(&mut odd, 20));
    assert_eq!(even.append(&mut odd), 6);
    assert_eq!((even.len(), odd.len()), (BURST, 14));
    drop((even, odd));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn an_exhausted_pool_gives_nothing() {
    let (_eal, pool) = pool(0);
    let mut bursts: Vec<Burst> = Vec::new();
    for _ in 0..pool.size() / BURST {
        let mut burst = Burst::new();
        assert!(pool.alloc_bulk(&mut burst, BURST));
        bursts.push(burst);
    }
    let mut last = Burst::new();
    assert!(!pool.alloc_bulk(&mut last, BURST), "all or nothing");
    assert!(last.is_empty());
    let rest: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(rest.len(), pool.size() % BURST);
    drop((bursts, rest));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn threads_allocate_and_free_across() {
    let (eal, pool) = pool(32);
    std::thread::scope(|scope| {
        for registered in [true, false] {
            let (eal, pool) = (&eal, &pool);
            scope.spawn(move || {
                let _registration =
                    registered.then(|| thread::register(eal).expect("an lcore id is free"));
                let _again = registered.then(|| thread::register(eal).expect("already registered"));
                for _ in 0..1000 {
                    let mut burst = Burst::new();
                    assert!(pool.alloc_bulk(&mut burst, BURST));
                    let mbuf = burst.pop().expect("the burst is full");
                    std::thread::scope(|inner| {
                        inner.spawn(move || drop(mbuf));
                    });
                }
            });
        }
    });
    assert_eq!(pool.available(), pool.size());
    assert!(thread::tsc_hz(&eal) > 1_000_000);
}
