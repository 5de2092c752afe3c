//! Receiving a snapshot: chunk by chunk into a shadow generation.
//!
//! Nothing that arrives is seen by anybody before [`install`](super::StateMachine) names its
//! generation. Each chunk is checked on its own and written in a transaction that is not durable
//! by itself; the digests are recomputed on the way and compared with what the sender said at the
//! end. A receiver that is dropped leaves a generation that the writer clears away.
//!
//! [`SnapshotCheck`] does the same without a storage: a backup is checked where it is written, and
//! again before anything is made of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::machine::digest::{RowHash, RowsDigest};
use crate::runtime::Runtime;
use crate::storage::encoding;
use crate::storage::engine::{Slice, Work};
use crate::storage::error::StorageError;
use crate::storage::generation;
use crate::storage::queue::Queue;
use crate::storage::shared::Shadow;
use crate::storage::snapshot::{Chunk, ChunkError, SnapshotData, SnapshotEnd};
use crate::storage::tables;

/// Why a snapshot cannot be received. All but [`Storage`](SnapshotError::Storage) are the
/// sender's or the network's fault: the transfer fails, the node goes on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A chunk cannot be read.
    #[error("chunk {ordinal} of the snapshot: {reason}")]
    Chunk {
        /// The chunk's place, counted from 0.
        ordinal: u64,
        /// Why.
        reason: ChunkError,
    },
    /// A chunk came that must not come there: rows out of order, or anything after the end.
    #[error("chunk {ordinal} of the snapshot is out of order")]
    Order {
        /// The chunk's place, counted from 0.
        ordinal: u64,
    },
    /// The snapshot stopped before its end.
    #[error("the snapshot ended after {chunks} chunks, before its last one")]
    Incomplete {
        /// How many chunks came.
        chunks: u64,
    },
    /// The rows that came are not the rows that were sent.
    #[error("the snapshot says {said}, and what came is {came}")]
    Differs {
        /// Counts and digests, as the last chunk has them.
        said: String,
        /// The same, recomputed.
        came: String,
    },
    /// The storage failed, for good.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<SnapshotError> for std::io::Error {
    fn from(error: SnapshotError) -> Self {
        std::io::Error::other(error)
    }
}

/// A snapshot that is arriving.
pub struct SnapshotReceiver<R: Runtime> {
    queue: Queue<R>,
    shadow: Arc<Shadow>,
    check: SnapshotCheck,
}

/// Checks a snapshot's chunks, one after the other.
#[derive(Default)]
pub struct SnapshotCheck {
    ordinal: u64,
    came: Came,
    last_key: Option<Bytes>,
    last_session: Option<u64>,
    end: Option<SnapshotEnd>,
}

/// The rows of one chunk, sealed for the tables.
struct Sealed {
    rows: Vec<(Bytes, Vec<u8>)>,
    sessions: Vec<(u64, Vec<u8>)>,
}

/// A snapshot that arrived whole and waits in its generation.
pub struct ReceivedSnapshot {
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) end: SnapshotEnd,
}

/// What came so far.
#[derive(Default)]
struct Came {
    rows: u64,
    sessions: u64,
    content: RowsDigest,
    session_digest: RowsDigest,
}

impl<R: Runtime> SnapshotReceiver<R> {
    pub(crate) fn new(queue: Queue<R>, shadow: Shadow) -> Self {
        Self { queue, shadow: Arc::new(shadow), check: SnapshotCheck::default() }
    }

    /// Takes the next chunk in; returns when it is written.
    ///
    /// # Errors
    /// [`SnapshotError`]; the receiver is of no use after one.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        let Sealed { rows, sessions } = self.check.open(&chunk)?;
        let slice = Slice { shadow: self.shadow.clone(), rows, sessions };
        Ok(self.queue.run(Work::Receive(slice)).await?)
    }

    /// Ends the transfer: the snapshot is whole, and can be installed.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`], when its last chunk did not come.
    pub fn finish(self) -> Result<SnapshotData, SnapshotError> {
        self.finish_received().map(SnapshotData::Received)
    }

    pub(crate) fn finish_received(self) -> Result<ReceivedSnapshot, SnapshotError> {
        let end = self.check.into_end()?;
        Ok(ReceivedSnapshot { shadow: self.shadow, end })
    }
}

