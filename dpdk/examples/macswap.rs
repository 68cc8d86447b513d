//! Receives on a port, swaps source and destination address, sends back: what the layer itself costs.
//!
//! `cargo run --release -p dpdk --example macswap -- DEVICE [SECONDS [EAL ARGUMENT..]]`, for example
//! `macswap net_null0,size=64 3 --in-memory -m 512`. Prints packets, and nanoseconds of this thread's
//! CPU time per packet; compare figures of one kind of port only.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use dpdk::{
    Burst, CpuSet, DEFAULT_CACHE, DEFAULT_DATA_ROOM, Eal, EalOptions, Mempool, Port, PortConfig,
    thread,
};

/// Mbufs: all descriptors of both directions, the cache, and what is under way.
const MBUFS: u32 = 8191;

/// Empty polls after which the clock is looked at again.
const POLLS_PER_CHECK: u32 = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let device = args
        .next()
        .ok_or("usage: macswap DEVICE [SECONDS [EAL ARGUMENT..]]")?;
    let seconds: u64 = args.next().map_or(Ok(3), |text| text.parse())?;
    let extra: Vec<String> = args.collect();
    let vdev = device.starts_with("net_");
    let options = EalOptions {
        vdevs: if vdev {
            vec![device.clone()]
        } else {
            Vec::new()
        },
        pci_allow: if vdev {
            Vec::new()
        } else {
            vec![device.clone()]
        },
        extra,
        ..EalOptions::default()
    };
    let eal = Eal::init(options.args())?;
    let pool = Mempool::new(
        &eal,
        "packets",
        MBUFS,
        DEFAULT_CACHE,
        DEFAULT_DATA_ROOM,
        None,
    )?;
    let mut started = Port::by_name(&eal, &device)?.configure(&PortConfig::default(), &pool)?;
    for warning in &started.warnings {
        eprintln!("{warning}");
    }
    let core = CpuSet::of_this_thread()
        .ok()
        .and_then(|cpus| cpus.iter().last())
        .unwrap_or(0);
    thread::pin(core)?;

    let (rx, tx) = (&mut started.rx[0], &mut started.tx[0]);
    let (mut received, mut sent) = (0u64, 0u64);
    let mut burst = Burst::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = cpu_time_ns()?;
    while Instant::now() < end {
        for _ in 0..POLLS_PER_CHECK {
            received += rx.burst(&mut burst) as u64;
            for mbuf in burst.iter_mut() {
                swap_addresses(mbuf.data_mut());
            }
            sent += tx.send(&mut burst) as u64;
            burst.clear();
        }
    }
    let ns = (cpu_time_ns()? - start) as f64;
    println!(
        "{device} on core {core}: {received} received, {sent} sent, {:.2} ns per packet",
        ns / sent.max(1) as f64
    );
    println!("{:?}", started.port.stats()?);
    Ok(())
}

/// The first twelve bytes of a frame are its destination and its source.
fn swap_addresses(frame: &mut [u8]) {
    if let Some((destination, rest)) = frame.split_at_mut_checked(6)
        && let Some(source) = rest.get_mut(..6)
    {
        destination.swap_with_slice(source);
    }
}

/// CPU time of the calling thread in nanoseconds: what the kernel's scheduler charged it with.
fn cpu_time_ns() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text
        .split_whitespace()
        .next()
        .ok_or("/proc/thread-self/schedstat is empty")?;
    Ok(first.parse()?)
}
