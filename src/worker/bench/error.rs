//! Why nothing can be measured.

use dpdk::thread::ThreadError;

use crate::table::conn::ConnError;
use crate::worker::ports::OpenError;

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The port.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread.
    #[error("cannot start a measuring thread: {0}")]
    Spawn(#[from] std::io::Error),
    /// Its core.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Its table.
    #[error(transparent)]
    Conns(#[from] ConnError),
    /// Memory for another table.
    #[error("no memory: {0}")]
    Memory(#[source] std::io::Error),
    /// The port gives no packets by itself.
    #[error(
        "port {0} receives nothing: measure on one that makes packets up, such as net_null0,size=64"
    )]
    Silent(String),
    /// The worker lost what the far end sent.
    #[error("{0} packets did not come back: a worker under test drops none")]
    Missing(usize),
    /// The far end cannot keep a worker busy.
    #[error(
        "the worker never had two whole bursts in a row: the far end was too slow or had no core"
    )]
    Idle,
    /// A thread is gone.
    #[error("a measuring thread ended early")]
    Lost,
}
