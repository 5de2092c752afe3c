//! Snapshots: a state machine as a sequence of chunks.
//!
//! There is no snapshot file. Sending reads from one read transaction, so the state machine goes
//! on while a consistent view of it leaves in chunks: rows in ascending order of their keys, then
//! sessions, then the [`SnapshotEnd`] that says how many there were and what their digests are.
//! Each chunk is a record sealed under its ordinal, so that damage, loss and repetition show.
//! What the snapshot covers (log id and membership) travels beside it, as openraft's meta.

use std::io;
use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, TableHandle};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::machine::digest::RowsDigest;
use crate::storage::encoding::{self, DecodeError};
use crate::storage::error::StorageError;
use crate::storage::receive::ReceivedSnapshot;
use crate::storage::tables::{self, Generation, MachineRow};
use crate::types::{LogTime, SnapshotMeta, StoredMembership};

/// The data of a snapshot, from either end of its way.
pub enum SnapshotData {
    /// A view of this storage, to be sent.
    Outgoing(Box<OutgoingSnapshot>),
    /// A snapshot that arrived whole in this storage, to be installed.
    Received(ReceivedSnapshot),
}

impl SnapshotData {
    /// The next chunk to send, or `None` after the last. A chunk is at most about
    /// [`limits::SNAPSHOT_CHUNK_BYTES`] long, unless it carries one larger row.
    ///
    /// # Errors
    /// The storage's, and for a snapshot that was received here, which cannot be sent on.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            SnapshotData::Outgoing(outgoing) => Ok(outgoing.next_chunk()?),
            SnapshotData::Received(_) => {
                let message = "a snapshot that was received is there to be installed, not sent";
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }
}

/// What travels in one chunk.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Chunk {
    /// Keys and values, ascending.
    Rows(Vec<(Bytes, Bytes)>),
    /// Session rows under their ids, ascending.
    Sessions(Vec<(u64, Bytes)>),
    /// The end.
    End(SnapshotEnd),
}

/// What the last chunk says of all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) rows: u64,
    pub(crate) sessions: u64,
    pub(crate) log_time: LogTime,
    pub(crate) content: RowsDigest,
    pub(crate) session_digest: RowsDigest,
}

impl SnapshotEnd {
    /// The end of a snapshot of `machine` with so many rows and sessions.
    pub(crate) fn of(machine: &MachineRow, rows: u64, sessions: u64) -> Self {
        let (log_time, content) = (machine.log_time, machine.content);
        Self { rows, sessions, log_time, content, session_digest: machine.sessions }
    }
}

impl Chunk {
    /// The chunk as it travels in place `ordinal`, counted from 0.
    pub(crate) fn encode(&self, ordinal: u64) -> Bytes {
        encoding::seal_record(&tables::number_key(ordinal), self).into()
    }

    /// Reads the chunk in place `ordinal`.
    pub(crate) fn decode(ordinal: u64, bytes: &[u8]) -> Result<Self, ChunkError> {
        let opened = encoding::unseal(&tables::number_key(ordinal), bytes);
        let (record, _) = opened.ok_or(ChunkError::Checksum)?;
        Ok(encoding::decode(record)?)
    }
}

/// Why a chunk cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It is damaged, or it is another chunk than the next one.
    #[error("its checksum does not fit its bytes and its place")]
    Checksum,
    /// Its record cannot be read.
    #[error(transparent)]
    Record(#[from] DecodeError),
}

/// A view of the state machine, on its way out in chunks.
pub struct OutgoingSnapshot {
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    sessions: ReadOnlyTable<u64, &'static [u8]>,
    machine: MachineRow,
    stage: Stage,
    ordinal: u64,
    rows_sent: u64,
    sessions_sent: u64,
}

/// How far an outgoing snapshot has come.
enum Stage {
    Rows { after: Option<Vec<u8>> },
    Sessions { after: Option<u64> },
    End,
    Sent,
}

