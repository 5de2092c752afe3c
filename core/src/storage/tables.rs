//! The tables of the one database file, and the rows that stand in them.
//!
//! `log` and `meta` are there once. The log's last rows may still be in the journal alone. The state
//! machine's rows live in a numbered **generation** of two tables; the record [`MachineRow`] in `meta`
//! names the current number. A snapshot is received into a new generation and takes effect when
//! that one record changes; what no record names is dropped.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableHandle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::machine::digest::{RowHash, RowsDigest};
use crate::storage::encoding;
use crate::storage::error::StorageError;
use crate::types::{LogId, LogTime};

/// A table of bytes under bytes.
pub(crate) type BytesTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
/// A table of bytes under numbers.
pub(crate) type NumbersTable<'txn> = Table<'txn, u64, &'static [u8]>;
/// The table of records under names.
pub(crate) type MetaTable<'txn> = Table<'txn, &'static str, &'static [u8]>;

/// Log entries, sealed, under their indexes.
pub(crate) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Records, sealed, under their names.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The vote.
pub(crate) const VOTE: &str = "vote";
/// The last log id known to be committed.
pub(crate) const COMMITTED: &str = "committed";
/// The journal's [`JournalRow`](crate::storage::journal::JournalRow).
pub(crate) const JOURNAL: &str = "journal";
/// The last log id purged.
pub(crate) const PURGED: &str = "purged";
/// The state machine's [`MachineRow`].
pub(crate) const MACHINE: &str = "machine";
/// The last membership applied.
pub(crate) const MEMBERSHIP: &str = "membership";

/// What `meta` says of the state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MachineRow {
    /// The generation that holds the rows.
    pub(crate) generation: u64,
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// The largest time that a proposal carried.
    pub(crate) log_time: LogTime,
    /// The digest of the keys and values.
    pub(crate) content: RowsDigest,
    /// The digest of the session rows.
    pub(crate) sessions: RowsDigest,
}

impl MachineRow {
    /// The record of a machine that has applied entries up to `applied`.
    pub(crate) fn of(generation: u64, applied: Option<LogId>, machine: &Machine) -> Self {
        Self {
            generation,
            applied,
            log_time: machine.log_time(),
            content: machine.content(),
            sessions: machine.sessions().digest(),
        }
    }
}

/// The bytes that a row under a number is sealed under.
pub(crate) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Opens a sealed row, or says which one is damaged.
pub(crate) fn unseal<'a>(
    table: &str,
    key: &[u8],
    sealed: &'a [u8],
) -> Result<(&'a [u8], RowHash), StorageError> {
    encoding::unseal(key, sealed)
        .ok_or_else(|| StorageError::Damaged { table: table.to_owned(), key: readable(key) })
}

/// Opens a sealed row and decodes its record.
pub(crate) fn unseal_record<T: DeserializeOwned>(
    table: &str,
    key: &[u8],
    sealed: &[u8],
) -> Result<T, StorageError> {
    let (record, _) = unseal(table, key, sealed)?;
    encoding::decode(record).map_err(|reason| unreadable(table, key, reason))
}

/// The error for a row whose record cannot be decoded.
pub(crate) fn unreadable(table: &str, key: &[u8], reason: encoding::DecodeError) -> StorageError {
    StorageError::Unreadable { table: table.to_owned(), key: readable(key), reason }
}

/// Writes a record into `meta`.
pub(crate) fn put_record<T: Serialize>(
    meta: &mut MetaTable<'_>,
    name: &'static str,
    record: &T,
) -> Result<(), StorageError> {
    meta.insert(name, encoding::seal_record(name.as_bytes(), record).as_slice())?;
    Ok(())
}

/// Reads a record of `meta`.
pub(crate) fn record<T: DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, StorageError> {
    let Some(row) = meta.get(name)? else { return Ok(None) };
    unseal_record(META.name(), name.as_bytes(), row.value()).map(Some)
}

/// Opens the table of records for reading.
pub(crate) fn open_meta(
    txn: &ReadTransaction,
) -> Result<ReadOnlyTable<&'static str, &'static [u8]>, StorageError> {
    Ok(txn.open_table(META)?)
}

/// A key as an error message shows it: text if it is short text, else the beginning in hex.
fn readable(key: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = std::str::from_utf8(key).ok().filter(|text| !text.contains(char::is_control));
    match text {
        Some(text) if text.len() <= SHOWN => format!("`{text}`"),
        _ => {
            let hex: String = key.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
            let more = if key.len() > SHOWN { ".." } else { "" };
            format!("0x{hex}{more}")
        }
    }
}
