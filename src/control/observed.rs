//! What a rail has found out by itself and its configuration does not say: paths that carry less, drains
//! whose time is over.

use crate::pool::Config;
use crate::table::Nanos;
use crate::table::path::PathNews;

use super::drains::Drains;
use super::paths::Paths;
use super::rail::Rail;

/// Paths and drains.
#[derive(Default, Clone)]
pub(super) struct Observed {
    pub paths: Paths,
    pub drains: Drains,
}

impl Observed {
    /// Takes another configuration.
    pub(super) fn configure(&mut self, config: &Config, now: Nanos) {
        self.paths.configure(config);
        self.drains.configure(&config.pool, now);
    }

    /// Lets time pass and hears the news. Whether anything is other than before.
    pub(super) fn tick(&mut self, config: &Config, now: Nanos) -> bool {
        let drained = self.drains.tick(now);
        self.paths.tick(config, now) | drained
    }
}

impl Rail {
    /// Hears from now on what routers say of the rail's tunnels.
    pub fn hear_paths(&mut self, news: PathNews) {
        self.observed.paths.listen(news);
    }

    /// How many paths to backends are known to carry less than configured.
    pub fn small_paths(&self) -> usize {
        self.observed.paths.count()
    }
}
