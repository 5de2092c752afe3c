//! A node, from its start to its end, in this order; it ends in the reverse order:
//!
//! 1. the data folder, which nobody else may have;
//! 2. the sockets of endpoint and metrics, so that a taken address is known before the database is
//!    touched;
//! 3. the storage, on what the folder holds;
//! 4. Raft, which begins to serve;
//! 5. the discovery, which tells the members that Raft knows of where this node is;
//! 6. metrics and health.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use aspen_core::api::ControlError;
use aspen_core::storage::{self, StateMachine, StorageConfig, Store};
use aspen_core::transport::Transport;
use aspen_core::{ClusterController, Node, NodeId};
use aspen_transport_iroh::{
    ClusterKeys, Credentials, Discovery, IrohTransport, PeerAddress, Ticket, TokioRuntime,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::data_folder::{DataFolder, cluster_name};
use crate::discovery::{FoundFile, Others};
use crate::metrics::{self, Source, Timings};
use crate::settings::Settings;
use crate::volume::FolderVolume;

/// The core as it runs here.
pub type Core = Node<TokioRuntime, IrohTransport, StateMachine<TokioRuntime>>;

/// A running node.
pub struct RunningNode {
    id: NodeId,
    /// How long a leader that ends waits for the next.
    patience: Duration,
    keys: ClusterKeys,
    raft: Core,
    store: Store<TokioRuntime>,
    transport: IrohTransport,
    discovery: Discovery,
    sync_failed: Arc<AtomicBool>,
    /// Where metrics are served, and by what.
    metrics: Option<(SocketAddr, JoinHandle<()>)>,
    folder: DataFolder,
}

impl RunningNode {
    /// Starts a node.
    ///
    /// # Errors
    /// What is in the way, with the folder or the address.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let id = settings.node.id;
        let cluster = cluster_name(&settings.cookie);
        let folder = DataFolder::take(&settings.data_dir, id, &cluster)?;
        let keys = ClusterKeys::new(&settings.cookie);
        let credentials = Credentials::Node(keys.clone());
        let key = folder.secret_key().clone();
        let mut endpoint = aspen_transport_iroh::Settings::new(key, credentials, settings.bind);
        endpoint.relay = settings.relay.clone();
        let transport = IrohTransport::bind(endpoint).await;
        let transport = transport.with_context(|| format!("--bind {}", settings.bind))?;
        let started = Self::start_on(settings, transport.clone(), keys, folder).await;
        if started.is_err() {
            transport.close().await;
        }
        started
    }

    /// Starts what needs an endpoint.
    async fn start_on(
        settings: &Settings,
        transport: IrohTransport,
        keys: ClusterKeys,
        folder: DataFolder,
    ) -> anyhow::Result<Self> {
        let id = settings.node.id;
        let listener = match settings.metrics_addr {
            None => None,
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.with_context(|| format!("--metrics-addr {address}"))?)
            }
        };
        let timings = Timings::new();
        let (calls, syncs) = (timings.clone(), timings.clone());
        // Nobody pays for what nobody looks at.
        if listener.is_some() {
            transport.observe_calls(move |took| calls.call(took));
        }
        let found = FoundFile::of(&folder);
        settings.peers.iter().for_each(|peer| transport.add_peer(peer.clone()));
        found.read().into_iter().for_each(|peer| transport.remember(peer));
        let volume = FolderVolume::new(folder.path()).context("the storage thread")?;
        let volume = volume.observed_by(Arc::new(move |took| syncs.sync(took)));
        let sync_failed = volume.sync_failed();
        let path = folder.path().to_owned();
        // Recovery reads the disk, for seconds where the last end was a crash.
        let opened = tokio::task::spawn_blocking(move || {
            storage::open::<TokioRuntime, _>(Arc::new(volume), &StorageConfig::default())
        });
        let (config, network) = (settings.node.clone(), transport.clone());
        let started = async {
            let opened =
                opened.await?.with_context(|| format!("data folder {}", path.display()))?;
            let (log, machine, store) = (opened.log, opened.machine, opened.store);
            let raft = Node::start(config, network, log, machine, store.clone()).await?;
            anyhow::Ok((raft, store))
        };
        let started = started.await;
        if started.is_err() {
            note_syncs(&folder, &sync_failed);
        }
        let (raft, store) = started?;
        let others = Others::new(id, raft.clone(), found);
        let discovery = Discovery::start(&transport, &settings.discovery, others).await;
        let patience = settings.node.election_max;
        let metrics = listener.map(|listener| {
            let raft = raft.clone();
            let measures = Box::new(move || raft.measures());
            let file = folder.path().join(storage::DATABASE);
            let transport = transport.clone();
            let announcements = discovery.announcements().clone();
            let source = Source { id, measures, patience, transport, announcements, file };
            tell(listener, source, timings)
        });
        let metrics = metrics.transpose()?;
        Ok(Self {
            id,
            patience,
            keys,
            raft,
            store,
            transport,
            discovery,
            sync_failed,
            metrics,
            folder,
        })
    }

    /// Where metrics and health are told.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// The two planes of the node: its data, and its cluster.
    pub fn core(&self) -> &Core {
        &self.raft
    }

    /// Where others find the node.
    pub fn address(&self) -> PeerAddress {
        self.transport.address()
    }

    /// What a client needs: this node's address, those of the members, and the clients' secret.
    pub fn ticket(&self) -> Ticket {
        let members = self.raft.current_state().addresses;
        let members = members.iter().filter_map(|(id, said)| {
            // Where a member has said that it is comes before what the membership says.
            Some((*id, self.transport.whereabouts(said).parse().ok()?))
        });
        let mut nodes: BTreeMap<_, _> = members.collect();
        nodes.insert(self.id, self.address());
        Ticket { nodes, secret: self.keys.client_secret().clone() }
    }

    /// Waits until the node has stopped by itself, and says why.
    pub async fn stopped(&self) -> String {
        let reason = self.raft.stopped().await;
        note_syncs(&self.folder, &self.sync_failed);
        reason
    }

    /// Ends what is left of a node that has stopped by itself: its peers are told that it goes.
    pub async fn abandon(self) {
        // Who does not hear it notices the silence.
        let _ = tokio::time::timeout(self.patience, self.transport.close()).await;
    }

    /// Ends the node in the reverse order of its start. A leader hands its leadership over first, so
    /// that nobody has to wait for its absence to be noticed.
    pub async fn shutdown(self) {
        let handed_over = tokio::time::timeout(self.patience, self.hand_over()).await;
        if handed_over.is_err() {
            tracing::warn!("the leadership was not taken over");
        }
        self.end().await;
    }

    /// Ends the node though it may lead: where the whole cluster ends, nobody is there to take over.
    pub async fn end(self) {
        if let Some((_, serving)) = &self.metrics {
            serving.abort();
        }
        self.discovery.shutdown().await;
        self.raft.shutdown().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the storage was not closed cleanly");
        }
        note_syncs(&self.folder, &self.sync_failed);
        self.transport.close().await;
    }

    async fn hand_over(&self) {
        let state = self.raft.current_state();
        if state.leader != Some(self.id) {
            return;
        }
        // One that does not answer is rejected, and the next is asked.
        for heir in state.voters.iter().flatten().filter(|voter| **voter != self.id) {
            match self.raft.transfer_leader(*heir).await {
                Err(ControlError::Rejected(_)) => {}
                Ok(()) | Err(_) => return,
            }
        }
    }
}

fn note_syncs(folder: &DataFolder, failed: &AtomicBool) {
    if let Err(error) = folder.note_syncs(failed) {
        tracing::error!(%error, "the failed sync could not be noted");
    }
}

/// Tells metrics and health in a task of its own.
fn tell(
    listener: TcpListener,
    source: Source,
    timings: Timings,
) -> std::io::Result<(SocketAddr, JoinHandle<()>)> {
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        if let Err(error) = metrics::serve(listener, source, &timings).await {
            tracing::error!(%error, "metrics are told no more");
        }
    });
    Ok((address, serving))
}
