//! EAL: once per process, nobody pinned, devices that fail are named.

use std::thread;

use dpdk::{
    CpuSet, DEFAULT_DATA_ROOM, Eal, EalError, EalOptions, Mempool, MempoolError, Port, PortConfig,
    PortError,
};

fn eal(vdevs: &[&str]) -> Eal {
    Eal::init(EalOptions::no_huge(vdevs.iter().copied()).args())
        .expect("EAL starts without huge pages")
}

#[test]
fn a_second_initialisation_is_an_error() {
    let first = eal(&[]);
    let second = Eal::init(EalOptions::no_huge([""; 0]).args())
        .err()
        .expect("refused");
    assert!(matches!(second, EalError::AlreadyInitialised), "{second}");
    drop(first);
    let after = Eal::init(EalOptions::no_huge([""; 0]).args())
        .err()
        .expect("refused");
    assert!(matches!(after, EalError::AlreadyInitialised), "{after}");
}

#[test]
fn arguments_eal_rejects_are_an_error() {
    let options = EalOptions {
        extra: vec!["--no-such-argument".into()],
        ..EalOptions::no_huge([""; 0])
    };
    let error = Eal::init(options.args()).err().expect("refused");
    assert!(error.to_string().contains("--no-such-argument"), "{error}");
}

#[test]
fn a_device_without_a_driver_is_named() {
    let options = EalOptions::no_huge(["net_nosuch0,size=64"]);
    let error = Eal::init(options.args())
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("no driver for the device net_nosuch0"),
        "{error}"
    );
}

#[test]
fn affinity_is_not_narrowed() {
    let before = CpuSet::of_this_thread().expect("affinity can be read");
    let _eal = eal(&["net_null0"]);
    assert_eq!(
        CpuSet::of_this_thread().expect("affinity can be read"),
        before
    );
    let later = thread::spawn(|| CpuSet::of_this_thread().expect("affinity can be read"));
    assert_eq!(later.join().expect("the thread ends"), before);
}

#[test]
fn a_device_that_does_not_start_is_named() {
    let eal = eal(&["net_null0", "net_pcap0,rx_pcap=/nonexistent/in.pcap"]);
    let error = Port::by_name(&eal, "net_pcap0,rx_pcap=/nonexistent/in.pcap")
        .err()
        .expect("refused");
    assert!(matches!(error, PortError::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("port net_pcap0 ") && text.contains("rx_pcap="),
        "{text}"
    );
    assert!(text.contains("there are: net_null0"), "{text}");
    // The device beside it works.
    Port::by_name(&eal, "net_null0").expect("the null port is there");
}

#[test]
fn devices_that_do_not_exist_are_named_with_a_way_out() {
    let eal = eal(&[]);
    for (device, hint) in [
        ("net_af_packet0,iface=nope0", "CAP_NET_RAW"),
        ("net_af_xdp0,iface=nope0", "CAP_BPF"),
        ("net_tap0,iface=x", "/dev/net/tun"),
        ("net_nosuch0", "driver's name"),
        ("3b:00.0", "vfio-pci"),
        ("", "lspci"),
        ("net_\0null", "driver's name"),
    ] {
        let error = Port::by_name(&eal, device)
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(hint), "{device}: {error}");
    }
    let short = Port::by_name(&eal, "3b:00.0")
        .err()
        .expect("refused")
        .to_string();
    assert!(short.contains("0000:3b:00.0"), "{short}");
}

#[test]
fn devices_can_be_attached_later() {
    let eal = eal(&[]);
    let port = Port::attach(&eal, "net_null3,size=128").expect("the null driver is there");
    assert_eq!(port.name(), "net_null3");
    assert_eq!(port.info().expect("it has properties").driver, "net_null");
    let again = Port::attach(&eal, "net_null3").err().expect("refused");
    assert!(matches!(again, PortError::InUse { .. }), "{again}");
    let absent = Port::attach(&eal, "net_af_packet9,iface=nope0")
        .err()
        .expect("refused");
    assert!(absent.to_string().contains("net_af_packet9"), "{absent}");
}

#[test]
fn a_closed_device_can_be_attached_again() {
    let eal = eal(&["net_null0"]);
    let pool = Mempool::new(&eal, "packets", 4095, 0, DEFAULT_DATA_ROOM, None).expect("it fits");
    for _ in 0..3 {
        let port = Port::by_name(&eal, "net_null0").expect("it is there");
        drop(
            port.configure(&PortConfig::default(), &pool)
                .expect("it starts"),
        );
        Port::by_name(&eal, "net_null0")
            .err()
            .expect("it was closed");
        drop(Port::attach(&eal, "net_null0").expect("it comes back"));
    }
}

#[test]
fn pools_that_cannot_be_are_errors() {
    let eal = eal(&[]);
    let new = |name: &str, count, cache, room| Mempool::new(&eal, name, count, cache, room, None);
    let _first = new("first", 1023, 0, DEFAULT_DATA_ROOM).expect("the pool fits");
    assert!(matches!(
        new("first", 1023, 0, DEFAULT_DATA_ROOM),
        Err(MempoolError::Exists { .. })
    ));
    let large = new("large", 1 << 20, 128, DEFAULT_DATA_ROOM)
        .err()
        .expect("refused")
        .to_string();
    assert!(large.contains("needs about 2368 MiB"), "{large}");
    assert!(matches!(
        new("cache", 1023, 1024, 2176),
        Err(MempoolError::Argument { .. })
    ));
    assert!(matches!(
        new("cache", 100, 90, 2176),
        Err(MempoolError::Argument { .. })
    ));
    assert!(matches!(
        new("room", 100, 0, 128),
        Err(MempoolError::Argument { .. })
    ));
    assert!(matches!(
        new("a\0b", 100, 0, 2176),
        Err(MempoolError::Argument { .. })
    ));
}
