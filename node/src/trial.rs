//! `aspen-node try`: three nodes in this process, until they are told to end.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Refusal;
use crate::local::LocalCluster;

const NODES: u64 = 3;

/// Runs three nodes on this machine, to try them; nothing of them stays.
#[derive(Debug, Args)]
pub struct Try {}

impl Try {
    /// Runs the nodes until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// [`Refusal`], when a node cannot start or stops by itself.
    pub async fn run(self) -> Result<(), Refusal> {
        // From the first moment on, so that an early Ctrl-C leaves nothing behind either.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut starting = std::pin::pin!(LocalCluster::start(NODES));
        let started = tokio::select! {
            started = &mut starting => Some(started?),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        let Some(cluster) = started else {
            // Databases that are being opened would be written into a folder that is being removed.
            return Ok(starting.await?.stop().await?);
        };
        let ticket = cluster.ticket()?;
        let mut out = std::io::stdout();
        writeln!(out, "{NODES} nodes run in {}", cluster.folder().display())?;
        writeln!(out, "ticket {ticket}\n")?;
        writeln!(out, "Try in another terminal:\n")?;
        writeln!(out, "  export ASPEN_TICKET={ticket}")?;
        for command in [
            "cluster status",
            "kv set greeting hello",
            "kv get greeting",
            "bench --clients 16 --seconds 10 --reads 50",
        ] {
            writeln!(out, "  aspen-cli {command}")?;
        }
        writeln!(out, "\nCtrl-C ends them and removes their data.")?;
        out.flush()?;
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            reason = cluster.stopped() => Err(anyhow!(reason)),
        };
        cluster.stop().await?;
        Ok(ended?)
    }
}
