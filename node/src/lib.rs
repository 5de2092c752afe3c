//! The thin node: the core that the simulator tests, on a real network and a real disk.
//!
//! `settings` says what it runs with, `data_folder` what it lives in, `volume` where its
//! transactions run, `discovery` what it knows of others, `metrics` what its operator sees of it,
//! and `node` in which order it starts and ends.
//!
//! Beside running: `commands` are the command line, `backup`, `restore`, `recover` and `trial` its
//! words, `backup_file` is a backup on the disk, and `local` a whole cluster in one process.

pub mod backup;
pub mod backup_file;
pub mod commands;
pub mod data_folder;
mod discovery;
pub mod local;
pub mod metrics;
pub mod node;
pub mod recover;
pub mod restore;
pub mod settings;
pub mod trial;
pub mod volume;

pub use node::RunningNode;
pub use settings::{Options, Settings, SettingsError};
