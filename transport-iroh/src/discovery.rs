//! How nodes find each other when they move.
//!
//! Every member announces every ten seconds where it is, to the others, by gossip: on a topic of
//! their cluster, over connections that have proven the cookie (`gossip`). An announcement is signed
//! by the endpoint that it is about (`announcement`); which ones are believed says `hearing`. What
//! was heard stands in the `book` beside what the membership and the operator say, and all of it is
//! tried when a node is dialed.
//!
//! Beside that iroh may look addresses up itself (`lookups`): in the local network by mDNS, and, if
//! the operator asks for it, in the DNS and at a public pkarr server. None of these is believed more
//! than a postcard: an endpoint proves its id whenever it is dialed.
//!
//! Left out: a cluster is not joined by being found. An operator adds members.

mod announcement;
mod book;
mod gossip;
mod hearing;
mod lookups;
mod rate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aspen_core::{NodeId, Runtime, Transport};
use futures_util::StreamExt;
use iroh::EndpointId;
use iroh_gossip::Gossip;
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::announcement::Announcement;
use self::hearing::{Hearing, Now};
use self::rate::{Bucket, Rate};
use crate::access::{ClusterKeys, Credentials, Topic};
use crate::transport::IrohTransport;
use crate::{PeerAddress, TokioRuntime};

pub(crate) use self::book::AddressBook;
pub(crate) use self::gossip::{GossipPlace, ProveForGossip};
pub use self::hearing::Announcements;

/// How often a node says where it is.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// How often it looks whether there are others to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Newcomers are told at once, but no more often than this.
const NEWS: Rate = Rate { every: Duration::from_secs(2), burst: 3 };
/// How many neighbours a node's gossip wants, as iroh-gossip's active view has it.
const NEIGHBOURS: usize = 5;
/// How long the other members are told goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a node is found and finds others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Announcements among the members.
    pub gossip: bool,
    /// mDNS in the local network.
    pub mdns: bool,
    /// Looking up in the DNS, under the domain that n0 runs.
    pub dns: bool,
    /// Publishing to and looking up at the pkarr server that n0 runs.
    pub pkarr: bool,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self { gossip: true, mdns: true, dns: false, pkarr: false }
    }
}

/// What a discovery asks of its node, and tells it.
pub trait Neighbourhood: Send + Sync + 'static {
    /// The other members and their addresses, as the membership has them.
    fn members(&self) -> BTreeMap<NodeId, String>;

    /// Somebody is somewhere else than before: where all are that have said it.
    fn moved(&self, found: Vec<PeerAddress>) -> impl Future<Output = ()> + Send;
}

/// A node's discovery, under way.
pub struct Discovery {
    transport: IrohTransport,
    gossiping: Option<(Gossip, JoinHandle<()>)>,
    counts: Arc<Announcements>,
}

impl Discovery {
    /// Starts what is wanted. Nothing of it is needed to run, so nothing of it fails: what does not
    /// work is a warning.
    pub async fn start<N: Neighbourhood>(
        transport: &IrohTransport,
        settings: &DiscoverySettings,
        node: N,
    ) -> Self {
        let counts = Arc::<Announcements>::default();
        let transport = transport.clone();
        let Credentials::Node(keys) = transport.0.credentials.clone() else {
            return Self { transport, gossiping: None, counts };
        };
        let gossip = settings.gossip.then(|| gossip::start(&transport.0));
        lookups::add(&transport, settings, keys.topic());
        let gossiping = gossip.map(|gossip| {
            let talk = Talk::new(&transport, keys, node, counts.clone());
            let task = tokio::spawn(talk.run(gossip.clone()));
            (gossip, task)
        });
        Self { transport, gossiping, counts }
    }

    /// What was heard.
    pub fn announcements(&self) -> &Arc<Announcements> {
        &self.counts
    }

    /// Ends it, and tells the other members.
    pub async fn shutdown(self) {
        let Some((gossip, task)) = self.gossiping else { return };
        task.abort();
        gossip::end(&self.transport.0);
        // Whoever is not told in time notices by itself.
        let _ = tokio::time::timeout(GOODBYE, gossip.shutdown()).await;
    }
}

/// What is said and heard.
struct Talk<N> {
    transport: IrohTransport,
    topic: Topic,
    node: N,
    hearing: Hearing,
    counts: Arc<Announcements>,
    news: Bucket,
    last_stamp_ms: u64,
    /// The membership when the node last looked.
    members: BTreeMap<NodeId, String>,
    /// Whom it knew then.
    known: BTreeSet<EndpointId>,
}

