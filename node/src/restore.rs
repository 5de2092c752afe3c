//! `aspen-node restore`: the first node of a new cluster, made of a backup.
//!
//! The cluster is a new one, so it has a cookie of its own: neither the nodes nor the clients of the
//! cluster that the backup is of can take this one for theirs, whatever of them is still running. The
//! node has a new key, too. It comes up as the only voter; others are added as learners.
//!
//! The whole backup is checked before anything is written. The folder gets its identity last, and no
//! node comes up on one that has none.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use aspen_core::NodeId;
use aspen_core::storage::{self, Storage, StorageConfig};
use aspen_transport_iroh::{ClusterKeys, Credentials, IrohTransport, Settings, TokioRuntime};
use clap::Args;

use crate::backup_file::{BackupReader, cluster_mark};
use crate::commands::Refusal;
use crate::data_folder::{DataFolder, IDENTITY, UNFINISHED_IDENTITY, cluster_name};
use crate::settings;
use crate::volume::FolderVolume;

/// Makes the first node of a new cluster from a backup.
#[derive(Debug, Args)]
pub struct Restore {
    /// Who the node is in the new cluster
    #[arg(long, value_name = "N")]
    node_id: u64,
    /// The new cluster's secret, of 16 bytes or more; better kept in a file
    #[arg(long, value_name = "TEXT")]
    cookie: Option<String>,
    /// A file with the new cluster's secret
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<PathBuf>,
    /// The folder for its data; empty, or not there yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the node will listen, which others must be told
    #[arg(long, value_name = "IP:PORT", default_value = settings::DEFAULT_BIND)]
    bind: SocketAddr,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

impl Restore {
    /// Makes the node's folder.
    ///
    /// # Errors
    /// [`Refusal`]; the folder holds nothing then.
    pub async fn run(self) -> Result<(), Refusal> {
        if self.node_id == 0 {
            return Err(Refusal::input("--node-id 0: expected a number from 1"));
        }
        if self.bind.port() == 0 {
            let bind = self.bind;
            return Err(Refusal::input(format_args!("--bind {bind}: expected the node's port")));
        }
        let cookie = settings::cookie(self.cookie.clone(), self.cookie_file.clone())?;
        let from = |wrong| Refusal::input(format_args!("--from {wrong}"));
        let (header, counts) =
            BackupReader::open(&self.from).map_err(from)?.check().map_err(from)?;
        let keys = ClusterKeys::new(&cookie);
        if header.cluster == cluster_mark(keys.client_secret()) {
            return Err(Refusal::input(
                "--cookie: it is the cookie of the cluster that the backup is of; expected a new \
                 one, so that no node and no client of that cluster takes the new one for theirs",
            ));
        }
        let is_new = !self.data_dir.exists();
        let folder = DataFolder::take_empty(&self.data_dir).map_err(Refusal::input)?;
        let filled = self.fill(&folder, &cookie, keys).await;
        let address = match filled {
            Ok(address) => address,
            Err(failed) => {
                self.clear(is_new);
                return Err(failed.into());
            }
        };
        let covered = header.snapshot.last_log_id.map_or(0, |log_id| log_id.index);
        let mut out = std::io::stdout();
        let (node, keys, sessions) = (self.node_id, counts.keys, counts.sessions);
        writeln!(out, "node {node}: {keys} keys and {sessions} sessions, up to entry {covered}")?;
        writeln!(out, "address {address}")?;
        writeln!(out, "it is the only voter of a new cluster; start it with --bind {}", self.bind)?;
        Ok(())
    }

    /// Fills the folder; gives the node's address.
    async fn fill(
        &self,
        folder: &DataFolder,
        cookie: &[u8],
        keys: ClusterKeys,
    ) -> anyhow::Result<String> {
        let node = NodeId(self.node_id);
        let endpoint =
            Settings::new(folder.secret_key().clone(), Credentials::Node(keys), self.bind);
        // Only an endpoint that is bound knows where it can be reached.
        let transport = IrohTransport::bind(endpoint).await;
        let transport = transport.with_context(|| format!("--bind {}", self.bind))?;
        let address = transport.address().to_string();
        transport.close().await;
        let volume = FolderVolume::new(folder.path()).context("the storage thread")?;
        let mut storage: Storage<TokioRuntime> =
            storage::open(Arc::new(volume), &StorageConfig::default())?;
        let mut backup = BackupReader::open(&self.from)?;
        let meta = backup.header().snapshot.clone();
        storage.restore(&meta, || backup.next_chunk()).await?;
        storage.make_sole_voter(node, &address).await?;
        storage.store.close().await?;
        folder.give_to(node, &cluster_name(cookie))?;
        Ok(address)
    }

    /// Takes back what a restore that failed has written.
    fn clear(&self, is_new: bool) {
        if is_new {
            let _ = fs::remove_dir_all(&self.data_dir);
        } else {
            // The identity first: no node comes up on what cannot be removed after it.
            let of_storage = [storage::DATABASE, storage::UNFINISHED, storage::JOURNAL];
            for name in [IDENTITY, UNFINISHED_IDENTITY].into_iter().chain(of_storage) {
                let _ = fs::remove_file(self.data_dir.join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_leaves_nothing_to_come_up_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let restore = Restore {
            node_id: 1,
            cookie: None,
            cookie_file: None,
            data_dir: path.clone(),
            bind: settings::DEFAULT_BIND.parse().unwrap(),
            from: PathBuf::new(),
        };
        let names = [IDENTITY, UNFINISHED_IDENTITY, storage::DATABASE, storage::JOURNAL, "mine"];
        let fill = || {
            fs::create_dir_all(&path).unwrap();
            names.iter().for_each(|name| fs::write(path.join(name), "").unwrap());
        };
        fill();
        restore.clear(false);
        let left = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["mine"]);
        fill();
        restore.clear(true);
        assert!(!path.exists());
    }
}
