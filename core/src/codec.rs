//! The wire codec: what the frames mean that a [`Transport`](crate::Transport) carries.
//!
//! One codec serves both worlds, so that its bugs show in simulation. A frame is a version byte, a
//! kind byte and a body in postcard. Enums grow at their end only; anything else is a new
//! [`VERSION`], and a frame of another version is refused with an error that names both.
//!
//! Left out: framing (the transport's), and what is stored on disk (the storage engine's).

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{ClientRequest, ClientResponse, ControlRequest, ControlResponse};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::runtime::Runtime;
use crate::types::{RaftConfig, SnapshotMeta, Vote};

/// The version of the frames that this build writes and reads.
pub const VERSION: u8 = 1;

const HEADER_BYTES: usize = 2;

/// Why a frame cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The frame is shorter than its header.
    #[error("a frame of {0} bytes is shorter than its header of {HEADER_BYTES}")]
    Short(usize),
    /// The frame was written by another version.
    #[error("the frame has version {found}, this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The frame holds something else than what is expected here.
    #[error("the frame has kind {found}, expected kind {expected}")]
    Kind {
        /// The kind found.
        found: u8,
        /// The kind expected.
        expected: u8,
    },
    /// The body does not decode.
    #[error("the frame's body does not decode: {0}")]
    Body(String),
    /// The frame is longer than a transport carries.
    #[error("a frame of {0} bytes passes the limit of {MESSAGE_BYTES_MAX} bytes")]
    TooLarge(usize),
}

/// Something that stands alone in a frame.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind byte.
    const KIND: u8;
}

/// The request of a call between nodes, or of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Request<R: Runtime> {
    /// A candidate asks for a vote.
    Vote(VoteRequest<RaftConfig<R>>),
    /// A node asks whether it would get a vote.
    PreVote(VoteRequest<RaftConfig<R>>),
    /// A heartbeat, or entries outside of a stream.
    Append(AppendEntriesRequest<RaftConfig<R>>),
    /// A leader hands its leadership over.
    TransferLeader(TransferLeaderRequest<RaftConfig<R>>),
    /// A client's request, its own or forwarded by a follower.
    Client(ClientRequest),
    /// An operator's request, its own or forwarded by a follower.
    Control(ControlRequest),
    /// A leader asks whether a later term is known.
    Confirm {
        /// The leader's term.
        term: u64,
    },
}

/// The response of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Response<R: Runtime> {
    /// To `Vote` and `PreVote`.
    Vote(VoteResponse<RaftConfig<R>>),
    /// To `Append`.
    Append(AppendEntriesResponse<RaftConfig<R>>),
    /// To `TransferLeader`.
    TransferLeader(TransferLeaderResponse<RaftConfig<R>>),
    /// To `Client`.
    Client(ClientResponse),
    /// To `Control`.
    Control(ControlResponse),
    /// To `Confirm`: whether no later term is stored.
    Confirmed(bool),
}

/// The first frame of a stream: what the stream is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Open {
    /// [`AppendFrame`]s one way, [`AppendResultFrame`]s the other, in the same order.
    Append,
    /// [`SnapshotChunk`]s one way; one [`SnapshotResult`] the other, once it is installed.
    Snapshot {
        /// The sending leader's vote.
        vote: Vote,
        /// What the snapshot covers.
        meta: SnapshotMeta,
    },
    /// A client's: nothing more comes one way; the other a [`BackupOpening`], then, unless that
    /// refuses, [`SnapshotChunk`]s.
    Backup {
        /// The backup must hold the effects of this entry and of all before it.
        at_least: Option<u64>,
    },
}

/// One append request on a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct AppendFrame<R: Runtime>(pub AppendEntriesRequest<RaftConfig<R>>);

/// The result of one append request on a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct AppendResultFrame<R: Runtime>(pub StreamAppendResult<RaftConfig<R>>);

/// A piece of a snapshot, as the storage engine cut it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotChunk(pub Bytes);

/// What became of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct SnapshotResult<R: Runtime>(pub SnapshotResponse<RaftConfig<R>>);

/// What a backup covers, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupOpening(pub Result<SnapshotMeta, String>);

impl<R: Runtime> Message for Request<R> {
    const KIND: u8 = 1;
}
impl<R: Runtime> Message for Response<R> {
    const KIND: u8 = 2;
}
impl Message for Open {
    const KIND: u8 = 3;
}
impl<R: Runtime> Message for AppendFrame<R> {
    const KIND: u8 = 4;
}
impl<R: Runtime> Message for AppendResultFrame<R> {
    const KIND: u8 = 5;
}
impl Message for SnapshotChunk {
    const KIND: u8 = 6;
}
impl<R: Runtime> Message for SnapshotResult<R> {
    const KIND: u8 = 7;
}
impl Message for BackupOpening {
    const KIND: u8 = 8;
}

/// Writes a message as a frame.
///
/// # Errors
/// [`CodecError::TooLarge`] for a message over the limit, [`CodecError::Body`] for one that
/// postcard cannot write.
pub fn encode<M: Message>(message: &M) -> Result<Bytes, CodecError> {
    let header = vec![VERSION, M::KIND];
    let frame = postcard::to_extend(message, header)
        .map_err(|error| CodecError::Body(error.to_string()))?;
    if frame.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(frame.len()));
    }
    Ok(frame.into())
}

/// Reads a frame that must hold an `M`.
///
/// # Errors
/// Every [`CodecError`] but `TooLarge`. Bytes after the message are an error too.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, CodecError> {
    let kind = kind(frame)?;
    if kind != M::KIND {
        return Err(CodecError::Kind { found: kind, expected: M::KIND });
    }
    let body = &frame[HEADER_BYTES..];
    let (message, rest) =
        postcard::take_from_bytes(body).map_err(|error| CodecError::Body(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CodecError::Body(format!("{} bytes after its end", rest.len())));
    }
    Ok(message)
}

/// The kind byte of a frame, after checking its version.
///
/// # Errors
/// [`CodecError::Short`] and [`CodecError::Version`].
pub fn kind(frame: &[u8]) -> Result<u8, CodecError> {
    match frame {
        [VERSION, kind, ..] => Ok(*kind),
        [found, _, ..] => Err(CodecError::Version { found: *found }),
        _ => Err(CodecError::Short(frame.len())),
    }
}
