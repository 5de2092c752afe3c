//! `aspen-node recover`: a cluster that has lost its quorum goes on with one node.
//!
//! What a quorum had committed and this node never received is gone; nothing here can tell what it
//! was. What the node did receive is kept, all of it: see `sole_voter` in core's storage.
//!
//! The cluster gets a new cookie. The lost voters are a quorum among themselves: if they came back
//! under the old one, they would elect a leader, and that leader would overwrite this node's log. With
//! another cookie nobody of them can prove to belong to it, nor the other way round, and none of
//! their folders can be used in it by accident.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use aspen_core::NodeId;
use aspen_core::storage::{self, Holdings, Storage, StorageConfig};
use aspen_transport_iroh::TokioRuntime;
use clap::Args;

use crate::commands::Refusal;
use crate::data_folder::{DataFolder, Resident, cluster_name};
use crate::settings;
use crate::volume::FolderVolume;

/// What a recovery is told.
#[derive(Debug, Args)]
pub struct Recover {
    /// The folder of the node, which must not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The secret that the cluster has from now on: a new one; better kept in a file
    #[arg(long, value_name = "TEXT")]
    cookie: Option<String>,
    /// A file with the secret that the cluster has from now on
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<PathBuf>,
    /// Do it, though acknowledged writes that only the lost nodes had are gone
    #[arg(long)]
    accept_data_loss: bool,
}

impl Recover {
    /// Says what it would do, or does it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn run(self) -> Result<(), Refusal> {
        let cookie = settings::cookie(self.cookie.clone(), self.cookie_file.clone())?;
        let cluster = cluster_name(&cookie);
        let taken = DataFolder::take_stopped(&self.data_dir);
        let (folder, resident) = taken.map_err(Refusal::input)?;
        if resident.cluster == cluster && !resident.recovering {
            return Err(Refusal::input(
                "--cookie: it is the cookie that the cluster has; expected a new one, so that the \
                 lost nodes cannot come back as a quorum and overwrite this one",
            ));
        }
        let volume = FolderVolume::new(folder.path()).context("the storage thread")?;
        let sync_failed = volume.sync_failed();
        let place = || format!("data folder {}", self.data_dir.display());
        let opened = storage::open(Arc::new(volume), &StorageConfig::default());
        let done = match opened.with_context(place) {
            Ok(mut storage) => {
                let done = self.recover(&folder, &resident, &mut storage, &cluster).await;
                if done.is_err() {
                    // What is in the way is said already; after it, nothing is to be made durable.
                    let _ = storage.store.close().await;
                }
                done
            }
            Err(error) => Err(error.into()),
        };
        folder.note_syncs(&sync_failed).context("the failed sync could not be noted")?;
        done
    }

    async fn recover(
        &self,
        folder: &DataFolder,
        resident: &Resident,
        storage: &mut Storage<TokioRuntime>,
        cluster: &str,
    ) -> Result<(), Refusal> {
        let node = resident.node;
        let holdings = storage.holdings().await?;
        let membership = holdings.membership.membership();
        let Some(address) = membership.get_node(&node).map(|it| it.addr.clone()) else {
            return Err(Refusal::input(format_args!(
                "data folder {}: node {node} was never a member of a cluster; there is nothing to \
                 recover",
                self.data_dir.display()
            )));
        };
        // The only copy of the data must be a sound one.
        storage.store.verify().context("the node's data cannot be used")?;
        say(node, &holdings)?;
        if !self.accept_data_loss {
            return Err(Refusal::input(
                "nothing was changed; expected --accept-data-loss to have it done",
            ));
        }
        folder.begin_recovery()?;
        let entry = storage.make_sole_voter(node, &address).await?;
        storage.store.close().await.context("closing the storage")?;
        folder.end_recovery(node, cluster)?;
        let (index, term) = (entry.index, entry.leader_id.term);
        writeln!(
            io::stdout(),
            "done: entry {index} of term {term} makes node {node} the only voter"
        )?;
        Ok(())
    }
}

/// What is there, what is kept, and what is lost.
fn say(node: NodeId, holdings: &Holdings) -> io::Result<()> {
    let mut out = io::stdout();
    let membership = holdings.membership.membership();
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let others: Vec<String> = membership
        .nodes()
        .filter(|(id, _)| **id != node)
        .map(|(id, _)| format!("node {id}"))
        .collect();
    let voters: Vec<String> = voters.iter().map(NodeId::to_string).collect();
    writeln!(out, "node {node}, of a cluster of the voters {}", voters.join(","))?;
    let log_id = |log_id: Option<aspen_core::types::LogId>| {
        log_id.map_or("nothing".to_owned(), |it| {
            format!("entry {} of term {}", it.index, it.leader_id.term)
        })
    };
    writeln!(out, "its log reaches to {}", log_id(holdings.last))?;
    writeln!(out, "known here to be committed: up to {}", log_id(holdings.committed))?;
    let undecided = holdings.undecided();
    writeln!(
        out,
        "kept: all of its log; with it {undecided} entries that the lost nodes may have committed \
         or not, and that take effect now"
    )?;
    writeln!(
        out,
        "lost: whatever was acknowledged and is not in this log; this node cannot tell what, or \
         whether there is any"
    )?;
    if !others.is_empty() {
        let others = others.join(", ");
        writeln!(out, "left out: {others}; wipe their folders before they are used again")?;
    }
    Ok(())
}
