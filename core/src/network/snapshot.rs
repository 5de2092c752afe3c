//! A snapshot on its way to a peer: the opening frame, the chunks as the storage engine cuts them,
//! and the peer's word that it is installed.

use std::time::Duration;

use openraft::RPCTypes;
use openraft::errors::{NetworkError, RPCError, StreamingError};
use openraft::raft::SnapshotResponse;

use super::{Connection, network_error};
use crate::codec::{self, Open, SnapshotChunk, SnapshotResult};
use crate::runtime::Runtime;
use crate::storage::SnapshotData;
use crate::transport::{FrameReceiver, FrameSender, Lane, Transport};
use crate::types::{RaftConfig, Snapshot, Vote};

/// Sends a whole snapshot and waits until the peer has installed it.
pub(super) async fn send<R: Runtime, T: Transport>(
    connection: &Connection<R, T>,
    vote: Vote,
    snapshot: Snapshot<SnapshotData>,
    setup_ttl: Duration,
) -> Result<SnapshotResponse<RaftConfig<R>>, StreamingError<RaftConfig<R>>> {
    let opening = connection.transport.open(connection.target, Lane::Snapshot);
    let (mut sender, mut receiver) = within(connection, setup_ttl, opening).await?;
    let chunk_ttl = connection.deadlines.snapshot;

    let open = Open::Snapshot { vote, meta: snapshot.meta };
    within(connection, chunk_ttl, sender.send(frame::<R, _>(&open)?)).await?;
    let mut data = snapshot.snapshot;
    while let Some(chunk) = data.next_chunk().map_err(|error| read_error(&error))? {
        let frame = frame::<R, _>(&SnapshotChunk(chunk))?;
        within(connection, chunk_ttl, sender.send(frame)).await?;
    }
    within(connection, chunk_ttl, sender.finish()).await?;

    let answer = within(connection, chunk_ttl, receiver.recv()).await?;
    let Some(answer) = answer else {
        let error = NetworkError::from_string("the peer ended the stream without an answer");
        return Err(StreamingError::Network(error));
    };
    let SnapshotResult(response) = codec::decode::<SnapshotResult<R>>(&answer)
        .map_err(|error| StreamingError::from(network_error::<R, _>(&error)))?;
    Ok(response)
}

fn frame<R: Runtime, M: codec::Message>(
    message: &M,
) -> Result<bytes::Bytes, StreamingError<RaftConfig<R>>> {
    codec::encode(message).map_err(|error| network_error::<R, _>(&error).into())
}

/// A snapshot that cannot be read ends this attempt; the storage engine itself stops the node.
fn read_error<R: Runtime>(error: &std::io::Error) -> StreamingError<RaftConfig<R>> {
    StreamingError::Network(NetworkError::new(error))
}

async fn within<R: Runtime, T: Transport, V>(
    connection: &Connection<R, T>,
    ttl: Duration,
    future: impl Future<Output = Result<V, crate::transport::TransportError>> + Send,
) -> Result<V, StreamingError<RaftConfig<R>>>
where
    V: Send,
{
    let action = RPCTypes::InstallSnapshot;
    let result: Result<V, RPCError<RaftConfig<R>>> = match R::timeout(ttl, future).await {
        Ok(result) => result.map_err(|error| connection.transport_error(action, error)),
        Err(_elapsed) => Err(connection.timeout(action, ttl)),
    };
    result.map_err(StreamingError::from)
}
