//! Generations: the numbered pairs of tables that hold a state machine's rows.
//!
//! [`MachineRow`](super::tables::MachineRow) names the current one. Others are either on their way
//! in, as a snapshot that is being received, or on their way out, slice by slice, because deleting
//! a large table at once would hold everybody up.

use redb::{Durability, ReadableTable, TableDefinition, TableHandle};

use crate::command::SessionId;
use crate::limits;
use crate::machine::Machine;
use crate::machine::digest::RowHash;
use crate::storage::encoding;
use crate::storage::error::StorageError;
use crate::storage::shared::Shared;
use crate::storage::snapshot::SnapshotEnd;
use crate::storage::tables::{self, BytesTable};

/// The names of one generation's tables.
pub(crate) struct Generation {
    /// Keys and values.
    pub(crate) rows: String,
    /// Sessions under their ids.
    pub(crate) sessions: String,
}

const ROWS_PREFIX: &str = "rows.";
const SESSIONS_PREFIX: &str = "sessions.";

impl Generation {
    /// The names of a generation's tables.
    pub(crate) fn named(number: u64) -> Self {
        Self {
            rows: format!("{ROWS_PREFIX}{number}"),
            sessions: format!("{SESSIONS_PREFIX}{number}"),
        }
    }

    /// The number of the generation that a table belongs to, if it belongs to one.
    pub(crate) fn of_table(name: &str) -> Option<u64> {
        let number = name.strip_prefix(ROWS_PREFIX).or_else(|| name.strip_prefix(SESSIONS_PREFIX));
        number.and_then(|number| number.parse().ok())
    }

    /// The table of keys and values.
    pub(crate) fn rows(&self) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
        TableDefinition::new(&self.rows)
    }

    /// The table of sessions.
    pub(crate) fn sessions(&self) -> TableDefinition<'_, u64, &'static [u8]> {
        TableDefinition::new(&self.sessions)
    }
}

/// Seals the row of a session.
pub(crate) fn seal_session(id: u64, row: &[u8]) -> Vec<u8> {
    let hash = RowHash::of(&tables::number_key(id), row);
    encoding::seal_hashed(row, hash)
}

/// Reads the sessions back and compares their digest with the one that was stored.
pub(crate) fn load_machine(
    sessions: &(impl ReadableTable<u64, &'static [u8]> + TableHandle),
    end: &SnapshotEnd,
) -> Result<Machine, StorageError> {
    let table = sessions.name();
    let mut rows = Vec::new();
    for row in sessions.iter()? {
        let (id, sealed) = row?;
        let (row, _) = tables::unseal(table, &tables::number_key(id.value()), sealed.value())?;
        rows.push((SessionId(id.value()), row.to_vec()));
    }
    let borrowed = rows.iter().map(|(id, row)| (*id, row.as_slice()));
    let machine = Machine::load(end.log_time, end.content, borrowed);
    let machine = machine.map_err(|(SessionId(id), reason)| {
        tables::unreadable(table, &tables::number_key(id), reason)
    })?;
    let (stored, computed) = (end.session_digest, machine.sessions().digest());
    if stored != computed {
        let (stored, computed) = (stored.short(), computed.short());
        return Err(StorageError::Digest { what: "session", stored, computed });
    }
    Ok(machine)
}

/// Removes a slice of a generation that nothing names; says whether it is gone.
///
/// # Errors
/// The database's.
pub(crate) fn drop_slice(shared: &Shared, number: u64) -> Result<bool, StorageError> {
    let generation = Generation::named(number);
    let mut txn = shared.begin_write()?;
    txn.set_durability(Durability::None)?;
    let mut rows: BytesTable<'_> = txn.open_table(generation.rows())?;
    let end = rows.iter()?.nth(limits::DROP_SLICE_ROWS - 1);
    let end = end.transpose()?.map(|(key, _)| key.value().to_vec());
    if let Some(end) = end {
        rows.retain_in(..=end.as_slice(), |_, _| false)?;
        drop(rows);
        txn.commit()?;
        return Ok(false);
    }
    drop(rows);
    txn.delete_table(generation.rows())?;
    txn.delete_table(generation.sessions())?;
    txn.commit()?;
    Ok(true)
}
