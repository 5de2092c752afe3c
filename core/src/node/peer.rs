//! What other nodes and clients send: calls are decoded and answered, streams are fed to openraft.

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Machine, Node};
use crate::codec::{
    self, AppendFrame, AppendResultFrame, Open, Request, Response, SnapshotChunk, SnapshotResult,
};
use crate::runtime::Runtime;
use crate::transport::{FrameReceiver, FrameSender, Handler, Lane, Transport, TransportError};
use crate::types::{Snapshot, SnapshotMeta, Vote};

impl<R, T, SM> Handler<T> for Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    async fn call(&self, lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        let request = codec::decode::<Request<R>>(&request).map_err(refused)?;
        // The clients' lane is open to whom the others are closed to.
        let is_clients = matches!(request, Request::Client(_) | Request::Control(_));
        if is_clients != (lane == Lane::Client) {
            return Err(refused("a request on the wrong lane"));
        }
        let raft = &self.inner.raft;
        let response = match request {
            Request::Vote(vote) => Response::Vote(raft.vote(vote).await.map_err(refused)?),
            Request::PreVote(vote) => Response::Vote(raft.pre_vote(vote).await.map_err(refused)?),
            Request::Append(append) => {
                Response::Append(raft.append_entries(append).await.map_err(refused)?)
            }
            Request::TransferLeader(transfer) => Response::TransferLeader(
                raft.handle_transfer_leader(transfer).await.map_err(refused)?,
            ),
            Request::Client(client) => Response::Client(self.serve_client(client).await),
            Request::Control(control) => Response::Control(self.serve_control(control).await),
            Request::Confirm { term } => Response::Confirmed(self.confirms(term)),
        };
        codec::encode::<Response<R>>(&response).map_err(refused)
    }

    async fn stream(&self, lane: Lane, sender: T::Sender, mut receiver: T::Receiver) {
        // A stream that breaks or makes no sense is dropped; the peer sees it broken and retries.
        let Ok(Some(first)) = receiver.recv().await else { return };
        let open = codec::decode::<Open>(&first);
        // As with calls, the clients' lane is for what clients may ask, and for nothing else.
        if matches!(open, Ok(Open::Backup { .. })) != (lane == Lane::Client) {
            return;
        }
        match open {
            Ok(Open::Append) => self.serve_append(sender, receiver).await,
            Ok(Open::Backup { at_least }) => {
                if let Err(reason) = self.serve_backup(at_least, sender).await {
                    tracing::warn!(%reason, "a backup was broken off");
                }
            }
            Ok(Open::Snapshot { vote, meta }) => {
                if let Err(reason) = self.serve_snapshot(vote, meta, sender, receiver).await {
                    tracing::warn!(%reason, "a snapshot was not installed");
                }
            }
            Err(error) => tracing::warn!(%error, "a stream of unknown purpose"),
        }
    }
}

impl<R, T, SM> Node<R, T, SM>
where
    R: Runtime,
    T: Transport,
    SM: Machine<R>,
{
    async fn serve_append(&self, mut sender: T::Sender, receiver: T::Receiver) {
        let requests = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let frame = receiver.recv().await.ok()??;
            let AppendFrame(request) = codec::decode::<AppendFrame<R>>(&frame).ok()?;
            Some((request, receiver))
        });
        let results = self.inner.raft.stream_append(requests);
        let mut results = std::pin::pin!(results);
        while let Some(Ok(result)) = results.next().await {
            let frame =
                codec::encode(&AppendResultFrame::<R>(result)).expect("a result has a few bytes");
            if sender.send(frame).await.is_err() {
                return;
            }
        }
        // The peer may be gone already; it has all the results then, or will never need them.
        let _ = sender.finish().await;
    }

    async fn serve_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        mut sender: T::Sender,
        mut receiver: T::Receiver,
    ) -> Result<(), String> {
        let mut incoming = self.inner.store.receive_snapshot();
        while let Some(frame) = receiver.recv().await.map_err(text)? {
            let SnapshotChunk(chunk) = codec::decode(&frame).map_err(text)?;
            incoming.write(chunk).await.map_err(text)?;
        }
        let snapshot = incoming.finish().map_err(text)?;
        let snapshot = Snapshot { meta, snapshot };
        let response = self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(text)?;
        let frame = codec::encode(&SnapshotResult::<R>(response)).map_err(text)?;
        sender.send(frame).await.map_err(text)?;
        sender.finish().await.map_err(text)
    }
}

fn refused(error: impl std::fmt::Display) -> TransportError {
    TransportError::Refused { reason: error.to_string() }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
