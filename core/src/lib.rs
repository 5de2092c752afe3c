//! The consensus core of Aspen: what runs in both worlds, simulation and production.
//!
//! The core knows no clock, no socket, no file. It reaches the world through three seams:
//! [`Runtime`] (tasks, timers, the clock that stamps proposals), [`Transport`] (calls and streams
//! between nodes) and [`Volume`] (files, and the place where a storage transaction runs).
//!
//! Left out on purpose: any knowledge of madsim, iroh or tokio, and any switch for tests.

pub mod api;
pub mod codec;
pub mod command;
pub mod limits;
pub mod machine;
pub mod network;
pub mod node;
pub mod runtime;
pub mod storage;
pub mod transport;
pub mod types;
pub mod volume;

pub use api::{ClusterController, KeyValueStore};
pub use node::{Node, NodeConfig};
pub use runtime::Runtime;
pub use transport::Transport;
pub use types::{LogTime, NodeId, RaftConfig};
pub use volume::Volume;
