//! openraft's network, once, over any [`Transport`].
//!
//! Votes and heartbeats are calls on the control lane. Entries are pipelined on one long-lived
//! stream of the replication lane, which `append` keeps across openraft's sessions as long as
//! every request on it was answered. A snapshot is a stream of its own on the snapshot lane.
//!
//! Deadlines: a call and the setup of a stream get openraft's `soft_ttl`. For progress on the
//! append stream that would be three quarters of a heartbeat, which one slow sync of the follower
//! exceeds; a stream with a request unanswered on which nothing moves for the longest election
//! timeout is given up. Every chunk of a snapshot, and its installation, get the snapshot timeout.

mod append;
mod snapshot;

use std::marker::PhantomData;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};

use crate::codec::{self, Request, Response};
use crate::runtime::Runtime;
use crate::storage::SnapshotData;
use crate::transport::{Lane, Transport, TransportError};
use crate::types::{NodeId, RaftConfig, Snapshot, Vote};

/// Deadlines that openraft does not set as a node needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// A request on an append stream must be answered within this.
    pub append: Duration,
    /// A chunk of a snapshot must be taken, and a whole one installed, within this.
    pub snapshot: Duration,
}

/// Makes the connections of one node to its peers.
pub struct Network<R, T> {
    id: NodeId,
    transport: T,
    deadlines: Deadlines,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, T: Transport> Network<R, T> {
    /// The network of node `id`.
    pub fn new(id: NodeId, transport: T, deadlines: Deadlines) -> Self {
        Self { id, transport, deadlines, runtime: PhantomData }
    }

    fn connection(&self, target: NodeId, node: &BasicNode, lane: Lane) -> Connection<R, T> {
        self.transport.learn(target, &node.addr);
        Connection {
            id: self.id,
            target,
            lane,
            transport: self.transport.clone(),
            deadlines: self.deadlines,
            idle: Mutex::new(None),
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime, T: Transport> RaftNetworkFactory<RaftConfig<R>> for Network<R, T> {
    type Network = Connection<R, T>;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Connection<R, T> {
        self.connection(target, node, Lane::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &BasicNode) -> Connection<R, T> {
        self.connection(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &BasicNode) -> Connection<R, T> {
        self.connection(target, node, Lane::Snapshot)
    }
}

/// One node's way to one peer, for one of openraft's workers.
pub struct Connection<R, T: Transport> {
    id: NodeId,
    target: NodeId,
    lane: Lane,
    transport: T,
    deadlines: Deadlines,
    /// The append stream, while no session uses it and all of its requests are answered. The lock
    /// is only ever taken through `&mut self`; it makes the connection `Sync`, as openraft asks.
    idle: Mutex<Option<(T::Sender, T::Receiver)>>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, T: Transport> Connection<R, T> {
    /// Makes one call on the control lane within `ttl`.
    async fn call(
        &self,
        action: RPCTypes,
        request: Request<R>,
        ttl: Duration,
    ) -> Result<Response<R>, RPCError<RaftConfig<R>>> {
        let frame = codec::encode(&request).map_err(|error| network_error(&error))?;
        let call = self.transport.call(self.target, Lane::Control, frame);
        let response = R::timeout(ttl, call)
            .await
            .map_err(|_elapsed| self.timeout(action, ttl))?
            .map_err(|error| self.transport_error(action, error))?;
        codec::decode(&response).map_err(|error| network_error(&error))
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<RaftConfig<R>> {
        RPCError::Timeout(Timeout { action, id: self.id, target: self.target, timeout })
    }

    /// Unreachable makes openraft back off; the rest are blips, retried at once.
    fn transport_error(&self, action: RPCTypes, error: TransportError) -> RPCError<RaftConfig<R>> {
        match error {
            TransportError::Timeout { ms } => self.timeout(action, Duration::from_millis(ms)),
            TransportError::Unreachable { .. }
            | TransportError::Refused { .. }
            | TransportError::TooLarge { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            TransportError::Broken { .. } => network_error(&error),
        }
    }
}

fn network_error<R: Runtime, E: std::error::Error + 'static>(error: &E) -> RPCError<RaftConfig<R>> {
    RPCError::Network(NetworkError::new(error))
}

fn unexpected<R: Runtime>() -> RPCError<RaftConfig<R>> {
    RPCError::Network(NetworkError::from_string("the response answers another request"))
}

impl<R: Runtime, T: Transport> RaftNetworkV2<RaftConfig<R>> for Connection<R, T> {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<RaftConfig<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftConfig<R>>, RPCError<RaftConfig<R>>> {
        let action = RPCTypes::AppendEntries;
        let response = self.call(action, Request::Append(rpc), option.soft_ttl()).await?;
        let Response::Append(response) = response else { return Err(unexpected()) };
        Ok(response)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, AppendSession<'s, R>>
    where
        S: Stream<Item = AppendEntriesRequest<RaftConfig<R>>> + OptionalSend + Unpin + 'static,
    {
        // A heartbeat is one request without entries: a call is cheaper and may overtake.
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(append::session(self, input, option.soft_ttl()))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftConfig<R>>, RPCError<RaftConfig<R>>> {
        let response = self.call(RPCTypes::Vote, Request::Vote(rpc), option.soft_ttl()).await?;
        let Response::Vote(response) = response else { return Err(unexpected()) };
        Ok(response)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<RaftConfig<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftConfig<R>>, RPCError<RaftConfig<R>>> {
        let response = self.call(RPCTypes::Vote, Request::PreVote(rpc), option.soft_ttl()).await?;
        let Response::Vote(response) = response else { return Err(unexpected()) };
        Ok(response)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftConfig<R>>, StreamingError<RaftConfig<R>>> {
        let cancel = std::pin::pin!(cancel);
        let send = std::pin::pin!(snapshot::send(self, vote, snapshot, option.soft_ttl()));
        match R::select2(cancel, send).await {
            openraft::async_runtime::Select2::First(closed) => Err(closed.into()),
            openraft::async_runtime::Select2::Second(result) => result,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<RaftConfig<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<RaftConfig<R>>, RPCError<RaftConfig<R>>> {
        let action = RPCTypes::TransferLeader;
        let response =
            self.call(action, Request::TransferLeader(request), option.soft_ttl()).await?;
        let Response::TransferLeader(response) = response else { return Err(unexpected()) };
        Ok(response)
    }
}

/// What a session of appends gives to openraft: a stream of results, one for each request.
type AppendSession<'s, R> = Result<AppendResults<'s, R>, RPCError<RaftConfig<R>>>;
type AppendResults<'s, R> =
    BoxStream<'s, Result<StreamAppendResult<RaftConfig<R>>, RPCError<RaftConfig<R>>>>;
