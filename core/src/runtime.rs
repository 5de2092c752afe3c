//! The first seam: tasks, timers, randomness and the clock.
//!
//! Everything but the wall clock is openraft's own [`AsyncRuntime`]; where a storage transaction
//! runs is the [`Volume`](crate::Volume)'s business, because how long it takes is a property of
//! the disk.

use openraft::AsyncRuntime;

use crate::types::LogTime;

/// The world that a node runs in: openraft's runtime, plus the clock that stamps proposals.
pub trait Runtime: AsyncRuntime + Send + Sync {
    /// The wall clock of the machine that the calling task runs on.
    ///
    /// It may jump and drift; the state machine only ever moves its own time forwards.
    fn wall_clock() -> LogTime;
}
