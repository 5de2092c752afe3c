//! The cycles over the storage that nodes run on, inside the simulation.
//!
//! Each life is a machine of the executor with its own tasks. It ends at a drawn operation of the
//! disk, or at a drawn time, which finds transactions waiting for their sync. What is found
//! afterwards must be what the operations asked for leave, from the last acknowledged one on.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use aspen_core::storage::{self, Storage, StorageConfig};
use aspen_sim::disk::{SimDisk, SimVolume};
use aspen_transport_sim::SimRuntime;
use aspen_transport_sim::runtime::machine::register_node;
use aspen_transport_sim::streams::stream;
use madsim::runtime::{Handle, NodeHandle};
use openraft::AsyncRuntime;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::chain;
use crate::crash::Crash;
use crate::driver::{Ledger, SharedLedger, drive, observe};
use crate::model::{Model, Operation};
use crate::report::{Failed, Failing, Report};

/// Few enough for many flushes in a life, also in the appends that are not waited for.
const FLUSH_AFTER_ENTRIES: u64 = 16;
/// Few enough for many epochs in a life.
const JOURNAL_BYTES: u64 = 6 << 10;

/// Runs the cycles.
pub(crate) fn run(cycles: u64, seed: u64, lying_disk: bool) -> Report {
    chain::run(cycles, seed, lying_disk, run_cycle)
}

/// One crash, perhaps more of them before the storage is open again, and the recovery after it;
/// what is there afterwards.
async fn run_cycle(
    disk: &SimDisk,
    base: Model,
    random: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<Model, Failed> {
    let ledger = work_until_crash(disk, base.clone(), random, report).await?;
    while random.random_range(0..3) == 0 {
        open_until_crash(disk, random, report).await?;
    }
    let (recovered, repaired) = recover(disk, random).await?;
    report.repaired += u64::from(repaired);
    report.transactions += ledger.asked.len() as u64;
    report.acknowledged += ledger.acknowledged as u64;
    report.found_more += u64::from(compare(base, &ledger, &recovered)? > ledger.acknowledged);
    Ok(recovered)
}

/// A life that works until it is crashed.
async fn work_until_crash(
    disk: &SimDisk,
    model: Model,
    random: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<Ledger, Failed> {
    let crash = Crash::at_work_or_in_time(random);
    let ledger = SharedLedger::default();
    let (written, draws) = (ledger.clone(), stream(random.random(), "driver", &[]));
    live_until(crash, disk, random, &ledger, move |opened| async move {
        match opened {
            Ok(storage) => drive(storage, model, draws, written).await,
            Err(_) => pending().await,
        }
    })
    .await?;
    let ledger = std::mem::take(&mut *ledger.lock());
    report.in_open += u64::from(ledger.asked.is_empty());
    Ok(ledger)
}

/// A life that is crashed while it opens its storage, or soon after.
async fn open_until_crash(
    disk: &SimDisk,
    random: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<(), Failed> {
    let crash = Crash::in_open(random);
    let ledger = SharedLedger::default();
    let dead = live_until(crash, disk, random, &ledger, |opened| async move {
        pending::<()>().await;
        drop(opened);
    });
    report.in_open += u64::from(dead.await?);
    Ok(())
}

/// Starts a machine that opens its storage, waits for the crash, and lets it strike. Says whether
/// the disk had died by then; fails when the storage did not work on a healthy disk.
async fn live_until<F>(
    crash: Crash,
    disk: &SimDisk,
    random: &mut ChaCha8Rng,
    ledger: &SharedLedger,
    life: impl FnOnce(Result<Storage<SimRuntime>, String>) -> F + Send + 'static,
) -> Result<bool, Failed>
where
    F: Future<Output = ()> + Send,
{
    crash.plan(disk);
    let node = new_machine(random);
    let (machine_disk, failures) = (disk.clone(), ledger.clone());
    let task = node.spawn(async move {
        let opened = open(machine_disk.mount());
        if let Err(error) = &opened {
            failures.lock().failure = Some(error.clone());
        }
        life(opened).await;
    });
    // Not an error: a crash that is counted in time comes before the disk dies.
    let _timely = SimRuntime::timeout(Duration::from_micros(crash.after_us), disk.death()).await;
    let dead = disk.is_dead();
    let failure = ledger.lock().failure.clone().filter(|_| !dead);
    crash.strike(disk);
    Handle::current().kill(node.id());
    // A killed task is dropped late: sometimes before, sometimes after the next mount.
    SimRuntime::sleep(Duration::from_millis(random.random_range(0..2))).await;
    drop(task);
    match failure {
        Some(failure) => Err((Failing::Unusable, format!("on a healthy disk: {failure}"))),
        None => Ok(dead),
    }
}

/// Opens the storage and reads all of it; closes it or leaves it unclean.
async fn recover(disk: &SimDisk, random: &mut ChaCha8Rng) -> Result<(Model, bool), Failed> {
    let node = new_machine(random);
    let machine_disk = disk.clone();
    let clean = random.random_range(0..2) == 0;
    let task = node.spawn(async move {
        let mut storage = open(machine_disk.mount())?;
        let found = observe(&mut storage).await.map_err(|error| error.to_string())?;
        if clean {
            storage.store.close().await.map_err(|error| error.to_string())?;
        }
        Ok((found, storage.store.repaired()))
    });
    let found = task.await.unwrap_or_else(|_| Err("the recovery was cancelled".to_owned()));
    Crash::kill().strike(disk);
    Handle::current().kill(node.id());
    found.map_err(|error| (Failing::Unusable, error))
}

fn open(volume: SimVolume) -> Result<Storage<SimRuntime>, String> {
    let config =
        StorageConfig { flush_after_entries: FLUSH_AFTER_ENTRIES, journal_bytes: JOURNAL_BYTES };
    storage::open(Arc::new(volume), &config).map_err(|error| error.to_string())
}

fn new_machine(random: &mut ChaCha8Rng) -> NodeHandle {
    let node = Handle::current().create_node().build();
    register_node(node.id(), random.random(), 0);
    node
}

/// How many operations the recovered state holds; at least those that were acknowledged.
///
/// The log and the vote are those after some operation. The state machine is the one after some
/// entry that was applied, which the log has, or has purged.
fn compare(base: Model, ledger: &Ledger, recovered: &Model) -> Result<usize, Failed> {
    let told = || format!("{} of {} acknowledged", ledger.acknowledged, ledger.asked.len());
    let mut machine = base.clone();
    let mut expected = base;
    let (mut found, mut lost) = (None, false);
    for count in 0..=ledger.asked.len() {
        if expected.same_log(recovered) {
            lost |= count < ledger.acknowledged;
            found = Some(count).filter(|count| *count >= ledger.acknowledged);
        }
        if found.is_some() {
            break;
        }
        if let Some(operation) = ledger.asked.get(count) {
            expected.apply(operation);
        }
    }
    let Some(found) = found else {
        return Err((if lost { Failing::Lost } else { Failing::Wrong }, told()));
    };
    let asked = ledger.asked.iter().flat_map(Operation::applied);
    for entry in asked.filter(|entry| Some(entry.log_id) <= recovered.applied) {
        machine.apply_entry(entry);
    }
    let same = (machine.applied, &machine.rows) == (recovered.applied, &recovered.rows);
    let fits = (recovered.purged..=recovered.last()).contains(&recovered.applied);
    if same && fits { Ok(found) } else { Err((Failing::Wrong, told())) }
}
