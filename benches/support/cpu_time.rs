//! CPU time of the thread or of the process: on a machine that does other things as well, wall time measures
//! the neighbours.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What the clock shows: `CLOCK_THREAD_CPUTIME_ID` or `CLOCK_PROCESS_CPUTIME_ID`.
pub fn cpu_time(clock: ClockId) -> Duration {
    Duration::from(clock_gettime(clock).expect("Linux has both clocks"))
}
