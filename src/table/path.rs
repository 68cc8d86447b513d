//! What is known of the paths to tunnel ends: routers on them say by ICMP that less than the
//! configured MTU fits (RFC 1191, RFC 8201).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Nanos;

/// What a router said about a packet of ours: it went to `destination` in a tunnel, and is too big.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathError {
    /// The far end of the tunnel.
    pub destination: IpAddr,
    /// The protocol of the outer header.
    pub protocol: u8,
    /// The destination port of the outer UDP header; 0 for any other protocol.
    pub port: u16,
    /// The MTU named, as it was named; zero if none was.
    pub mtu: u32,
    /// Length of the packet that did not fit, as its header says.
    pub length: u16,
}

/// Such messages on their way from the workers to the control core. When it is full, they are lost:
/// the next packet that is too big brings another.
pub type PathNews = Arc<ArrayQueue<PathError>>;

/// Messages that may wait for a tick of the control core.
pub const PATH_NEWS_WAITING: usize = 256;

/// The MTUs of paths that are known to be smaller than configured. What may be learnt is bounded by
/// the caller: it asks about tunnel ends of its own configuration only.
#[derive(Debug, Clone, Default)]
pub struct PathMtus(BTreeMap<IpAddr, Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    mtu: u16,
    until: Nanos,
}

impl PathMtus {
    /// How long a path is believed to be that small: RFC 1191, section 6.3 and RFC 8201, section 4 say
    /// not to try more before five minutes, and recommend ten.
    pub const LIFE: Duration = Duration::from_secs(600);
    /// Nobody is believed who says less, for it is more likely a lie than a path: what every IPv4 host
    /// takes, and what every IPv6 link carries.
    pub const FLOOR_V4: u16 = 576;
    /// RFC 8200, section 5.
    pub const FLOOR_V6: u16 = 1280;

    /// Takes note of an error about a path whose MTU was taken for `configured`. Whether packets have
    /// to be smaller than before.
    pub fn learn(&mut self, error: &PathError, configured: u16, now: Nanos) -> bool {
        let floor = match error.destination {
            IpAddr::V4(_) => Self::FLOOR_V4,
            IpAddr::V6(_) => Self::FLOOR_V6,
        };
        let named = match error.mtu {
            0 => plateau(error.length),
            mtu => u16::try_from(mtu).unwrap_or(u16::MAX),
        };
        let mtu = named.max(floor);
        let until = now + Self::LIFE;
        match self.0.get_mut(&error.destination) {
            // RFC 8201, section 4: an error that names more than what is in use changes nothing.
            Some(known) if mtu > known.mtu => false,
            Some(known) => {
                let smaller = mtu < known.mtu;
                *known = Known { mtu, until };
                smaller
            }
            None if mtu < configured => {
                self.0.insert(error.destination, Known { mtu, until });
                true
            }
            None => false,
        }
    }

    /// Forgets paths whose time is over. Whether there was one.
    pub fn expire(&mut self, now: Nanos) -> bool {
        let before = self.0.len();
        self.0.retain(|_, known| known.until > now);
        self.0.len() != before
    }

    /// The MTU of the path to a tunnel end, if it is known to be smaller than configured.
    pub fn get(&self, destination: IpAddr) -> Option<u16> {
        Some(self.0.get(&destination)?.mtu)
    }

    /// The paths known to be small, with their MTUs.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        self.0.iter().map(|(address, known)| (*address, known.mtu))
    }

    /// Keeps the paths of which `keep` is true: those to tunnel ends that still are.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|address, _| keep(*address));
    }
}

/// RFC 1191, section 7: what to try after a packet of `length` bytes failed at a router that names no
/// MTU.
fn plateau(length: u16) -> u16 {
    const PLATEAUS: [u16; 6] = [8166, 4352, 2002, 1492, 1006, 508];
    let below = PLATEAUS.into_iter().find(|plateau| *plateau < length);
    below.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(destination: &str, mtu: u32) -> PathError {
        PathError {
            destination: destination.parse().expect("test address"),
            protocol: 47,
            port: 0,
            mtu,
            length: 1500,
        }
    }

    #[test]
    fn only_less_is_learnt_and_not_below_the_floor() {
        let mut paths = PathMtus::default();
        let now = Nanos::from_secs(1);
        let v4 = "198.18.0.1".parse().expect("test address");
        assert!(!paths.learn(&error("198.18.0.1", 1600), 1600, now));
        assert_eq!(paths.get(v4), None);
        for (named, smaller, known) in [
            (1400, true, 1400),
            (1450, false, 1400),
            (1400, false, 1400),
            (0, false, 1400), // 1492, after 1500
            (68, true, 576),
            (1, false, 576),
        ] {
            assert_eq!(
                paths.learn(&error("198.18.0.1", named), 1600, now),
                smaller,
                "{named}"
            );
            assert_eq!(paths.get(v4), Some(known), "{named}");
        }
        assert!(paths.learn(&error("2001:db8::1", 100), 1600, now));
        assert_eq!(paths.iter().count(), 2);
        assert_eq!(
            paths.get("2001:db8::1".parse().expect("test address")),
            Some(1280)
        );
        assert!(!paths.learn(&error("198.18.0.9", 70_000), 1600, now));
    }

    #[test]
    fn forgotten_ten_minutes_after_the_last_word() {
        let mut paths = PathMtus::default();
        paths.learn(&error("198.18.0.1", 1400), 1600, Nanos::from_secs(0));
        paths.learn(&error("198.18.0.1", 1400), 1600, Nanos::from_secs(300));
        assert!(!paths.expire(Nanos::from_secs(899)));
        assert!(paths.expire(Nanos::from_secs(900)));
        assert!(!paths.expire(Nanos::from_secs(901)));
    }

    #[test]
    fn plateaus_of_old_routers() {
        assert_eq!(plateau(1500), 1492);
        assert_eq!(plateau(1492), 1006);
        assert_eq!(plateau(500), 0);
    }
}
