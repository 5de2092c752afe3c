//! openraft's own storage suite over the storage engine, on a real file.

use std::sync::Arc;

use aspen_core::RaftConfig;
use aspen_core::storage::{self, LogStore, StateMachine, StorageConfig};
use aspen_tests::file_volume::FileVolume;
use aspen_transport_sim::{SimRuntime, run_isolated};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

type Config = RaftConfig<SimRuntime>;

/// Opens each store of the suite in a folder of its own, which goes when the store goes.
struct Folders;

impl StoreBuilder<Config, LogStore<SimRuntime>, StateMachine<SimRuntime>, TempDir> for Folders {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore<SimRuntime>, StateMachine<SimRuntime>), StorageError<Config>>
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let volume = Arc::new(FileVolume::new(folder.path()));
        let storage = storage::open::<SimRuntime, _>(volume, &StorageConfig::default())
            .expect("an empty folder");
        Ok((folder, storage.log, storage.machine))
    }
}

#[test]
fn openraft_storage_suite() {
    let run = run_isolated(1, || Suite::test_all(Folders));
    run.expect("no panic").expect("the suite passes");
}
