//! The data plane: writes through the log, reads confirmed by a quorum, one hop to the leader.

use openraft::ReadPolicy;
use openraft::async_runtime::Select2;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};

use super::{Machine, Node};
use crate::api::{
    ClientBody, ClientError, ClientRequest, ClientResponse, Consistency, KeyValueStore, Scan,
    ScanPage, Written, proposal,
};
use crate::codec::{self, Request, Response};
use crate::command::{Command, Key, Reply, SessionStamp, Value};
use crate::runtime::Runtime;
use crate::storage::StorageError;
use crate::transport::{Lane, Transport, TransportError};
use crate::types::{NodeId, RaftConfig};

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    /// Serves one request within the node's request timeout.
    pub(super) async fn serve_client(&self, request: ClientRequest) -> ClientResponse {
        let is_write = request.body.is_write();
        let timeout = self.inner.config.request_timeout;
        match R::timeout(timeout, self.dispatch(request)).await {
            Ok(response) => response,
            Err(_elapsed) => {
                let reason = format!("no answer within {} ms", timeout.as_millis());
                ClientResponse::Failed(undecided(is_write, reason))
            }
        }
    }

    async fn dispatch(&self, request: ClientRequest) -> ClientResponse {
        if let Err(limit) = request.body.check_limits() {
            return ClientResponse::Failed(limit.into());
        }
        let here = match &request.body {
            ClientBody::Write { stamp, command } => {
                self.write_here(*stamp, command.clone()).await.map(ClientResponse::Written)
            }
            ClientBody::Get { key, consistency } => {
                self.read_here(key, *consistency).await.map(ClientResponse::Value)
            }
            ClientBody::Scan { scan, consistency } => {
                self.scan_here(scan, *consistency).await.map(ClientResponse::Page)
            }
        };
        match here {
            Ok(response) => response,
            Err(ClientError::NotLeader { leader: Some(leader) })
                if !request.forwarded && leader != self.inner.config.id =>
            {
                self.forward(leader, request.body).await
            }
            Err(error) => ClientResponse::Failed(error),
        }
    }

    async fn write_here(
        &self,
        stamp: Option<SessionStamp>,
        command: Command,
    ) -> Result<Written, ClientError> {
        let written = self.inner.raft.client_write(proposal::<R>(stamp, command)).await;
        match written {
            Ok(response) => {
                let (index, reply) = (response.log_id.index, response.data);
                if let Reply::Refused(refusal) = reply {
                    return Err(refusal.into());
                }
                Ok(Written { index, reply })
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(not_leader(forward))
            }
            Err(RaftError::APIError(
                error @ (ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_)),
            )) => Err(ClientError::Unavailable { reason: error.to_string() }),
            Err(
                error @ (RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))
                | RaftError::Fatal(_)),
            ) => Err(ClientError::Unknown { reason: error.to_string() }),
        }
    }

    async fn read_here(
        &self,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Value>, ClientError> {
        self.confirm(consistency).await?;
        self.stored(self.inner.store.get(key)).await
    }

    async fn scan_here(
        &self,
        scan: &Scan,
        consistency: Consistency,
    ) -> Result<ScanPage, ClientError> {
        self.confirm(consistency).await?;
        let limit = scan.limit as usize;
        self.stored(self.inner.store.scan(&scan.prefix, scan.after.as_ref(), limit)).await
    }

    /// Waits until a read of what is applied here is as fresh as it must be.
    async fn confirm(&self, consistency: Consistency) -> Result<(), ClientError> {
        if consistency == Consistency::Stale {
            return Ok(());
        }
        let lease = self.inner.config.lease_reads;
        if !lease && self.is_confirmed().await {
            return Ok(());
        }
        let policy = if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        match self.inner.raft.ensure_linearizable(policy).await {
            Ok(_read_log_id) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(not_leader(forward))
            }
            Err(error) => Err(ClientError::Unavailable { reason: error.to_string() }),
        }
    }

    /// A value that cannot be read means that the disk cannot be trusted: the node stops.
    async fn stored<V>(&self, read: Result<V, StorageError>) -> Result<V, ClientError> {
        match read {
            Ok(value) => Ok(value),
            Err(error) => {
                self.fail(error.to_string()).await;
                Err(ClientError::Unavailable { reason: error.to_string() })
            }
        }
    }

    async fn forward(&self, leader: NodeId, body: ClientBody) -> ClientResponse {
        let is_write = body.is_write();
        let request = Request::<R>::Client(ClientRequest { forwarded: true, body });
        let frame = match codec::encode(&request) {
            Ok(frame) => frame,
            Err(error) => {
                return ClientResponse::Failed(ClientError::Unavailable {
                    reason: error.to_string(),
                });
            }
        };
        self.learn_members();
        let call = std::pin::pin!(self.inner.transport.call(leader, Lane::Client, frame));
        let deposed = std::pin::pin!(self.leads_no_more(leader));
        // A leader that is gone answers nobody, and the transport may take long to notice.
        let called = match R::select2(call, deposed).await {
            Select2::First(called) => called,
            Select2::Second(()) => {
                let reason = format!("node {leader} leads no more");
                return ClientResponse::Failed(undecided(is_write, reason));
            }
        };
        let error = match called {
            Ok(answer) => match codec::decode::<Response<R>>(&answer) {
                Ok(Response::Client(response)) => return response,
                Ok(_) => undecided(is_write, "the leader answered another request".to_owned()),
                Err(error) => undecided(is_write, error.to_string()),
            },
            Err(
                error @ (TransportError::Unreachable { .. }
                | TransportError::TooLarge { .. }
                | TransportError::Refused { .. }),
            ) => ClientError::Unavailable { reason: error.to_string() },
            Err(error @ (TransportError::Broken { .. } | TransportError::Timeout { .. })) => {
                undecided(is_write, error.to_string())
            }
        };
        ClientResponse::Failed(error)
    }

    /// Waits until this node takes another node, or nobody, for the leader.
    async fn leads_no_more(&self, leader: NodeId) {
        let mut metrics = self.inner.raft.server_metrics();
        while metrics.borrow_watched().current_leader == Some(leader) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    fn request(&self, body: ClientBody) -> impl Future<Output = ClientResponse> {
        self.serve_client(ClientRequest { forwarded: false, body })
    }
}

