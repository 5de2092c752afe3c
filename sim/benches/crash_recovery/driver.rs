//! What stands in for openraft: it asks a storage for operations, one after another, and keeps
//! count of what was asked and what was acknowledged as durable.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aspen_core::RaftConfig;
use aspen_core::command::Key;
use aspen_core::storage::Storage;
use aspen_core::types::Entry;
use aspen_transport_sim::SimRuntime;
use futures_util::stream;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::model::{Model, Operation};

/// What one life asked for.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The operations, in order.
    pub(crate) asked: Vec<Operation>,
    /// How many of them are durable, as far as the storage has said.
    pub(crate) acknowledged: usize,
    /// The first error that the storage gave.
    pub(crate) failure: Option<String>,
}

/// A ledger that outlives the tasks that write it.
#[derive(Clone, Default)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the operation that is the `count`th.
    fn settle(&self, count: usize, durable: bool, result: io::Result<()>) {
        let mut ledger = self.lock();
        match result {
            Ok(()) if durable => ledger.acknowledged = ledger.acknowledged.max(count),
            Ok(()) => {}
            Err(error) => {
                ledger.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Asks for operations until the first error.
pub(crate) async fn drive(
    mut storage: Storage<SimRuntime>,
    mut model: Model,
    mut random: ChaCha8Rng,
    ledger: SharedLedger,
) {
    while ledger.lock().failure.is_none() {
        let operation = model.draw(&mut random);
        model.apply(&operation);
        let count = {
            let mut ledger = ledger.lock();
            ledger.asked.push(operation.clone());
            ledger.asked.len()
        };
        let result = match operation {
            Operation::Append(entries) => {
                let wait = random.random_range(0..3) == 0;
                append(&mut storage, entries, count, wait, &ledger).await
            }
            Operation::Vote(vote) => storage.log.save_vote(&vote).await.map(|()| true),
            Operation::TruncateAfter(last) => {
                storage.log.truncate_after(last).await.map(|()| false)
            }
            Operation::Purge(upto) => storage.log.purge(upto).await.map(|()| true),
            Operation::Apply(entries) => {
                let entries = entries.into_iter().map(|entry| Ok((entry, None)));
                storage.machine.apply(stream::iter(entries)).await.map(|()| false)
            }
        };
        ledger.settle(count, *result.as_ref().unwrap_or(&false), result.map(drop));
    }
}

/// Appends; unless it waits, the acknowledgement comes while later operations are asked for.
/// Says whether the entries are durable.
async fn append(
    storage: &mut Storage<SimRuntime>,
    entries: Vec<Entry>,
    count: usize,
    wait: bool,
    ledger: &SharedLedger,
) -> io::Result<bool> {
    let (sender, flushed) = RaftConfig::<SimRuntime>::oneshot();
    storage.log.append(entries, IOFlushed::signal(sender)).await?;
    let unanswered = || Err(io::Error::other("nobody answered an append"));
    if wait {
        return flushed.await.unwrap_or_else(|_| unanswered()).map(|()| true);
    }
    let ledger = ledger.clone();
    drop(RaftConfig::<SimRuntime>::spawn(async move {
        ledger.settle(count, true, flushed.await.unwrap_or_else(|_| unanswered()));
    }));
    Ok(false)
}

/// Reads all that a storage holds.
pub(crate) async fn observe(storage: &mut Storage<SimRuntime>) -> io::Result<Model> {
    storage.store.verify()?;
    let state = storage.log.get_log_state().await?;
    let entries = storage.log.try_get_log_entries(..).await?;
    let mut model = Model {
        vote: storage.log.read_vote().await?,
        purged: state.last_purged_log_id,
        log: entries.into_iter().map(|entry| (entry.log_id.index, entry)).collect(),
        applied: storage.machine.applied_state().await?.0,
        ..Model::default()
    };
    if model.last() != state.last_log_id {
        return Err(io::Error::other("the log does not end where its state says"));
    }
    let mut after: Option<Key> = None;
    loop {
        let page = storage.store.scan(b"", after.as_ref(), usize::MAX)?;
        after = page.rows.last().map(|(key, _)| key.clone());
        model.rows.extend(page.rows);
        if !page.more {
            return Ok(model);
        }
    }
}
