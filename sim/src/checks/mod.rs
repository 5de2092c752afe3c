//! The checks: `(history, trace) → verdict`, without clocks, files or randomness.

pub mod linearizability;
pub mod property;