impl OutgoingSnapshot {
    /// A view of what a read transaction sees, and what it covers.
    pub(crate) fn open(txn: &ReadTransaction) -> Result<(SnapshotMeta, Self), StorageError> {
        let meta = tables::open_meta(txn)?;
        let machine = tables::record::<MachineRow>(&meta, tables::MACHINE)?.unwrap_or_default();
        let membership = tables::record::<StoredMembership>(&meta, tables::MEMBERSHIP)?;
        let last_membership = membership.unwrap_or_default();
        let snapshot_meta = SnapshotMeta { last_log_id: machine.applied, last_membership };
        let generation = Generation::named(machine.generation);
        let rows = txn.open_table(generation.rows())?;
        let sessions = txn.open_table(generation.sessions())?;
        let stage = Stage::Rows { after: None };
        let (ordinal, rows_sent, sessions_sent) = (0, 0, 0);
        let outgoing = Self { rows, sessions, machine, stage, ordinal, rows_sent, sessions_sent };
        Ok((snapshot_meta, outgoing))
    }

    /// The next chunk, or `None` after the last.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            let chunk = match &self.stage {
                Stage::Rows { .. } => self.next_rows()?,
                Stage::Sessions { .. } => self.next_sessions()?,
                Stage::End => {
                    self.stage = Stage::Sent;
                    let (rows, sessions) = (self.rows_sent, self.sessions_sent);
                    Some(Chunk::End(SnapshotEnd::of(&self.machine, rows, sessions)))
                }
                Stage::Sent => return Ok(None),
            };
            if let Some(chunk) = chunk {
                let bytes = chunk.encode(self.ordinal);
                self.ordinal += 1;
                return Ok(Some(bytes));
            }
        }
    }

    /// The next rows, or `None` and on to the sessions.
    fn next_rows(&mut self) -> Result<Option<Chunk>, StorageError> {
        let Stage::Rows { after } = &self.stage else { return Ok(None) };
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut budget = Budget::default();
        let mut rows = Vec::new();
        for row in self.rows.range::<&[u8]>((from, Bound::Unbounded))? {
            let (key, sealed) = row?;
            let (key, sealed) = (key.value(), sealed.value());
            if !budget.take(key.len() + sealed.len()) {
                break;
            }
            let (value, _) = tables::unseal(self.rows.name(), key, sealed)?;
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        self.rows_sent += rows.len() as u64;
        let Some((last, _)) = rows.last() else {
            self.stage = Stage::Sessions { after: None };
            return Ok(None);
        };
        self.stage = Stage::Rows { after: Some(last.to_vec()) };
        Ok(Some(Chunk::Rows(rows)))
    }

    /// The next sessions, or `None` and on to the end.
    fn next_sessions(&mut self) -> Result<Option<Chunk>, StorageError> {
        let Stage::Sessions { after } = self.stage else { return Ok(None) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut budget = Budget::default();
        let mut rows = Vec::new();
        for row in self.sessions.range::<u64>((from, Bound::Unbounded))? {
            let (id, sealed) = row?;
            let (id, sealed) = (id.value(), sealed.value());
            if !budget.take(8 + sealed.len()) {
                break;
            }
            let key = tables::number_key(id);
            let (session, _) = tables::unseal(self.sessions.name(), &key, sealed)?;
            rows.push((id, Bytes::copy_from_slice(session)));
        }
        self.sessions_sent += rows.len() as u64;
        let Some((last, _)) = rows.last() else {
            self.stage = Stage::End;
            return Ok(None);
        };
        self.stage = Stage::Sessions { after: Some(*last) };
        Ok(Some(Chunk::Sessions(rows)))
    }
}

/// Fills chunks: the first row always fits, further rows while there is room.
#[derive(Default)]
struct Budget {
    bytes: usize,
}

impl Budget {
    /// Takes room for a row, if there is room or nothing else is in.
    fn take(&mut self, row: usize) -> bool {
        // Two lengths stand before each row.
        let after = self.bytes + row + 8;
        let fits = self.bytes == 0 || after <= limits::SNAPSHOT_CHUNK_BYTES - 64;
        self.bytes = after;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_in_its_place_only() {
        let chunk = Chunk::Rows(vec![(Bytes::from_static(b"k"), Bytes::from_static(b"v"))]);
        let bytes = chunk.encode(3);
        assert_eq!(Chunk::decode(3, &bytes), Ok(chunk));
        assert_eq!(Chunk::decode(4, &bytes), Err(ChunkError::Checksum));
        assert_eq!(Chunk::decode(3, &bytes[..bytes.len() - 1]), Err(ChunkError::Checksum));
    }
}
