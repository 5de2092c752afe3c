//! The simulated world's two seams: openraft's async runtime on madsim, and the network.
//!
//! madsim lends its executor and its virtual clock, nothing else. Whatever is random here comes
//! from named [`streams`], whatever waits is woken in an order that the code fixes, and a run
//! lives on a thread of its own ([`run_isolated`]); so a seed means the same bytes everywhere.
//!
//! - [`runtime`]: [`SimRuntime`], what a node's tasks run on.
//! - [`network`]: [`Network`] and [`SimTransport`], what its messages travel on.
//!
//! Left out on purpose: madsim's own network and file system, which have no per-link laws and
//! lose nothing at a crash.

#[cfg(not(madsim))]
compile_error!(
    "aspen's simulator needs `--cfg madsim`: .cargo/config.toml sets it, and RUSTFLAGS in the \
     environment replaces it. Unset RUSTFLAGS, or add `--cfg madsim` to it."
);

mod isolated;
mod lock;
pub mod runtime;
pub mod streams;

pub use isolated::{RunPanicked, run_isolated};
pub use runtime::SimRuntime;
