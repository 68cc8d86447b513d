//! Running workers over ring ports: real threads, real buffers, two queue pairs, and a far end that
//! knows every packet by number.

mod bench;
mod buffers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Instant;

use rustyrail::table::BackendId;
use rustyrail::table::counters::DropReason;

use bench::{Bench, Flow, IN_FLIGHT, PATIENCE, QUEUES, Sent, read};

const NODE: &str = r#"
    [node]
    name = "rail-a"
    workers = [0, 1]
    control_core = 0
    flows = 20000
    [pool]
    hash_key = "000102030405060708090a0b0c0d0e0f"
    table_size = 1009
    [[port]]
    device = "net_ring_wire"
    address = ["192.0.2.10/24"]
    gateway = ["192.0.2.1"]
    [[neighbor]]
    address = "192.0.2.1"
    mac = "02:00:00:00:00:01"
"#;

/// A service on a port of 203.0.113.10 with these backends, at 198.18.PORT.NUMBER.
fn service(port: u16, backends: impl IntoIterator<Item = u8>) -> String {
    let backends = backends
        .into_iter()
        .map(|number| format!("{{ name = \"b{number}\", address = \"198.18.{port}.{number}\" }}"));
    let backends: Vec<_> = backends.collect();
    format!(
        "[[service]]\nname = \"s{port}\"\nvip = \"203.0.113.10\"\nprotocol = \"tcp\"\nport = {port}\n\
         backend = [{}]\n",
        backends.join(", ")
    )
}

fn flows(service: u16, clients: std::ops::Range<u16>) -> Vec<Flow> {
    let vip = Ipv4Addr::new(203, 0, 113, 10);
    let flow = |client| Flow {
        vip,
        service,
        client,
    };
    clients.map(flow).collect()
}

#[test]
fn a_flow_stays_with_one_worker_in_order_and_the_counters_add_up() {
    let mut bench = Bench::new(&[NODE, &service(80, 1..=3)].concat());
    let flows = flows(80, 1000..2000);
    let mut sent = Vec::new();
    for round in 0..20 {
        for part in flows.chunks(IN_FLIGHT) {
            bench.inject(part, round == 0);
            sent.extend(bench.drain());
        }
    }
    assert_eq!(sent.len(), 20 * flows.len(), "every packet comes out");

    let mut seen: BTreeMap<Flow, (u64, Ipv4Addr)> = BTreeMap::new();
    for packet in &sent {
        assert_eq!(
            packet.queue,
            packet.flow.queue(),
            "one worker does all of it"
        );
        let (number, backend) = seen.entry(packet.flow).or_insert((0, packet.backend));
        assert!(packet.number >= *number, "the order of a flow is kept");
        assert_eq!(packet.backend, *backend, "a flow has one backend");
        *number = packet.number;
    }
    assert_eq!(seen.len(), flows.len());

    bench.stop();
    for (queue, worker) in (0..QUEUES).zip(bench.rail.workers()) {
        let mine = sent.iter().filter(|packet| packet.queue == queue);
        let mine = mine.count() as u64;
        assert!(mine > 0, "both workers forward");
        let counters = &worker.counters;
        assert_eq!(counters.rx.packets.get(), mine);
        assert_eq!(counters.tx.packets.get(), mine);
        assert_eq!(counters.dropped(), 0);
        let ids = bench.rail.snapshot().backends.len() as u32;
        let backends = (1..ids).filter_map(|id| BackendId::new(id).ok());
        let by_backend = backends.filter_map(|id| Some(counters.backend(id)?.packets.get()));
        assert_eq!(by_backend.sum::<u64>(), mine);
    }
}

#[test]
fn what_was_received_is_finished_before_a_worker_ends() {
    let mut bench = Bench::new(&[NODE, &service(80, 1..=3)].concat());
    bench.inject(&flows(80, 1000..1000 + IN_FLIGHT as u16), true);
    bench.stop();
    let received: u64 = bench
        .rail
        .workers()
        .iter()
        .map(|w| w.counters.rx.packets.get())
        .sum();
    let left: usize = (0..QUEUES).map(|queue| bench.wire.pending(queue)).sum();
    assert_eq!(received + left as u64, IN_FLIGHT as u64);
    assert_eq!(bench.collect().len() as u64, received, "received is sent");
}

