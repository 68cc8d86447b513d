//! Tells the links unasked which addresses the rail has there: at start and when a link comes back, a
//! station that remembers another link address for one of them, or a switch that remembers another port,
//! would otherwise go wrong until its memory ends.

use std::net::IpAddr;
use std::time::Duration;

use crate::table::Nanos;
use crate::table::snapshot::PortIndex;

use super::rail::Rail;
use super::solicit::announcement;

/// RFC 5227, section 1.1: announcements are made twice. RFC 4861, section 10, allows up to three.
const TIMES: u8 = 2;
/// RFC 5227, section 1.1: seconds between the two.
const PAUSE: Duration = Duration::from_secs(2);
/// How often links are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What has been told on each port, by index.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    ports: Vec<Told>,
    next_look: Nanos,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    up: bool,
    /// How often it is still to be told.
    left: u8,
    next: Nanos,
}

impl Announcer {
    /// The ports on which to tell now. `links` says of every port whether it has a link, and is asked
    /// once in [`LOOK`].
    fn due(&mut self, now: Nanos, links: impl FnOnce() -> Vec<bool>) -> Vec<usize> {
        if now < self.next_look {
            return Vec::new();
        }
        self.next_look = now + LOOK;
        let links = links();
        self.ports.resize(links.len(), Told::default());
        let mut due = Vec::new();
        for (index, (told, up)) in self.ports.iter_mut().zip(links).enumerate() {
            if up && !told.up {
                (told.left, told.next) = (TIMES, now);
            }
            told.up = up;
            if up && told.left > 0 && told.next <= now {
                told.left -= 1;
                told.next = now + PAUSE;
                due.push(index);
            }
        }
        due
    }
}

impl Rail {
    /// Announces the rail's own addresses where that is due.
    pub(super) fn announce(&mut self, now: Nanos) {
        let hardware = &self.hardware;
        let links = || hardware.ports().iter().map(|port| port.up).collect();
        for index in self.announcer.due(now, links) {
            let port = self.config.ports.get(index);
            let Some((port, mac)) = port.zip(self.macs.get(index)) else {
                continue;
            };
            let own = port.addresses.iter().map(|own| own.address());
            for frame in own.filter_map(|own: IpAddr| announcement(port, *mac, own)) {
                self.hardware.send(PortIndex(index as u8), &frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_at_start_and_twice_when_the_link_is_back() {
        let mut announcer = Announcer::default();
        // Link of the first port by second; the second port never has one.
        let up = |second: u64| !(6..9).contains(&second);
        let mut told = Vec::new();
        for millis in (0..20_000).step_by(20) {
            let now = Nanos(0) + Duration::from_millis(millis);
            let due = announcer.due(now, || vec![up(millis / 1000), false]);
            told.extend(due.into_iter().map(|port| (millis / 1000, port)));
        }
        assert_eq!(told, [(0, 0), (2, 0), (9, 0), (11, 0)]);
    }

    #[test]
    fn a_link_that_goes_between_the_two_starts_again() {
        let mut announcer = Announcer::default();
        let links = [true, false, true, true, true, true];
        let mut told = Vec::new();
        for (second, up) in (0..).zip(links) {
            let due = announcer.due(Nanos::from_secs(second), || vec![up]);
            told.extend(due.into_iter().map(|_| second));
        }
        assert_eq!(told, [0, 2, 4]);
    }
}
