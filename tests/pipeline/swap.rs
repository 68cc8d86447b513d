//! A snapshot is swapped while a burst is between its two stages: what the first stage found out under
//! the old one is never used under the new one.

use rustyrail::pipeline::Stage;
use rustyrail::pipeline::verdict::DropReason::*;
use rustyrail::pipeline::verdict::Verdict;
use rustyrail::testkit::{Frame, PacketBuilder, Rail, ether};

use crate::support::*;

/// The packets' verdicts when the configuration changes between the stages.
fn across(
    rail: &mut Rail,
    packets: &[PacketBuilder],
    change: impl FnOnce(&mut Rail),
) -> (Vec<Verdict>, Vec<Frame>) {
    let mut frames: Vec<_> = packets.iter().map(PacketBuilder::frame).collect();
    let mut stage = Stage::new();
    rail.front(0, &frames, &mut stage);
    change(rail);
    let verdicts = rail.finish(&mut frames, &mut stage);
    (verdicts, frames)
}

/// Services called after their ports, each with a backend of its own.
fn services(ports: &[u16]) -> String {
    let service = |port: &u16| {
        format!(
            "\n[[service]]\nname = \"s{port}\"\nvip = \"{VIP}\"\nprotocol = \"tcp\"\nport = {port}\n\
             [[service.backend]]\nname = \"b\"\naddress = \"198.18.{}.{}\"\n",
            port / 250,
            port % 250 + 1
        )
    };
    one_port(&ports.iter().map(service).collect::<String>())
}

fn to(port: u16) -> PacketBuilder {
    ether().ipv4(CLIENT, VIP).tcp(1, port).ack()
}

#[test]
fn services_that_change_places() {
    let mut rail = Rail::new(&services(&[80, 81, 82, 83]));
    let packets = [to(80), to(81), to(82), to(83)];
    let (verdicts, _) = across(&mut rail, &packets, |rail| {
        rail.reload(&services(&[83, 82, 81, 80]));
    });
    assert_eq!(verdicts, [FORWARD; 4]);
    assert_moved!(
        rail, "s80/b" => 1, "s81/b" => 1, "s82/b" => 1, "s83/b" => 1, "misses" => 4, "inserts" => 4
    );
}

#[test]
fn services_that_go_and_come() {
    let mut rail = Rail::new(&services(&[80, 81, 82]));
    let packets = [to(80), to(81), to(82), to(90)];
    let (verdicts, _) = across(&mut rail, &packets, |rail| {
        rail.reload(&services(&[82, 90]));
    });
    let gone = Verdict::Drop(NoService);
    assert_eq!(verdicts, [gone, gone, FORWARD, FORWARD]);
    assert_moved!(
        rail, "s82/b" => 1, "s90/b" => 1, "no_service" => 2, "misses" => 2, "inserts" => 2
    );
}

#[test]
fn all_services_gone() {
    let mut rail = Rail::new(&services(&[80]));
    let (verdicts, _) = across(&mut rail, &[to(80)], |rail| rail.reload(&services(&[])));
    assert_eq!(verdicts, [Verdict::Drop(NotOurs)]);
}

/// The hash is another one under another key: with the old one the flow would be entered at a place
/// where no later packet finds it.
#[test]
fn the_hash_is_made_anew_for_a_new_key() {
    let config = services(&[80]);
    let mut rail = Rail::new(&config);
    let (_, _) = across(&mut rail, &[to(80)], |rail| {
        rail.reload(&config.replace("000102", "ff0102"));
    });
    assert_moved!(rail, "s80/b" => 1, "misses" => 1, "inserts" => 1);
    rail.receive(to(80).frame());
    assert_moved!(rail, "s80/b" => 1, "hits" => 1);
}

/// What is decided in the first stage from the snapshot (who may tunnel, which tags) is decided again.
#[test]
fn tunnels_and_tags_are_judged_by_the_new_snapshot() {
    let accept = |source: &str| {
        one_port(&[&format!("[tunnel]\naccept = [\"{source}\"]\n"), &web()[..]].concat())
    };
    let tunnelled = ether()
        .ipv4(ROUTER, RAIL)
        .gre()
        .ipv4(CLIENT, VIP)
        .tcp(1, 443);
    let mut rail = Rail::new(&accept(ROUTER));
    let (verdicts, frames) = across(&mut rail, std::slice::from_ref(&tunnelled), |rail| {
        rail.reload(&accept("192.0.2.99"));
    });
    assert_eq!(verdicts, [Verdict::Drop(TunnelSource)]);
    use rustyrail::pipeline::frame::Frame as _;
    assert_eq!(frames[0].data(), tunnelled.build());
    let (verdicts, _) = across(&mut rail, &[tunnelled], |rail| rail.reload(&accept(ROUTER)));
    assert_eq!(verdicts, [FORWARD]);
}

#[test]
fn a_thousand_swaps_with_bursts_between_their_stages() {
    let ports: Vec<u16> = (80..100).collect();
    let mut rail = Rail::new(&services(&ports));
    let packets: Vec<_> = ports.iter().map(|port| to(*port)).collect();
    let mut forwarded = 0;
    for round in 0..1000usize {
        // Services rotate, and one of them is missing.
        let mut next = ports.clone();
        next.rotate_left(round % ports.len());
        let missing = next.pop().expect("twenty");
        let (verdicts, frames) = across(&mut rail, &packets, |rail| rail.reload(&services(&next)));
        for ((port, verdict), frame) in ports.iter().zip(verdicts).zip(frames) {
            if *port == missing {
                assert_eq!(verdict, Verdict::Drop(NoService));
            } else {
                assert_eq!(verdict, FORWARD);
                assert_eq!(Outer::of(&frame).destination, [198, 18, 0, *port as u8 + 1]);
                forwarded += 1;
            }
        }
    }
    let moved = rail.moved();
    assert_eq!(forwarded, 19_000);
    assert_eq!(moved["no_service"], 1000);
    let counted = moved.iter().filter(|(name, _)| name.contains('/'));
    assert_eq!(counted.map(|(_, n)| n).sum::<u64>(), forwarded);
}
