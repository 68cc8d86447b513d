//! What the tables cost on the packet path: hashing a burst, finding connections, reading the snapshot.
//!
//! `cargo bench --bench tables`, or with a filter: `cargo bench --bench tables -- conn`. Figures are CPU
//! time of the thread; compare within one run only.

#[path = "support/thread_time.rs"]
mod thread_time;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustyrail::hw;
use rustyrail::table::conn::{ConnOwner, ConnSettings, Segment};
use rustyrail::table::hash::{BURST, V4Tuple, flow_hash_v4, flow_hash_v6};
use rustyrail::table::publish::Publisher;
use rustyrail::table::{BackendId, FlowHash, HashKey, Nanos};

use thread_time::ThreadTime;

type Bench = Criterion<ThreadTime>;

fn key() -> HashKey {
    HashKey::from_bytes(*b"sixteen byte key")
}

/// A sequence that looks random and is the same in every run (Vigna's splitmix64).
fn scrambled(index: u64) -> u64 {
    let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn hash(c: &mut Bench) {
    let mut group = c.benchmark_group("hash");
    let (source, vip) = ([198, 51, 100, 7], [203, 0, 113, 10]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("IPv4", |b| {
        b.iter(|| flow_hash_v4(&key(), 6, black_box(source), vip, 4242, 443));
    });
    group.bench_function("IPv6", |b| {
        b.iter(|| flow_hash_v6(&key(), 6, black_box([7; 16]), [9; 16], 4242, 443));
    });
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("IPv4 burst", |b| {
        let mut burst = [u32::from_le_bytes(source); BURST];
        for (lane, source) in burst.iter_mut().enumerate() {
            *source ^= (lane as u32) << 24;
        }
        let mut out = [FlowHash::default(); BURST];
        let key = key();
        let hash_all = |sources: &[u32; BURST], out: &mut [FlowHash; BURST]| {
            for (source, out) in sources.iter().zip(out) {
                let tuple = V4Tuple {
                    protocol: 6,
                    source: *source,
                    destination: u32::from_le_bytes(vip),
                    ports: 443 << 16 | 4242,
                };
                *out = tuple.hash(&key);
            }
        };
        b.iter(|| hw::vectorised(black_box(&burst), black_box(&mut out), hash_all));
    });
    group.finish();
}

/// How a burst is looked up.
#[derive(Clone, Copy)]
enum Lookup {
    /// Packet by packet.
    Single,
    /// Prefetch the whole burst, then look it up.
    Staged,
    /// Prefetch one line of the next burst with every packet of this one.
    Pipelined,
}

fn conn_find(c: &mut Bench) {
    let mut group = c.benchmark_group("conn find");
    group.throughput(Throughput::Elements(BURST as u64));
    let backend = BackendId::new(1).expect("a backend id");
    for flows in [1_000u64, 100_000, 1_000_000, 10_000_000] {
        let settings = ConnSettings {
            flows: flows as usize,
            new_pins_per_second: u32::MAX,
            ..ConnSettings::default()
        };
        let mut owner = ConnOwner::new(&settings).expect("memory for the table");
        // The limiter knows nothing of how fast this loop is.
        for index in 0..flows {
            owner.advance(Nanos(index));
            owner.insert(FlowHash(scrambled(index)), backend, Segment::TcpData);
        }
        // A random flow: the product's high half is below `flows`, and cheaper than a remainder.
        let flow_at =
            |index: u64| ((u128::from(scrambled(index)) * u128::from(flows)) >> 64) as u64;
        let hash_at = |index: u64| FlowHash(scrambled(flow_at(index)));
        let ways = [
            ("single", Lookup::Single),
            ("staged", Lookup::Staged),
            ("pipelined", Lookup::Pipelined),
        ];
        for (name, way) in ways {
            let mut next = 0;
            let mut ahead = [FlowHash::default(); BURST];
            group.bench_function(BenchmarkId::new(name, flows), |b| {
                b.iter(|| {
                    let now = ahead;
                    for hash in &mut ahead {
                        *hash = hash_at(next);
                        next += 1;
                    }
                    if let Lookup::Staged = way {
                        now.iter().for_each(|&hash| owner.look().prefetch(hash));
                    }
                    for (&hash, &coming) in now.iter().zip(&ahead) {
                        if let Lookup::Pipelined = way {
                            owner.look().prefetch(coming);
                        }
                        if let Some(found) = owner.find(hash) {
                            found.touch(Segment::TcpData);
                        }
                    }
                });
            });
        }
    }
    group.finish();
}

fn reader(c: &mut Bench) {
    let publisher = Publisher::new(1u64);
    let mut reader = publisher.reader();
    c.bench_function("snapshot reader", |b| {
        b.iter(|| *black_box(&mut reader).current());
    });
}

fn config() -> Bench {
    Criterion::default()
        .with_measurement(ThreadTime)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
}

criterion_group! {
    name = tables;
    config = config();
    targets = hash, conn_find, reader
}
criterion_main!(tables);
