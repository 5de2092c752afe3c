//! A client of a cluster: it asks, follows hints, and retries so that a write takes effect once.
//!
//! A write carries the stamp of a session and is asked for again under the same stamp, at any node,
//! until it is decided or the time is over. Only then its outcome is unknown, and the error says
//! so: the write may still take effect. An error of any other kind says that it never will.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aspen_core::NodeId;
use aspen_core::api::{
    ClientBody, ClientError, ClientRequest, ClientResponse, ClusterState, Consistency, ControlBody,
    ControlError, ControlRequest, ControlResponse, Scan, ScanPage,
};
use aspen_core::codec::{self, Request, Response};
use aspen_core::command::{Command, Key, Reply, SessionId, SessionStamp, Value};
use aspen_core::transport::{Lane, Transport, TransportError};
use aspen_transport_iroh::{
    BindError, ClientSecret, IrohTransport, Settings, Ticket, TokioRuntime,
};
use tokio::time::Instant;

/// How long one node is waited for, at most, before another is asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a client waits before it asks again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long the client's nodes are given to hear that it goes.
const FAREWELL: Duration = Duration::from_millis(200);
/// How long a session lives after its last request.
const SESSION_TTL_MS: u64 = 60_000;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It had no effect and never will have one.
    #[error("{0}")]
    Refused(String),
    /// No node could be asked, or none that was asked could do it; it had no effect.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It may have had its effect, and may still have it.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// A cluster as one client sees it.
pub struct Client {
    transport: IrohTransport,
    secret: ClientSecret,
    /// Whom it can ask, the most promising first.
    nodes: Mutex<Vec<NodeId>>,
    patience: Duration,
}

/// What one attempt brought.
enum Attempt<V> {
    Answer(V),
    /// It never reached a node, or the node says that it did nothing and may do it later.
    Unsent(String),
    /// It may have had its effect.
    Doubt(String),
    /// It never has an effect.
    Refused(String),
}

impl Client {
    /// A client with an endpoint of its own; `patience` is how long it tries.
    ///
    /// # Errors
    /// [`BindError`] when the machine has no socket to give.
    pub async fn new(ticket: &Ticket, patience: Duration) -> Result<Self, BindError> {
        let transport = IrohTransport::bind(Settings::of_client(ticket)).await?;
        for (node, address) in &ticket.nodes {
            transport.learn(*node, &address.to_string());
            // The membership may name an older address, and is learned in place of this one.
            transport.add_peer(address.clone());
        }
        let nodes = Mutex::new(ticket.nodes.keys().copied().collect());
        Ok(Self { transport, secret: ticket.secret.clone(), nodes, patience })
    }

