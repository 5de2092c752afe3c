//! Three etcd nodes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::processes::{Cluster, NODES, PATIENCE, output};
use crate::{Kind, Load, Loaded, System};

const CLIENT_PORT: u16 = 23790;
const PEER_PORT: u16 = 23800;

pub(crate) struct Etcd {
    cluster: Cluster,
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

impl Etcd {
    /// With etcd's own defaults, and ports of its own.
    pub(crate) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let members: Vec<_> =
            (0..NODES).map(|node| format!("n{node}={}", url(PEER_PORT + node))).collect();
        let mut cluster = Cluster::default();
        for node in 0..NODES {
            let folder = folder.join(node.to_string());
            let (peer, client) = (url(PEER_PORT + node), url(CLIENT_PORT + node));
            let mut command = Command::new(program);
            command.args(["--name", &format!("n{node}"), "--data-dir"]).arg(folder.join("data"));
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--initial-cluster", &members.join(","), "--log-level", "warn"]);
            cluster.start(&mut command, &folder)?;
        }
        let mut etcd = Self { cluster };
        let begun = Instant::now();
        let load = Load { kind: Kind::Puts, clients: 1, seconds: 1, keys: 1, value_bytes: 1 };
        while let Err(error) = etcd.load(load) {
            etcd.cluster.all_run()?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "etcd does not serve: {error:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(etcd)
    }
}

impl System for Etcd {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn load(&self, load: Load) -> Result<Loaded> {
        let endpoints: Vec<_> = (0..NODES).map(|node| url(CLIENT_PORT + node)).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["etcd-load", "--endpoints", &endpoints.join(",")]);
        command.args(load.arguments());
        Ok(serde_json::from_slice(&output(&mut command)?.stdout)?)
    }
}

impl Load {
    /// As both load generators take them.
    pub(crate) fn arguments(self) -> Vec<String> {
        let reads = if self.kind == Kind::Reads { 100 } else { 0 };
        let Self { clients, seconds, keys, value_bytes, .. } = self;
        let flags = [
            format!("--clients={clients}"),
            format!("--seconds={seconds}"),
            format!("--keys={keys}"),
            format!("--value-bytes={value_bytes}"),
            format!("--reads={reads}"),
        ];
        flags.to_vec()
    }
}
