//! The storage engine on a disk that fails: every error is final for the life that met it, and
//! nothing that was acknowledged before is missing after the machine was power-cycled.

use std::sync::Arc;

use aspen_core::storage::{self, Storage, StorageConfig};
use aspen_core::types::Vote;
use aspen_core::{NodeId, RaftConfig};
use aspen_sim::disk::{
    Death, DeathFrom, DiskConfig, InFlight, IoFault, IoOperation, Kill, PowerFailure, SimDisk,
    Survive,
};
use aspen_transport_sim::{SimRuntime, run_isolated};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use openraft::type_config::TypeConfigExt;

/// More than the creation and the first votes take.
const OPERATIONS: u64 = 80;

fn open(disk: &SimDisk) -> Result<Storage<SimRuntime>, storage::OpenError> {
    storage::open(Arc::new(disk.mount()), &StorageConfig::default())
}

/// Saves votes of ascending terms up to `last`; the last term that was acknowledged.
async fn vote(storage: &mut Storage<SimRuntime>, last: u64) -> u64 {
    for term in 1..=last {
        if storage.log.save_vote(&Vote::new(term, NodeId(1))).await.is_err() {
            return term - 1;
        }
    }
    last
}

/// One I/O error, then a power failure and a second life. Says whether the error was met.
async fn fail_once(operation: IoOperation, skip: u64, survive: Survive) -> bool {
    let told = format!("{operation} after {skip}, {survive:?}");
    let disk = SimDisk::new(DiskConfig::default());
    disk.fail_next(IoFault { operation, skip, seed: skip });
    let mut acknowledged = 0;
    if let Ok(mut storage) = open(&disk) {
        acknowledged = vote(&mut storage, 8).await;
        if acknowledged < 8 {
            storage.log.save_vote(&Vote::new(9, NodeId(1))).await.expect_err("errors are final");
        }
    }
    let counters = disk.counters();
    disk.heal();
    disk.power_failure(PowerFailure { survive, in_flight: InFlight::Dropped, seed: skip });
    let mut storage = open(&disk).unwrap_or_else(|error| panic!("{told}: {error}"));
    let found = storage.log.read_vote().await.expect("the disk is healthy again");
    let found = found.map_or(0, |vote| vote.leader_id.term);
    assert!(found >= acknowledged, "{told}: {acknowledged} acknowledged, {found} found");
    counters.read_errors + counters.write_errors + counters.sync_errors > 0
}

#[test]
fn an_io_error_anywhere_loses_nothing_that_was_acknowledged() {
    let survivals = [
        Survive::Nothing,
        Survive::Everything,
        Survive::Sectors { sector_bytes: 512, keep_percent: 50 },
    ];
    for operation in [IoOperation::Read, IoOperation::Write, IoOperation::Sync] {
        let mut met = 0;
        for survive in survivals {
            for skip in 0..OPERATIONS {
                let run = run_isolated(1, move || fail_once(operation, skip, survive));
                met += u64::from(run.unwrap_or_else(|panic| panic!("{panic}")));
            }
        }
        assert!(met > 0, "no error of {operation} was met");
    }
}

/// A creation that is killed after so many operations, a second life that acknowledges a vote, and
/// a power failure that keeps nothing unsynced. Says whether the kill cut the creation.
async fn kill_creation(after_operations: u64) -> bool {
    let disk = SimDisk::new(DiskConfig::default());
    let (from, seed) = (DeathFrom::NextMount, after_operations);
    disk.die_at(Death { from, after_operations, seed });
    let cut = open(&disk).is_err();
    disk.kill(Kill { in_flight: InFlight::Dropped, seed });
    let mut storage = open(&disk).expect("the disk is healthy again");
    assert_eq!(vote(&mut storage, 1).await, 1);
    let (survive, in_flight) = (Survive::Nothing, InFlight::Dropped);
    disk.power_failure(PowerFailure { survive, in_flight, seed });
    let mut storage = open(&disk).expect("the disk is healthy again");
    let found = storage.log.read_vote().await.expect("the disk is healthy again");
    assert!(found.is_some(), "killed after {after_operations}: the vote is forgotten");
    cut
}

/// The crash benchmark found it: a kill between the rename and the sync of the folder leaves a
/// database whose name only the cache knows. A second life that trusts the name acknowledges a
/// vote in it, and a loss of power takes the name, and the vote with it.
#[test]
fn a_name_that_a_killed_creation_left_behind_is_made_durable_before_it_is_trusted() {
    let cut = |operations| run_isolated(1, move || kill_creation(operations));
    let cuts = (0..OPERATIONS).filter(|at| cut(*at).unwrap_or_else(|panic| panic!("{panic}")));
    assert!((5..OPERATIONS as usize).contains(&cuts.count()), "not every operation was cut");
}

#[test]
fn a_full_disk_ends_the_life_and_a_freed_one_goes_on_where_it_stood() {
    run_isolated(1, || async {
        let disk = SimDisk::new(DiskConfig::default());
        let mut storage = open(&disk).expect("the disk is healthy");
        assert_eq!(vote(&mut storage, 3).await, 3);
        disk.fill(0);
        let failed = fill_log(&mut storage).await;
        let error = failed.expect_err("the log outgrows the disk").to_string();
        assert!(error.contains("no space left"), "{error}");
        assert!(disk.counters().full_hits > 0);
        disk.kill(Kill { in_flight: InFlight::Dropped, seed: 1 });
        disk.set_capacity(None);
        let mut storage = open(&disk).expect("there is space again");
        let found = storage.log.read_vote().await.expect("the disk is healthy again");
        assert_eq!(found.map(|vote| vote.leader_id.term), Some(3));
        fill_log(&mut storage).await.expect("there is space again");
    })
    .expect("no panic");
}

/// Appends two megabytes.
async fn fill_log(storage: &mut Storage<SimRuntime>) -> std::io::Result<()> {
    use aspen_core::LogTime;
    use aspen_core::command::{Command, Proposal};
    use aspen_core::types::{Entry, LogId};
    use openraft::EntryPayload;
    use openraft::storage::IOFlushed;

    let state = storage.log.get_log_state().await?;
    let next = state.last_log_id.map_or(0, |last| last.index + 1);
    for index in next..next + 200 {
        let command = Command::Set { key: "key".into(), value: vec![7; 10_000].into() };
        let proposal = Proposal { time: LogTime::from_ms(index), stamp: None, command };
        let log_id = LogId::new_term_index(1, index);
        let entry = Entry { log_id, payload: EntryPayload::Normal(proposal) };
        let (sender, flushed) = RaftConfig::<SimRuntime>::oneshot();
        storage.log.append([entry], IOFlushed::signal(sender)).await?;
        flushed.await.map_err(std::io::Error::other)??;
    }
    Ok(())
}