    /// The secret of the cluster's clients, for a ticket.
    pub fn secret(&self) -> &ClientSecret {
        &self.secret
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<NodeId>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks this node first from now on.
    fn prefer(&self, node: NodeId) {
        let mut nodes = self.nodes();
        if let Some(at) = nodes.iter().position(|one| *one == node) {
            nodes[..=at].rotate_right(1);
        }
    }

    /// Asks another node first from now on.
    fn avoid(&self, node: NodeId) {
        let mut nodes = self.nodes();
        if nodes.first() == Some(&node) {
            nodes.rotate_left(1);
        }
    }

    /// Ends the client's endpoint.
    pub async fn close(&self) {
        // Who is not there needs no farewell.
        let _ = tokio::time::timeout(FAREWELL, self.transport.close()).await;
    }

    /// Asks one node once.
    async fn ask<V>(
        &self,
        node: NodeId,
        request: &Request<TokioRuntime>,
        timeout: Duration,
        judge: impl FnOnce(Response<TokioRuntime>) -> Attempt<V>,
    ) -> Attempt<V> {
        let frame = match codec::encode(request) {
            Ok(frame) => frame,
            Err(error) => return Attempt::Refused(error.to_string()),
        };
        let call = self.transport.call(node, Lane::Client, frame);
        match tokio::time::timeout(timeout, call).await {
            Err(_elapsed) => Attempt::Doubt(format!("node {node} did not answer in time")),
            Ok(Ok(answer)) => match codec::decode(&answer) {
                Ok(response) => judge(response),
                Err(error) => Attempt::Doubt(format!("node {node}: {error}")),
            },
            Ok(Err(
                error @ (TransportError::Unreachable { .. } | TransportError::Refused { .. }),
            )) => Attempt::Unsent(error.to_string()),
            Ok(Err(error @ TransportError::TooLarge { .. })) => Attempt::Refused(error.to_string()),
            Ok(Err(error @ (TransportError::Broken { .. } | TransportError::Timeout { .. }))) => {
                Attempt::Doubt(format!("node {node}: {error}"))
            }
        }
    }

    /// Asks one node after the other until one answers.
    async fn ask_until_answered<V>(
        &self,
        request: &Request<TokioRuntime>,
        attempt: Duration,
        judge: impl Fn(NodeId, Response<TokioRuntime>) -> Attempt<V>,
    ) -> Result<V, Failure> {
        let deadline = Instant::now() + self.patience;
        let mut doubt = None;
        loop {
            let Some(node) = self.nodes().first().copied() else {
                return Err(Failure::Unavailable("the ticket names no node".to_owned()));
            };
            let left = deadline.saturating_duration_since(Instant::now()).min(attempt);
            let last = match self.ask(node, request, left, |response| judge(node, response)).await {
                Attempt::Answer(answer) => {
                    self.prefer(node);
                    return Ok(answer);
                }
                Attempt::Refused(reason) => {
                    return Err(match doubt {
                        None => Failure::Refused(reason),
                        Some(doubt) => Failure::Unknown(doubt),
                    });
                }
                Attempt::Unsent(reason) => reason,
                Attempt::Doubt(reason) => {
                    doubt = Some(reason.clone());
                    reason
                }
            };
            self.avoid(node);
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(doubt.map_or(Failure::Unavailable(last), Failure::Unknown));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn judge_client(&self, response: Response<TokioRuntime>) -> Attempt<ClientResponse> {
        let Response::Client(response) = response else { return Attempt::Doubt(strange()) };
        let ClientResponse::Failed(error) = response else { return Attempt::Answer(response) };
        match error {
            ClientError::NotLeader { leader } => {
                let _ = leader.map(|leader| self.prefer(leader));
                Attempt::Unsent(error.to_string())
            }
            ClientError::Unavailable { .. } => Attempt::Unsent(error.to_string()),
            ClientError::Unknown { reason } => Attempt::Doubt(reason),
            ClientError::Limit(_) | ClientError::Refused(_) => Attempt::Refused(error.to_string()),
        }
    }

    async fn request(&self, body: ClientBody) -> Result<ClientResponse, Failure> {
        let request = Request::Client(ClientRequest { forwarded: false, body });
        let judge = |_, response| self.judge_client(response);
        self.ask_until_answered(&request, self.attempt(), judge).await
    }

    /// How long one node is waited for, so that there is time for all of them.
    fn attempt(&self) -> Duration {
        let nodes = u32::try_from(self.nodes().len()).unwrap_or(u32::MAX).max(1);
        ATTEMPT_TIMEOUT.min(self.patience / nodes)
    }

    /// Reads one key.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get(&self, key: Key, consistency: Consistency) -> Result<Option<Value>, Failure> {
        match self.request(ClientBody::Get { key, consistency }).await {
            Ok(ClientResponse::Value(value)) => Ok(value),
            other => Err(without_effect(no_answer(other))),
        }
    }

    /// Reads one page of the keys that begin with a prefix.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn scan(&self, scan: Scan, consistency: Consistency) -> Result<ScanPage, Failure> {
        match self.request(ClientBody::Scan { scan, consistency }).await {
            Ok(ClientResponse::Page(page)) => Ok(page),
            other => Err(without_effect(no_answer(other))),
        }
    }

    /// Opens a session. A retry may open a second one, which expires.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open_session(self: &Arc<Self>) -> Result<Session, Failure> {
        let command = Command::OpenSession { ttl_ms: SESSION_TTL_MS };
        let written = match self.request(ClientBody::Write { stamp: None, command }).await {
            Ok(ClientResponse::Written(written)) => written,
            // A session that nobody knows of harms nobody.
            other => return Err(without_effect(no_answer(other))),
        };
        let Reply::SessionOpened(id) = written.reply else {
            return Err(Failure::Unavailable(strange()));
        };
        Ok(Session { client: self.clone(), id, sequence: 0 })
    }

