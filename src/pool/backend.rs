//! A server behind a service.

use std::net::IpAddr;

use super::{Mtu, Name};

/// The largest weight.
pub const MAX_WEIGHT: u16 = 1000;

/// A server behind a service, as the pool wants it; health is observed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its service. Its bytes decide the backend's slots in the Maglev table.
    pub name: Name,
    /// Where packets are sent: the outer destination of a tunnel, or the next hop of `l2dsr`.
    pub address: IpAddr,
    /// Its share of new flows.
    pub weight: Weight,
    /// Whether it takes new flows, only the flows it has, or none.
    pub state: State,
    /// The largest packet the path to it carries, tunnel headers included, when that is less than
    /// the MTU of the port.
    pub mtu: Option<Mtu>,
}

impl Backend {
    /// Whether the pool gives this backend slots: state `up` and a weight above zero.
    pub fn has_slots(&self) -> bool {
        self.state == State::Up && self.weight.get() > 0
    }
}

/// A share of new flows, relative to the other backends of the service: 0 to [`MAX_WEIGHT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight, or `None` above [`MAX_WEIGHT`].
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= MAX_WEIGHT {
            Some(Self(weight))
        } else {
            None
        }
    }

    /// The weight as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    /// 100, so that a weight reads as a percentage of an ordinary backend.
    fn default() -> Self {
        Self(100)
    }
}

/// What the pool wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// Takes new flows.
    #[default]
    Up,
    /// Keeps the flows that are pinned to it, takes no new ones.
    Drain,
    /// Takes nothing; its flows are steered anew.
    Down,
}

impl State {
    /// All states with the words of the configuration file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("up", Self::Up),
        ("drain", Self::Drain),
        ("down", Self::Down),
    ];

    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}
