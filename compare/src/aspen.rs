//! Three Aspen nodes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::processes::{Cluster, NODES, PATIENCE, output};
use crate::{Load, Loaded, System};

const PORT: u16 = 27600;

pub(crate) struct Aspen {
    cluster: Cluster,
    cli: PathBuf,
    ticket: String,
}

impl Aspen {
    /// With the node's own defaults, but for the multicast of mDNS.
    pub(crate) fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let mut cluster = Cluster::default();
        for node in 1..=NODES {
            let folder = folder.join(node.to_string());
            let mut command = Command::new(programs.join("aspen-node"));
            command.args(["--node-id", &node.to_string(), "--cookie", "a cookie of no secrecy"]);
            command.args(["--bind", &format!("127.0.0.1:{}", PORT + node), "--disable-mdns"]);
            command.arg("--data-dir").arg(folder.join("data"));
            cluster.start(&mut command, &folder)?;
        }
        let mut tickets = Vec::new();
        for node in 1..=NODES {
            tickets.push(ticket(&mut cluster, &folder.join(node.to_string()))?);
        }
        let cli = programs.join("aspen-cli");
        let aspen = Self { cluster, cli, ticket: tickets[0].clone() };
        output(aspen.command().args(["cluster", "init"]).args(&tickets))?;
        output(aspen.command().args(["kv", "set", "first", "write"]))?;
        Ok(aspen)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.cli);
        command.args(["--json", "--ticket", &self.ticket]);
        command
    }
}

impl System for Aspen {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn load(&self, load: Load) -> Result<Loaded> {
        let output = output(self.command().arg("bench").args(load.arguments()))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The ticket that a node prints once it serves.
fn ticket(cluster: &mut Cluster, folder: &Path) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        cluster.all_run()?;
        let said = std::fs::read_to_string(folder.join("stdout"))?;
        let found = said.lines().find_map(|line| line.strip_prefix("ticket "));
        if let Some(ticket) = found.filter(|_| said.ends_with('\n')) {
            return Ok(ticket.to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("aspen-node does not serve")
}
