//! The simulator: scenario → schedule → cluster run → history + trace → checks → verdict → artifact.
//!
//! Each stage is a module of that name; [`commands`] are the verbs of `aspen-sim`. The system
//! under test is known to one module only, [`sut`]. What the machines of a run stand on besides is
//! the simulated [`disk`] here, and the simulated network and runtime of `aspen-transport-sim`.
//!
//! Everything that happens in a run comes from its [`schedule`]: no clock, no hash seed, no thread
//! of the outside has a say in it, and `aspen-sim verify` holds that.

#[cfg(not(madsim))]
compile_error!(
    "aspen's simulator needs `--cfg madsim`: .cargo/config.toml sets it, and RUSTFLAGS in the \
     environment replaces it. Unset RUSTFLAGS, or add `--cfg madsim` to it."
);

pub mod artifact;
pub mod checks;
pub mod commands;
pub mod coverage;
pub mod disk;
mod logging;
pub mod mutants;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sut;
pub mod trace;
pub mod verdict;
