//! What plain packets look up, arranged so that each of them touches as few cache lines as can be. All of it
//! follows from the rest of a snapshot.

use std::sync::Arc;

use crate::hw;

use super::adjacency::Adjacency;
use super::service::{Claim, ServiceIndex, ServiceMap};
use super::snapshot::{Backend, Service};
use super::{BackendId, FlowHash};

/// See the module.
#[derive(Debug)]
pub struct Shortcuts {
    /// The ways to the backends, by id.
    adjacencies: Box<[Adjacency]>,
    choices: Box<[Choice]>,
    /// How each service is steered.
    modes: Box<[Mode]>,
    /// IPv4 packets [claim](Claim::of_v4) their service by their own key, else by the service's index.
    pub claims_by_key: bool,
}

/// What decides where the packets of a service go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Their connections.
    Connection,
    /// Their source addresses.
    Source,
    /// What they hash to now, and nothing else.
    Hash,
}

impl Mode {
    fn of(service: &Service) -> Self {
        match service {
            Service {
                source_affinity: true,
                ..
            } => Mode::Source,
            Service { tracked: false, .. } => Mode::Hash,
            _ => Mode::Connection,
        }
    }
}

/// What chooses a backend of one service.
#[derive(Debug, Clone)]
struct Choice {
    /// The slots of the service's Maglev table; none if no backend has any.
    slots: Arc<[u16]>,
    backends: Arc<[BackendId]>,
}

impl Choice {
    #[inline(always)]
    fn slot(&self, hash: FlowHash) -> usize {
        // A table's size is 32 bits.
        hash.slot(self.slots.len() as u32) as usize
    }
}

impl Shortcuts {
    /// Arranges services, and backends by id.
    pub fn new(map: &ServiceMap, services: &[Service], backends: &[Option<Backend>]) -> Self {
        let modes: Box<[_]> = services.iter().map(Mode::of).collect();
        let by_connections = modes.iter().all(|mode| *mode == Mode::Connection);
        let claims_by_key = map.is_exact_v4() && by_connections;
        let claim = |index| match map.v4_key(index) {
            Some(key) if claims_by_key => Claim::of_v4(key),
            _ => Claim::of_service(index),
        };
        let adjacency = |backend: &Option<Backend>| match backend {
            Some(backend) => {
                let claim = match modes.get(usize::from(backend.service.0)) {
                    Some(Mode::Connection) => claim(backend.service),
                    _ => Claim::NONE,
                };
                Adjacency::new(backend, claim)
            }
            None => Adjacency::NONE,
        };
        let choice = |service: &Service| Choice {
            slots: Arc::clone(service.maglev.slots()),
            backends: Arc::clone(&service.backends),
        };
        Shortcuts {
            adjacencies: backends.iter().map(adjacency).collect(),
            choices: services.iter().map(choice).collect(),
            modes,
            claims_by_key,
        }
    }

    /// How a service is steered.
    #[inline(always)]
    pub fn mode(&self, index: ServiceIndex) -> Option<Mode> {
        self.modes.get(usize::from(index.0)).copied()
    }

    /// The way to the backend with this number, where there is one; else one that leads nowhere.
    #[inline(always)]
    pub fn adjacency(&self, id: u32) -> Option<&Adjacency> {
        self.adjacencies.get(id as usize)
    }

    /// The backend a flow of a service hashes to, or `None` if no backend has slots.
    #[inline(always)]
    pub fn choose(&self, index: ServiceIndex, hash: FlowHash) -> Option<BackendId> {
        let choice = self.choices.get(usize::from(index.0))?;
        let backend = *choice.slots.get(choice.slot(hash))?;
        choice.backends.get(usize::from(backend)).copied()
    }

    /// Asks for what [`Shortcuts::choose`] will look at, some time before.
    #[inline(always)]
    pub fn prefetch_choice(&self, index: ServiceIndex, hash: FlowHash) {
        if let Some(choice) = self.choices.get(usize::from(index.0)) {
            hw::prefetch_near(choice.slots.as_ptr().wrapping_add(choice.slot(hash)));
        }
    }
}
