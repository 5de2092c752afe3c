//! The thin node: the core that the simulator tests, on a real network and a real disk.
//!
//! `settings` says what it runs with, `data_folder` what it lives in, `volume` where its
//! transactions run, `discovery` what it knows of others, and `node` in which order it starts and ends.

pub mod data_folder;
mod discovery;
pub mod node;
pub mod settings;
pub mod volume;

pub use node::RunningNode;
pub use settings::{Options, Settings, SettingsError};
