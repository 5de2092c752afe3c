//! Three processes that pass requests on, store them and answer, and agree on nothing
//! (`transport-iroh/examples/floor.rs`): what a system cannot go below that replicates over the same streams.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::processes::{Cluster, NODES, output};
use crate::{Kind, Load, Loaded, System};

/// Where `compare/run` has cargo put it.
const PROGRAM: &str = "target/release/examples/floor";

pub(crate) struct Floor {
    cluster: Cluster,
    /// What its streams are: `quic` or `tcp`.
    over: &'static str,
    folder: PathBuf,
}

impl Floor {
    pub(crate) fn start(folder: &Path, over: &'static str) -> Result<Self> {
        let (cluster, folder) = (Cluster::default(), folder.to_owned());
        let mut floor = Self { cluster, over, folder };
        for node in 1..=NODES {
            let mut command = floor.command("serve");
            command.args(["--node", &node.to_string()]);
            floor.cluster.start(&mut command, &floor.folder.join(node.to_string()))?;
        }
        Ok(floor)
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args([what, "--over", self.over, "--folder"]).arg(&self.folder);
        command
    }
}

impl System for Floor {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn load(&self, load: Load) -> Result<Loaded> {
        let mut command = self.command("load");
        command.args(["--seconds", &load.seconds.to_string()]);
        if load.kind == Kind::Reads {
            command.arg("--reads");
        }
        Ok(serde_json::from_slice(&output(&mut command)?.stdout)?)
    }

    /// It has one client.
    fn takes(&self, load: Load) -> bool {
        load.clients == 1
    }
}