/// A service that stays, with a backend set that changes around its connections, between services that
/// come and go before and behind it in the file, so that every index means something else each time.
fn pool_of_step(step: u32) -> String {
    let early = if step.is_multiple_of(2) {
        service(70, [1, 2])
    } else {
        String::new()
    };
    let stays = match step % 3 {
        0 => service(80, 1..=8),
        1 => service(80, 0..=8),
        _ => service(80, (1..=8).chain([9, 10])),
    };
    let late = if step % 5 < 2 {
        service(90, [3])
    } else {
        String::new()
    };
    let more = if step.is_multiple_of(7) {
        service(60, [4, 5, 6])
    } else {
        String::new()
    };
    [NODE, &early, &more, &stays, &late].concat()
}

const SWAPS: u32 = 1000;

#[test]
fn a_thousand_swaps_lose_nothing_and_move_no_connection() {
    let mut bench = Bench::new(&pool_of_step(0));
    let stay = flows(80, 1000..1200);
    bench.inject(&stay, true);
    let pins: BTreeMap<Flow, Ipv4Addr> =
        bench.drain().iter().map(|p| (p.flow, p.backend)).collect();
    assert_eq!(pins.len(), stay.len());
    let come_and_go: Vec<_> = [60, 70, 90]
        .into_iter()
        .flat_map(|port| flows(port, 1..20))
        .collect();

    let mut sent: Vec<Sent> = Vec::new();
    let mut widest = 0;
    for step in 1..=SWAPS {
        // Some before the swap, some that meet it between the stages, some after.
        bench.inject(&stay, false);
        bench.inject(&come_and_go, step % 4 == 0);
        bench
            .rail
            .apply(read(&pool_of_step(step)))
            .expect("it compiles");
        bench.rail.tick();
        widest = widest.max(bench.rail.snapshot().backends.len());
        sent.extend(bench.collect());
        bench.inject(&stay[..50], false);
        let start = Instant::now();
        while bench.on_the_way.len() as u64 > IN_FLIGHT as u64 + dropped_so_far(&bench) {
            assert!(
                start.elapsed() < PATIENCE,
                "step {step}: packets do not come back"
            );
            sent.extend(bench.collect());
        }
    }
    sent.extend(bench.drain());
    bench.stop();

    let allowed = |service: u16| -> BTreeSet<u8> {
        match service {
            60 => [4, 5, 6].into(),
            70 => [1, 2].into(),
            90 => [3].into(),
            _ => BTreeSet::new(),
        }
    };
    for packet in &sent {
        let [.., port, number] = packet.backend.octets();
        assert_eq!(
            u16::from(port),
            packet.flow.service,
            "a backend of its own service"
        );
        match pins.get(&packet.flow) {
            Some(pin) => assert_eq!(packet.backend, *pin, "packet {}", packet.number),
            None => assert!(allowed(packet.flow.service).contains(&number)),
        }
    }
    let count = |service| sent.iter().filter(|p| p.flow.service == service).count() as u64;
    let per_swap = stay.len() as u64 + 50;
    assert_eq!(
        count(80),
        u64::from(SWAPS) * per_swap,
        "nothing of what stays is lost"
    );
    for service in [60, 70, 90] {
        assert!(count(service) > 0, "service {service} is there at times");
    }
    // What did not come out went to a service that was not there at that moment.
    let lost = bench
        .on_the_way
        .values()
        .filter(|flow| flow.service == 80)
        .count();
    assert_eq!(lost, 0);
    assert_eq!(
        bench.on_the_way.len() as u64,
        bench.dropped(DropReason::NoService)
    );
    assert_eq!(dropped_so_far(&bench), bench.dropped(DropReason::NoService));
    // Ids of removed backends are used again: there are never many more than backends at a time.
    assert!(widest < 200, "{widest} backend ids after {SWAPS} swaps");
}

fn dropped_so_far(bench: &Bench) -> u64 {
    bench
        .rail
        .workers()
        .iter()
        .map(|w| w.counters.dropped())
        .sum()
}
