//! A configuration file: what is wrong with it has a place in it; what is right means the same when it is
//! written and read again, and can be compiled and traced.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustyrail::control::compile::{LinkAddresses, TableCache, compile};
use rustyrail::control::ids::BackendIds;
use rustyrail::control::trace::{Flow, Tracer};
use rustyrail::pool::{Config, Environment, Location, Severity, parse, parse_pool, to_toml};
use rustyrail::wire::IpProtocol;

/// What is built within a run: larger tables and more of them are right too, but slow.
const LARGEST_TABLE: u32 = 1009;
const MOST_SERVICES: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let environment = Environment::with_cpus(0..8);
    match parse(text, "fuzz.toml", &environment) {
        Ok((config, warnings)) => {
            assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
            accepted(&config);
        }
        Err(found) => {
            assert!(found.iter().any(|f| f.severity == Severity::Error));
            for finding in &found {
                assert!(!finding.to_string().is_empty());
                let also = finding.also.as_ref().map(|(location, _)| location);
                for location in finding.location.iter().chain(also) {
                    check_location(text, location);
                }
            }
        }
    }
});

/// Line and column are where the span starts.
fn check_location(text: &str, location: &Location) {
    assert!(text.get(location.span.clone()).is_some(), "{location:?}");
    let before = &text[..location.span.start];
    assert_eq!(location.line, before.matches('\n').count() + 1);
    let line = before.rsplit('\n').next().unwrap_or_default();
    assert_eq!(location.column, line.chars().count() + 1);
}

fn accepted(config: &Config) {
    let written = to_toml(&config.pool);
    match parse_pool(&written, "written.toml") {
        Ok((pool, _)) => assert_eq!(pool, config.pool),
        Err(found) => panic!("{written}\n{found:?}"),
    }
    let services = &config.pool.services;
    if config.pool.table_size.get() > LARGEST_TABLE || services.len() > MOST_SERVICES {
        return;
    }
    let (mut ids, mut tables) = (BackendIds::default(), TableCache::default());
    let macs = vec![[2, 0, 0, 0, 0, 1]; config.ports.len()];
    let snapshot = compile(config, &macs, &mut ids, &Unknown, None, &mut tables);
    let snapshot = snapshot.expect("what is accepted can be compiled");
    assert_eq!(snapshot.services.len(), services.len());

    let tracer = Tracer::new(config);
    for service in services {
        let vip = service.vip.address();
        let client = if vip.is_ipv4() {
            [198, 51, 100, 7].into()
        } else {
            "2001:db8::7".parse().expect("IPv6")
        };
        let protocol = IpProtocol(service.protocol.number().unwrap_or(6));
        let port = service.ports.bounds().1;
        let flow = Flow::new(protocol, (client, 4242), (vip, port)).expect("one family");
        tracer.trace(&flow).expect("what is accepted can be traced");
    }
}

struct Unknown;

impl LinkAddresses for Unknown {
    fn mac(&self, _: std::net::IpAddr) -> Option<[u8; 6]> {
        None
    }
}