    /// One write in a session of its own.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn write(self: &Arc<Self>, command: Command) -> Result<Reply, Failure> {
        let mut session = self.open_session().await?;
        let reply = session.write(command).await;
        session.close().await;
        reply
    }

    /// Asks for a change of the cluster.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn control(&self, body: ControlBody) -> Result<(), Failure> {
        let response = self.request_control(body).await?;
        if response == ControlResponse::Done { Ok(()) } else { Err(Failure::Unknown(strange())) }
    }

    /// What a node knows of the cluster: any, or this one.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn state(&self) -> Result<ClusterState, Failure> {
        let response = self.request_control(ControlBody::State).await.map_err(without_effect)?;
        let ControlResponse::State(state) = response else {
            return Err(Failure::Unavailable(strange()));
        };
        Ok(state)
    }

    /// Asks the leader first from now on: one hop less than by way of a follower.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn prefer_leader(&self) -> Result<(), Failure> {
        let state = self.state().await?;
        self.meet(&state);
        let _ = state.leader.map(|leader| self.prefer(leader));
        Ok(())
    }

    /// Learns where the members are that a node has named.
    fn meet(&self, state: &ClusterState) {
        let mut nodes = self.nodes();
        for (member, address) in &state.addresses {
            self.transport.learn(*member, address);
            if !nodes.contains(member) {
                nodes.push(*member);
            }
        }
    }

    /// What each node says of the cluster that the client knows or that another has named.
    pub async fn states(&self) -> Vec<(NodeId, Result<ClusterState, Failure>)> {
        let request =
            Request::Control(ControlRequest { forwarded: false, body: ControlBody::State });
        let mut open: BTreeSet<NodeId> = self.nodes().iter().copied().collect();
        let mut seen = BTreeSet::new();
        let mut states = Vec::new();
        while let Some(node) = open.pop_first() {
            seen.insert(node);
            let asked = self.ask(node, &request, self.attempt(), |response| {
                let Response::Control(ControlResponse::State(state)) = response else {
                    return Attempt::Unsent(strange());
                };
                Attempt::Answer(state)
            });
            let state = match asked.await {
                Attempt::Answer(state) => Ok(state),
                Attempt::Unsent(reason) | Attempt::Doubt(reason) | Attempt::Refused(reason) => {
                    Err(Failure::Unavailable(reason))
                }
            };
            if let Ok(state) = &state {
                self.meet(state);
                open.extend(state.addresses.keys().filter(|member| !seen.contains(*member)));
            }
            states.push((node, state));
        }
        states.sort_by_key(|(node, _)| *node);
        states
    }

    fn judge_control(&self, response: Response<TokioRuntime>) -> Attempt<ControlResponse> {
        let Response::Control(response) = response else { return Attempt::Doubt(strange()) };
        let ControlResponse::Failed(error) = response else { return Attempt::Answer(response) };
        match error {
            ControlError::NotLeader { leader } => {
                let _ = leader.map(|leader| self.prefer(leader));
                Attempt::Unsent(error.to_string())
            }
            ControlError::Stopped(_) => Attempt::Unsent(error.to_string()),
            ControlError::Unknown(reason) => Attempt::Doubt(reason),
            ControlError::Limit(_) | ControlError::Rejected(_) => {
                Attempt::Refused(error.to_string())
            }
        }
    }

    async fn request_control(&self, body: ControlBody) -> Result<ControlResponse, Failure> {
        let request = Request::Control(ControlRequest { forwarded: false, body });
        // A learner catches up in its own time.
        let attempt = self.patience;
        let judge = |_, response| self.judge_control(response);
        self.ask_until_answered(&request, attempt, judge).await
    }
}

/// A session: its writes take effect once each, however often they are asked for.
pub struct Session {
    client: Arc<Client>,
    id: SessionId,
    sequence: u64,
}

impl Session {
    /// Changes the state.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn write(&mut self, command: Command) -> Result<Reply, Failure> {
        self.sequence += 1;
        let stamp = Some(SessionStamp { session: self.id, sequence: self.sequence });
        match self.client.request(ClientBody::Write { stamp, command }).await {
            Ok(ClientResponse::Written(written)) => Ok(written.reply),
            other => Err(no_answer(other)),
        }
    }

    /// Ends the session; where that fails, it ends by itself.
    pub async fn close(mut self) {
        let _ = self.write(Command::CloseSession).await;
    }
}

fn no_answer(response: Result<ClientResponse, Failure>) -> Failure {
    response.err().unwrap_or_else(|| Failure::Unknown(strange()))
}

/// What became of a request that changes nothing, whether it was answered or not.
fn without_effect(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown(reason) => Failure::Unavailable(reason),
        Failure::Refused(_) | Failure::Unavailable(_) => failure,
    }
}

fn strange() -> String {
    "the answer is one to something else".to_owned()
}
