//! The lab's test of itself: does one 5-tuple meet one rail?
//!
//! Everything a connection table is good for rests on it, and the kernel breaks it easily: its
//! multipath uses the hash of the sending socket, which by default changes when a SYN is sent
//! again. So the test lets SYNs be sent again, to a port where nothing answers, and counts them
//! where they arrive, by source port, in each rail's nftables set.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::netns::{NetnsError, run};
use super::network::{NFT_TABLE, PROBE_PORT, PROBE_SET};
use super::running::Lab;
use super::topology::VIP;

/// Enough 5-tuples to meet every rail, and enough retransmissions that a hash that changes with
/// each would be noticed with certainty: 2 to the power of 64 to 1 for two rails.
const TUPLES: usize = 32;
/// A SYN goes out at once and again after one and two or three seconds (RFC 6298, section 2.1 for
/// the first; the rest depends on the kernel's tcp_syn_linear_timeouts).
const PATIENCE: Duration = Duration::from_millis(2300);

/// What the rails saw of the probes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets by source port, then by rail.
    pub tuples: BTreeMap<u16, BTreeMap<String, u64>>,
}

impl Seen {
    /// The 5-tuples whose packets met more than one rail.
    pub fn split(&self) -> usize {
        self.tuples.values().filter(|rails| rails.len() > 1).count()
    }

    /// The 5-tuples of which at least two packets arrived: the others say nothing.
    pub fn repeated(&self) -> usize {
        self.tuples
            .values()
            .filter(|rails| rails.values().sum::<u64>() > 1)
            .count()
    }

    /// How many 5-tuples met this rail.
    pub fn met(&self, rail: &str) -> usize {
        self.tuples
            .values()
            .filter(|rails| rails.contains_key(rail))
            .count()
    }

    /// Whether the lab is fit for use: every probe was repeated, and none was split.
    pub fn is_sound(&self) -> bool {
        self.repeated() == TUPLES && self.split() == 0
    }
}

/// Sends the probes from the first client and returns where they arrived. Takes [`PATIENCE`].
pub fn probe(lab: &Lab) -> Result<Seen, NetnsError> {
    let Some(client) = lab.topology.clients.first() else {
        return Ok(Seen::default());
    };
    lab.netns(&client.name).enter(|| {
        thread::scope(|scope| {
            for _ in 0..TUPLES {
                scope.spawn(|| {
                    let nowhere = SocketAddr::from((VIP, PROBE_PORT));
                    // Nothing answers: what matters is what the attempt sends.
                    let _ = TcpStream::connect_timeout(&nowhere, PATIENCE);
                });
            }
        });
    })?;
    let mut seen = Seen::default();
    for rail in &lab.topology.rails {
        let list = || {
            let [family, table] = NFT_TABLE;
            run(Command::new("nft").args(["-j", "list", "set", family, table, PROBE_SET]))
        };
        let listing = lab.netns(&rail.name).enter(list)??;
        for (port, packets) in counters(&listing.stdout) {
            seen.tuples
                .entry(port)
                .or_default()
                .insert(rail.name.clone(), packets);
        }
    }
    Ok(seen)
}

/// Reads the elements of the set in nft's JSON, as source port and packets.
fn counters(listing: &[u8]) -> Vec<(u16, u64)> {
    let json: serde_json::Value = serde_json::from_slice(listing).unwrap_or_default();
    let elements = json["nftables"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|object| {
            object["set"]["elem"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|entry| &entry["elem"])
        });
    elements
        .filter_map(|element| {
            let port = u16::try_from(element["val"].as_u64()?).ok()?;
            Some((port, element["counter"]["packets"].as_u64()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let listing = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {
            "family": "netdev", "name": "probes", "table": "lab", "type": "inet_service",
            "elem": [{"elem": {"val": 40000, "counter": {"packets": 3, "bytes": 180}}},
                     {"elem": {"val": 40001, "counter": {"packets": 1, "bytes": 60}}}]}}]}"#;
        assert_eq!(counters(listing), [(40000, 3), (40001, 1)]);
        assert_eq!(counters(b"not JSON"), []);
    }

    #[test]
    fn a_split_tuple_is_noticed() {
        let mut seen = Seen::default();
        let rails = [("rail-a".to_owned(), 2), ("rail-b".to_owned(), 1)];
        seen.tuples.insert(1, rails.into());
        assert_eq!(
            (seen.split(), seen.repeated(), seen.met("rail-b")),
            (1, 1, 1)
        );
        assert!(!seen.is_sound());
    }
}
