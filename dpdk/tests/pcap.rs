//! The pcap port: from a capture file through mbufs to a capture file.

use std::fs;
use std::path::{Path, PathBuf};

use dpdk::{Burst, DEFAULT_DATA_ROOM, Eal, EalOptions, Mempool, Port, PortConfig};

/// A capture file's global header: little-endian, microseconds, Ethernet.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("dpdk-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        Folder(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Frame `i`, a different length and content each.
fn frame(i: u32) -> Vec<u8> {
    (0..60 + i % 1400)
        .map(|byte| (byte * 3 + i) as u8)
        .collect()
}

/// Frame `i` was captured at this time: seconds and microseconds.
fn time(i: u32) -> (u32, u32) {
    (1_700_000_000 + i / 100, i % 100 * 10_000 + 7)
}

fn write_capture(path: &Path, frames: u32) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 4 << 16 | 2, 0, 0, 65535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for i in 0..frames {
        let (frame, (seconds, microseconds)) = (frame(i), time(i));
        let len = frame.len() as u32;
        for word in [seconds, microseconds, len, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    fs::write(path, bytes).expect("the capture can be written");
}

fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("the capture was written");
    let mut rest = &bytes[FILE_HEADER..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        frames.push(rest[RECORD_HEADER..RECORD_HEADER + len].to_vec());
        rest = &rest[RECORD_HEADER + len..];
    }
    frames
}

#[test]
fn a_capture_goes_round() {
    const FRAMES: u32 = 1000;
    let folder = Folder::new("round");
    let (input, output) = (folder.file("in.pcap"), folder.file("out.pcap"));
    write_capture(&input, FRAMES);

    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        input.display(),
        output.display()
    );
    let eal = Eal::init(EalOptions::no_huge([device.clone()]).args()).expect("EAL starts");
    let pool = Mempool::new(&eal, "packets", 1023, 0, DEFAULT_DATA_ROOM, None).expect("it fits");
    let port = Port::by_name(&eal, &device).expect("both files can be opened");
    let mut started = port
        .configure(&PortConfig::default(), &pool)
        .expect("it starts");

    let (mut burst, mut number) = (Burst::new(), 0);
    while started.rx[0].burst(&mut burst) > 0 {
        for mbuf in burst.iter_mut() {
            assert!(mbuf.is_contiguous());
            assert_eq!(mbuf.data(), frame(number));
            let (seconds, microseconds) = time(number);
            let ns = u64::from(seconds) * 1_000_000_000 + u64::from(microseconds) * 1000;
            assert_eq!(mbuf.rx_timestamp_ns(), Some(ns));
            mbuf.prepend(2)
                .expect("there is headroom")
                .copy_from_slice(b"->");
            number += 1;
        }
        let sent = burst.len();
        assert_eq!(started.tx[0].send(&mut burst), sent);
    }
    assert_eq!(number, FRAMES);
    let stats = started.port.stats().expect("it counts");
    assert_eq!(
        (stats.rx_packets, stats.tx_packets),
        (u64::from(FRAMES), u64::from(FRAMES))
    );
    // Closing the port flushes the file.
    drop(started);
    assert_eq!(pool.available(), pool.size());

    let frames = read_capture(&output);
    assert_eq!(frames.len(), FRAMES as usize);
    for (i, written) in frames.iter().enumerate() {
        assert_eq!(written[..2], *b"->");
        assert_eq!(written[2..], frame(i as u32));
    }
}

#[test]
fn queues_that_nobody_polls_are_told() {
    let folder = Folder::new("queues");
    let input = folder.file("in.pcap");
    write_capture(&input, 10);
    let file = input.display();
    let device = format!("net_pcap0,rx_pcap={file},rx_pcap={file}");
    let eal = Eal::init(EalOptions::no_huge([device.clone()]).args()).expect("EAL starts");
    let pool = Mempool::new(&eal, "packets", 1023, 0, DEFAULT_DATA_ROOM, None).expect("it fits");
    let port = Port::by_name(&eal, &device).expect("the file can be opened");
    let config = PortConfig {
        promiscuous: false,
        ..PortConfig::default()
    };
    let started = port.configure(&config, &pool).expect("it starts");
    let texts: Vec<String> = started.warnings.iter().map(ToString::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("2 RX queues, of which 1")),
        "{texts:#?}"
    );
}

#[test]
fn frames_longer_than_an_mbuf_are_told_apart() {
    let folder = Folder::new("long");
    let input = folder.file("in.pcap");
    write_capture(&input, 1400);
    let device = format!("net_pcap0,rx_pcap={}", input.display());
    let eal = Eal::init(EalOptions::no_huge([device.clone()]).args()).expect("EAL starts");
    // Room for 512 bytes after the headroom: longer frames take several mbufs.
    let pool = Mempool::new(&eal, "packets", 1023, 0, 128 + 512, None).expect("it fits");
    let port = Port::by_name(&eal, &device).expect("the file can be opened");
    let mut started = port
        .configure(&PortConfig::default(), &pool)
        .expect("it starts");
    let (mut burst, mut number) = (Burst::new(), 0);
    while started.rx[0].burst(&mut burst) > 0 {
        for mut mbuf in burst.drain() {
            let expected = frame(number);
            number += 1;
            assert_eq!(mbuf.packet_len(), expected.len());
            assert_eq!(mbuf.is_contiguous(), expected.len() <= 512);
            assert_eq!(mbuf.data(), &expected[..expected.len().min(512)]);
            if !mbuf.is_contiguous() {
                assert!(mbuf.append(1).is_none() && !mbuf.set_data(b"x"));
                mbuf.truncate(10);
                assert_eq!(mbuf.len(), 512);
            }
        }
    }
    assert_eq!(number, 1400);
    drop(started);
    assert_eq!(pool.available(), pool.size(), "all segments are freed");
}