impl<N: Neighbourhood> Talk<N> {
    fn new(
        transport: &IrohTransport,
        keys: ClusterKeys,
        node: N,
        counts: Arc<Announcements>,
    ) -> Self {
        let topic = keys.topic().clone();
        let hearing = Hearing::new(topic.clone(), counts.clone());
        Self {
            transport: transport.clone(),
            topic,
            node,
            hearing,
            counts,
            news: Bucket::default(),
            last_stamp_ms: 0,
            members: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// Never ends by itself; a subscription that does is made anew.
    async fn run(mut self, gossip: Gossip) {
        loop {
            let joined = gossip.subscribe(self.topic.0.into(), Vec::new()).await;
            match joined.map(iroh_gossip::api::GossipTopic::split) {
                Ok((sender, receiver)) => self.talk(&sender, receiver).await,
                Err(error) => tracing::warn!(%error, "the gossip topic cannot be joined"),
            }
            tokio::time::sleep(ANNOUNCE_EVERY).await;
        }
    }

    /// Talks until the subscription ends.
    async fn talk(&mut self, sender: &GossipSender, mut receiver: GossipReceiver) {
        let every = |period| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let (mut look, mut due) = (every(LOOK_EVERY), every(ANNOUNCE_EVERY));
        loop {
            let event = tokio::select! {
                _ = look.tick() => {
                    if self.look_around() {
                        due.reset_immediately();
                    }
                    continue;
                }
                _ = due.tick() => {
                    self.join(sender, &receiver).await;
                    self.announce(sender).await;
                    continue;
                }
                event = receiver.next() => event,
            };
            match event {
                Some(Ok(Event::Received(message))) => self.hear(&message.content).await,
                Some(Ok(Event::NeighborUp(_))) => {
                    if self.news.take(NEWS, Instant::now()) {
                        self.announce(sender).await;
                    }
                }
                Some(Ok(Event::NeighborDown(_) | Event::Lagged)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Learns who the members are. Whether there are others than before.
    fn look_around(&mut self) -> bool {
        let members = self.node.members();
        if members != self.members {
            members.iter().for_each(|(node, address)| self.transport.learn(*node, address));
            self.members = members;
        }
        let known = self.transport.0.connections.book().endpoints();
        std::mem::replace(&mut self.known, known) != self.known
    }

    /// Looks for those whom the gossip does not have.
    async fn join(&self, sender: &GossipSender, receiver: &GossipReceiver) {
        let mut missing = self.known.clone();
        missing.remove(&self.transport.id());
        let neighbours: Vec<EndpointId> = receiver.neighbors().collect();
        missing.retain(|endpoint| !neighbours.contains(endpoint));
        if neighbours.len() < NEIGHBOURS && !missing.is_empty() {
            // An error is the end of the subscription, which the receiver notices.
            let _ = sender.join_peers(missing.into_iter().collect()).await;
        }
    }

    async fn announce(&mut self, sender: &GossipSender) {
        let wall_ms = TokioRuntime::wall_clock().ms;
        let PeerAddress(address) = self.transport.address();
        // Two in one millisecond are still one after the other.
        let stamp_ms = wall_ms.max(self.last_stamp_ms + 1);
        self.last_stamp_ms = stamp_ms;
        let key = self.transport.0.endpoint.secret_key();
        let message = Announcement { address, stamp_ms }.sign(key, &self.topic);
        if sender.broadcast(message).await.is_ok() {
            self.counts.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn hear(&mut self, message: &[u8]) {
        let connections = &self.transport.0.connections;
        let book = connections.book();
        let now = Now { instant: Instant::now(), wall_ms: TokioRuntime::wall_clock().ms };
        let knows = |endpoint| endpoint != self.transport.id() && book.knows(endpoint);
        match self.hearing.hear(message, knows, now) {
            Ok(announcement) => {
                let address = PeerAddress(announcement.address.clone());
                if connections.announced(announcement.address) {
                    tracing::info!(%address, "a node has said where it is");
                    let found = book.all_announced().into_iter().map(PeerAddress);
                    self.node.moved(found.collect()).await;
                }
            }
            Err(reason) => tracing::debug!(?reason, "an announcement was dropped"),
        }
    }
}
