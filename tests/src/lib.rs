//! What the tests that span crates share.

pub mod file_volume;
pub mod iroh_network;
pub mod simulated_network;
pub mod simulated_runs;
pub mod transport_conformance;
