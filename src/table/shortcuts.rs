//! What plain packets look up, arranged so that each of them touches as few cache lines as can be. All of it
//! follows from the rest of a snapshot.

use super::adjacency::Adjacency;
use super::claim::{Claim, ClaimKey};
use super::routes::Routes;
use super::service::{ExactKey, Families, ServiceIndex, ServiceMap};
use super::slots::Slots;
use super::snapshot::{Backend, Service};
use super::{BackendId, FlowHash, HashKey};

/// See the module.
#[derive(Debug)]
pub struct Shortcuts {
    /// The ways to the backends, by id.
    adjacencies: Box<[Adjacency]>,
    /// The backends of all services, one service behind the other.
    members: Box<[BackendId]>,
    /// How each service is steered.
    choices: Box<[Choice]>,
    /// The services that are steered by hashes alone.
    pub routes: Routes,
    /// Whether IPv4 packets, and IPv6 packets, [claim](Claim) their service by their own key, else by the service's
    /// index.
    pub claims_by_key: Families,
    /// What claims of IPv6 packets are made with.
    pub claim_key: ClaimKey,
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
#[derive(Debug)]
struct Choice {
    /// The slots of the service's Maglev table; none if no backend has any.
    slots: Slots,
    /// How many these are.
    size: u32,
    /// Where the service's backends begin among those of all services.
    first: u32,
    mode: Mode,
}

impl Choice {
    #[inline(always)]
    fn slot(&self, hash: FlowHash) -> u32 {
        hash.slot(self.size)
    }
}

impl Shortcuts {
    /// Arranges services, and backends by id.
    pub fn new(
        map: &ServiceMap,
        hash_key: &HashKey,
        services: &[Service],
        backends: &[Option<Backend>],
    ) -> Self {
        let mut members = Vec::new();
        let choice = |service: &Service| {
            let first = members.len() as u32;
            members.extend_from_slice(&service.backends);
            Choice {
                slots: service.maglev.slots().clone(),
                size: service.maglev.slots().len(),
                first,
                mode: Mode::of(service),
            }
        };
        let choices: Box<[_]> = services.iter().map(choice).collect();
        let by_connections = choices.iter().all(|choice| choice.mode == Mode::Connection);
        let exact = map.are_exact();
        let claims_by_key = Families {
            v4: exact.v4 && by_connections,
            v6: exact.v6 && by_connections,
        };
        let claim_key = ClaimKey::new(hash_key);
        let claim = |index| match map.exact_key(index) {
            Some(ExactKey::V4(key)) if claims_by_key.v4 => Claim::of_v4(key),
            Some(ExactKey::V6(key)) if claims_by_key.v6 => Claim::of_v6(key, &claim_key),
            _ => Claim::of_service(index),
        };
        let adjacency = |id: BackendId| match backends.get(id.index()) {
            Some(Some(backend)) => {
                let claim = match choices.get(usize::from(backend.service.0)) {
                    Some(choice) if choice.mode == Mode::Connection => claim(backend.service),
                    _ => Claim::NONE,
                };
                Adjacency::new(id, backend, claim)
            }
            _ => Adjacency::missing(id),
        };
        let steered = |service: &Service| Mode::of(service) == Mode::Hash;
        let routes = Routes::new(map, services, steered, adjacency);
        let by_id = (0..).map(BackendId::new).take(backends.len());
        let by_id = by_id.map(|id| id.map_or(Adjacency::NONE, adjacency));
        Shortcuts {
            adjacencies: by_id.collect(),
            routes,
            members: members.into(),
            choices,
            claims_by_key,
            claim_key,
        }
    }

    /// How a service is steered.
    #[inline(always)]
    pub fn mode(&self, index: ServiceIndex) -> Option<Mode> {
        Some(self.choices.get(usize::from(index.0))?.mode)
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
        let backend = choice.slots.get(choice.slot(hash))?;
        let member = choice.first + u32::from(backend);
        self.members.get(member as usize).copied()
    }

    /// Asks for what [`Shortcuts::choose`] will look at, some time before.
    #[inline(always)]
    pub fn prefetch_choice(&self, index: ServiceIndex, hash: FlowHash) {
        if let Some(choice) = self.choices.get(usize::from(index.0)) {
            choice.slots.prefetch(choice.slot(hash));
        }
    }
}
