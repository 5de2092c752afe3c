//! The simulated world's two seams: openraft's async runtime on madsim, and the network.

#[cfg(not(madsim))]
compile_error!(
    "aspen's simulator needs `--cfg madsim`: .cargo/config.toml sets it, and RUSTFLAGS in the \
     environment replaces it. Unset RUSTFLAGS, or add `--cfg madsim` to it."
);