impl SnapshotCheck {
    /// Checks the next chunk.
    ///
    /// # Errors
    /// [`SnapshotError`]; the check is of no use after one.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        self.open(chunk).map(drop)
    }

    /// Whether the last chunk has come.
    pub fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    /// How many keys, and how many sessions, have come.
    pub fn counts(&self) -> (u64, u64) {
        (self.came.rows, self.came.sessions)
    }

    /// Ends the check.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`], when the last chunk did not come.
    pub fn finish(self) -> Result<(), SnapshotError> {
        self.into_end().map(drop)
    }

    fn into_end(self) -> Result<SnapshotEnd, SnapshotError> {
        self.end.ok_or(SnapshotError::Incomplete { chunks: self.ordinal })
    }

    fn open(&mut self, chunk: &[u8]) -> Result<Sealed, SnapshotError> {
        let ordinal = self.ordinal;
        if self.end.is_some() {
            return Err(SnapshotError::Order { ordinal });
        }
        let chunk = Chunk::decode(ordinal, chunk)
            .map_err(|reason| SnapshotError::Chunk { ordinal, reason })?;
        self.ordinal += 1;
        let mut sealed = Sealed { rows: Vec::new(), sessions: Vec::new() };
        match chunk {
            Chunk::Rows(rows) => sealed.rows = self.take_rows(ordinal, rows)?,
            Chunk::Sessions(sessions) => sealed.sessions = self.take_sessions(ordinal, sessions)?,
            // An empty snapshot has tables too, so its end is a slice like the others.
            Chunk::End(end) => {
                self.came.compare(&end)?;
                self.end = Some(end);
            }
        }
        Ok(sealed)
    }

    fn take_rows(
        &mut self,
        ordinal: u64,
        rows: Vec<(Bytes, Bytes)>,
    ) -> Result<Vec<(Bytes, Vec<u8>)>, SnapshotError> {
        let mut sealed = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            if self.last_key.as_ref().is_some_and(|last| *last >= key) || self.came.sessions > 0 {
                return Err(SnapshotError::Order { ordinal });
            }
            let hash = RowHash::of(&key, &value);
            self.came.content.insert(hash);
            self.came.rows += 1;
            self.last_key = Some(key.clone());
            sealed.push((key, encoding::seal_hashed(&value, hash)));
        }
        Ok(sealed)
    }

    fn take_sessions(
        &mut self,
        ordinal: u64,
        rows: Vec<(u64, Bytes)>,
    ) -> Result<Vec<(u64, Vec<u8>)>, SnapshotError> {
        let mut sealed = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            if self.last_session.is_some_and(|last| last >= id) {
                return Err(SnapshotError::Order { ordinal });
            }
            self.came.session_digest.insert(RowHash::of(&tables::number_key(id), &row));
            self.came.sessions += 1;
            self.last_session = Some(id);
            sealed.push((id, generation::seal_session(id, &row)));
        }
        Ok(sealed)
    }
}

impl Came {
    fn compare(&self, end: &SnapshotEnd) -> Result<(), SnapshotError> {
        let say = |rows: u64, sessions: u64, content: RowsDigest, session_digest: RowsDigest| {
            let (content, session_digest) = (content.short(), session_digest.short());
            format!(
                "{rows} rows of digest {content:016x}, {sessions} sessions of digest \
                 {session_digest:016x}"
            )
        };
        let said = say(end.rows, end.sessions, end.content, end.session_digest);
        let came = say(self.rows, self.sessions, self.content, self.session_digest);
        if said == came { Ok(()) } else { Err(SnapshotError::Differs { said, came }) }
    }
}
