//! The seeds of the fuzz targets: every layer of every good frame, under
//! `tests/fuzz/corpus/TARGET/`.
//!
//! They are checked to be what the builder makes today. To write them anew, after a new kind of
//! traffic in `good_frames` or a new target:
//!
//! ```sh
//! RAIL_WRITE_SEEDS=1 cargo nextest run --test wire seeds
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use rustyrail::wire::gre::Gre;
use rustyrail::wire::gue;
use rustyrail::wire::icmpv6::{Icmpv6, Icmpv6Kind};
use rustyrail::wire::ipv4::Ipv4;
use rustyrail::wire::ipv6::Ipv6;
use rustyrail::wire::udp::Udp;
use rustyrail::wire::{EtherType, IpProtocol, l2};

use crate::good_frames;

/// Target to seeds.
type Seeds = BTreeMap<&'static str, BTreeSet<Vec<u8>>>;

#[test]
fn seeds_are_what_the_builder_makes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let write = env::var_os("RAIL_WRITE_SEEDS").is_some();
    for (target, seeds) in seeds() {
        let source = fuzz.join("src/bin").join(target).with_extension("rs");
        assert!(source.is_file(), "{target} is no target");
        let folder = fuzz.join("corpus").join(target);
        if write {
            write_seeds(&folder, &seeds).expect("the corpus can be written");
        }
        let stored: BTreeSet<_> = stored(&folder)
            .iter()
            .map(|file| fs::read(file).expect("a file to read"))
            .collect();
        assert!(stored == seeds, "the seeds of {target} are out of date");
    }
}

/// The seed files in `folder`; files of other names are inputs that once broke something.
fn stored(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.map(|entry| entry.expect("a directory entry").path());
    let is_seed = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("seed-"))
    };
    files.filter(is_seed).collect()
}

/// Replaces the seed files in `folder`.
fn write_seeds(folder: &Path, seeds: &BTreeSet<Vec<u8>>) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in stored(folder) {
        fs::remove_file(file)?;
    }
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{index:02}")), seed)?;
    }
    Ok(())
}

fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for builder in good_frames() {
        let frame = builder.build();
        let l2 = l2(&frame).expect("a good frame");
        let l3 = &frame[usize::from(l2.l3_offset)..];
        add(&mut seeds, "ethernet", &frame);
        layer3(&mut seeds, l2.ethertype, l3);
    }
    seeds
}

fn add(seeds: &mut Seeds, target: &'static str, bytes: &[u8]) {
    seeds.entry(target).or_default().insert(bytes.to_vec());
}

fn layer3(seeds: &mut Seeds, ethertype: EtherType, bytes: &[u8]) {
    match ethertype {
        EtherType::ARP => add(seeds, "arp", bytes),
        EtherType::IPV4 => {
            add(seeds, "ipv4", bytes);
            let ip = Ipv4::parse(bytes).expect("a good packet");
            if ip.header.fragment().is_none() {
                layer4(seeds, ip.header.protocol, ip.payload);
            }
        }
        EtherType::IPV6 => {
            add(seeds, "ipv6", bytes);
            let ip = Ipv6::parse(bytes).expect("a good packet");
            match ip.protocol {
                // Addresses count in these: the seed is the whole packet.
                IpProtocol::ICMPV6 => {
                    let message = Icmpv6::parse_quoted(ip.payload).expect("a good message");
                    let target = match message.kind {
                        Icmpv6Kind::NeighborSolicitation | Icmpv6Kind::NeighborAdvertisement => {
                            "nd"
                        }
                        _ => "icmpv6",
                    };
                    add(seeds, target, bytes);
                }
                protocol if ip.fragment.is_none() => layer4(seeds, protocol, ip.payload),
                _ => {}
            }
        }
        _ => {}
    }
}

fn layer4(seeds: &mut Seeds, protocol: IpProtocol, bytes: &[u8]) {
    match protocol {
        IpProtocol::TCP => add(seeds, "tcp", bytes),
        IpProtocol::UDP => {
            add(seeds, "udp", bytes);
            let udp = Udp::parse(bytes).expect("a good datagram");
            if udp.header.ports.destination.get() == gue::PORT {
                add(seeds, "gue", udp.payload);
            }
        }
        IpProtocol::ICMP => add(seeds, "icmpv4", bytes),
        IpProtocol::GRE => {
            add(seeds, "gre", bytes);
            let gre = Gre::parse(bytes).expect("a good packet");
            layer3(seeds, gre.protocol, gre.payload);
        }
        IpProtocol::IPIP => layer3(seeds, EtherType::IPV4, bytes),
        IpProtocol::IPV6 => layer3(seeds, EtherType::IPV6, bytes),
        _ => {}
    }
}
