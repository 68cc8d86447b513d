//! What the workers of a rail share beside the snapshot.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use crate::table::conn::ConnTable;
use crate::table::fragment::FragmentTable;
use crate::table::news::{HeardProbes, News, PROBES_WAITING};
use crate::table::path::{PATH_NEWS_WAITING, PathNews};

/// Datagrams in flight to rails elsewhere: few, as it happens only when no backend is left.
const TROMBONED: usize = 4096;

/// Shared by all workers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where the first fragments of datagrams went.
    pub fragments: Arc<FragmentTable>,
    /// The connection tables of all workers, known once all have started. Read on rare paths: a
    /// fragment or an ICMP error may reach another worker than the connection it belongs to.
    pub tables: Arc<OnceLock<Box<[Arc<ConnTable>]>>>,
    /// The datagrams whose first fragment went to a rail elsewhere. Which one the 3-tuple says anew; the
    /// id in an entry means nothing.
    pub tromboned: Arc<FragmentTable>,
    /// What workers tell the control core.
    pub news: News,
    /// What routers say about tunnels of the rail.
    pub paths: PathNews,
    /// The probes of other rails.
    pub heard: HeardProbes,
}

impl Shared {
    /// With room for so many fragmented datagrams at a time, each remembered for so long.
    pub fn new(datagrams: usize, lifetime: Duration, news: News) -> io::Result<Self> {
        Ok(Shared {
            fragments: Arc::new(FragmentTable::new(datagrams, lifetime)?),
            tromboned: Arc::new(FragmentTable::new(TROMBONED, lifetime)?),
            heard: Arc::new(ArrayQueue::new(PROBES_WAITING)),
            tables: Arc::new(OnceLock::new()),
            paths: Arc::new(ArrayQueue::new(PATH_NEWS_WAITING)),
            news,
        })
    }
}