impl<R, T, SM> KeyValueStore for Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    async fn write(
        &self,
        stamp: Option<SessionStamp>,
        command: Command,
    ) -> Result<Written, ClientError> {
        let response = self.request(ClientBody::Write { stamp, command }).await;
        if let ClientResponse::Written(written) = response {
            return Ok(written);
        }
        Err(failure(response, true))
    }

    async fn read(&self, key: Key, consistency: Consistency) -> Result<Option<Value>, ClientError> {
        let response = self.request(ClientBody::Get { key, consistency }).await;
        if let ClientResponse::Value(value) = response {
            return Ok(value);
        }
        Err(failure(response, false))
    }

    async fn scan(&self, scan: Scan, consistency: Consistency) -> Result<ScanPage, ClientError> {
        let response = self.request(ClientBody::Scan { scan, consistency }).await;
        if let ClientResponse::Page(page) = response {
            return Ok(page);
        }
        Err(failure(response, false))
    }
}

/// A request that has no answer: a read did nothing, a write may have.
fn undecided(is_write: bool, reason: String) -> ClientError {
    if is_write { ClientError::Unknown { reason } } else { ClientError::Unavailable { reason } }
}

fn failure(response: ClientResponse, is_write: bool) -> ClientError {
    match response {
        ClientResponse::Failed(error) => error,
        ClientResponse::Written(_) | ClientResponse::Value(_) | ClientResponse::Page(_) => {
            undecided(is_write, "the answer is to another request".to_owned())
        }
    }
}

fn not_leader<R: Runtime>(forward: ForwardToLeader<RaftConfig<R>>) -> ClientError {
    ClientError::NotLeader { leader: forward.leader_id }
}
