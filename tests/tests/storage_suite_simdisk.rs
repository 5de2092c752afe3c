//! openraft's own storage suite over the storage engine, on the simulated disk.

use std::sync::Arc;

use aspen_core::RaftConfig;
use aspen_core::storage::{self, LogStore, StateMachine, StorageConfig};
use aspen_sim::disk::{DiskConfig, InFlight, PowerFailure, SimDisk, Survive};
use aspen_transport_sim::{SimRuntime, run_isolated};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

type Config = RaftConfig<SimRuntime>;
type Store = (SimDisk, LogStore<SimRuntime>, StateMachine<SimRuntime>);

fn open(disk: SimDisk) -> Store {
    let volume = Arc::new(disk.mount());
    let storage = storage::open::<SimRuntime, _>(volume, &StorageConfig::default())
        .expect("the disk is healthy");
    (disk, storage.log, storage.machine)
}

/// Opens each store of the suite on a disk of its own.
struct FreshDisks;

impl StoreBuilder<Config, LogStore<SimRuntime>, StateMachine<SimRuntime>, SimDisk> for FreshDisks {
    async fn build(&self) -> Result<Store, StorageError<Config>> {
        Ok(open(SimDisk::new(DiskConfig::default())))
    }
}

/// The same, with a loss of power between the creation of each store and its use.
struct DisksThatLostPower;

impl StoreBuilder<Config, LogStore<SimRuntime>, StateMachine<SimRuntime>, SimDisk>
    for DisksThatLostPower
{
    async fn build(&self) -> Result<Store, StorageError<Config>> {
        let (disk, _, _) = open(SimDisk::new(DiskConfig::default()));
        let (survive, in_flight) = (Survive::Nothing, InFlight::Dropped);
        disk.power_failure(PowerFailure { survive, in_flight, seed: 1 });
        Ok(open(disk))
    }
}

#[test]
fn openraft_storage_suite() {
    let run = run_isolated(1, || Suite::test_all(FreshDisks));
    run.expect("no panic").expect("the suite passes");
}

#[test]
fn openraft_storage_suite_after_a_loss_of_power() {
    let run = run_isolated(1, || Suite::test_all(DisksThatLostPower));
    run.expect("no panic").expect("the suite passes");
}
