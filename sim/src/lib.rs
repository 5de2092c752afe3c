//! The simulator: scenario → schedule → cluster run → history + trace → checks → verdict → artifact.

#[cfg(not(madsim))]
compile_error!(
    "aspen's simulator needs `--cfg madsim`: .cargo/config.toml sets it, and RUSTFLAGS in the \
     environment replaces it. Unset RUSTFLAGS, or add `--cfg madsim` to it."
);

pub mod disk;
pub mod checks;
pub mod history_file;
pub mod trace;
pub mod verdict;
