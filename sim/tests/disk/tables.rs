//! redb on the simulated disk: a small table, and what a crash leaves of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aspen_core::Volume;
use aspen_sim::disk::{
    Death, DeathFrom, DiskConfig, InFlight, IoFault, IoOperation, Lie, PowerFailure, SimDisk,
    SimFile, Survive,
};
use redb::{Database, DatabaseError, Durability, ReadableDatabase, TableDefinition};

use super::{kill, lose_power};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");
const CACHE_BYTES: usize = 1 << 20;

/// Opens the database on a file; the flag says whether redb had to repair it.
pub(super) fn open(file: SimFile) -> (Result<Database, DatabaseError>, bool) {
    let repaired = Arc::new(AtomicBool::new(false));
    let seen = repaired.clone();
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed))
        .create_with_backend(file);
    (database, repaired.load(Ordering::Relaxed))
}

/// A disk with an empty database under the durable name `db`.
fn disk_with_database() -> SimDisk {
    let disk = SimDisk::new(DiskConfig::default());
    let volume = disk.mount();
    drop(open(volume.create("db").unwrap()).0.unwrap());
    volume.sync_folder().unwrap();
    disk
}

fn mount(disk: &SimDisk) -> (Database, bool) {
    let (database, repaired) = open(disk.mount().open("db").unwrap().unwrap());
    (database.unwrap(), repaired)
}

/// Writes the row `at`, 600 bytes of it.
fn put(database: &Database, at: u64, durability: Durability) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    transaction.open_table(TABLE)?.insert(at, [at as u8; 600].as_slice())?;
    transaction.commit()?;
    Ok(())
}

/// How many rows there are, after a look at each.
fn rows(database: &Database) -> u64 {
    let table = match database.begin_read().unwrap().open_table(TABLE) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return 0,
        Err(error) => panic!("{error}"),
    };
    let mut count = 0;
    for row in table.range::<u64>(..).unwrap() {
        let (at, value) = row.unwrap();
        assert_eq!((at.value(), value.value()), (count, [count as u8; 600].as_slice()));
        count += 1;
    }
    count
}

fn fill(database: &Database, rows: std::ops::Range<u64>) {
    for at in rows {
        put(database, at, Durability::Immediate).unwrap();
    }
}

#[test]
fn a_graceful_stop_needs_no_repair() {
    let disk = disk_with_database();
    let (database, _) = mount(&disk);
    fill(&database, 0..10);
    drop(database);
    let (database, repaired) = mount(&disk);
    assert_eq!((rows(&database), repaired), (10, false));
}

#[test]
fn a_restart_after_a_kill_goes_through_recovery_though_the_old_handle_is_dropped_late() {
    let disk = disk_with_database();
    let (database, _) = mount(&disk);
    fill(&database, 0..10);
    put(&database, 10, Durability::None).unwrap();
    kill(&disk);
    // redb commits and writes a clean header here; the fence stops both.
    drop(database);
    let (database, repaired) = mount(&disk);
    assert!(repaired, "a kill must not look like a graceful stop");
    assert_eq!(rows(&database), 10, "what was only in redb's memory dies with the process");
}

#[test]
fn acknowledged_rows_survive_every_power_failure() {
    let sectors = |sector_bytes| Survive::Sectors { sector_bytes, keep_percent: 50 };
    let writes = Survive::Writes { keep_percent: 50 };
    for survive in [
        Survive::Nothing,
        Survive::Everything,
        Survive::Prefix,
        writes,
        sectors(512),
        sectors(4096),
    ] {
        for after_operations in 0..24 {
            let disk = disk_with_database();
            let (database, _) = mount(&disk);
            fill(&database, 0..5);
            disk.die_at(Death { from: DeathFrom::Now, after_operations, seed: after_operations });
            let mut acknowledged = 5;
            while put(&database, acknowledged, Durability::Immediate).is_ok() {
                acknowledged += 1;
            }
            let in_flight = InFlight::Dropped;
            disk.power_failure(PowerFailure { survive, in_flight, seed: after_operations });
            drop(database);
            let (database, repaired) = mount(&disk);
            let found = rows(&database);
            assert!(repaired, "{survive:?} {after_operations}");
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "{survive:?} after {after_operations}: {acknowledged} acknowledged, {found} found"
            );
        }
    }
}

#[test]
fn a_power_failure_inside_recovery_loses_nothing_either() {
    let mut deaths = 0;
    for after_operations in 0..8 {
        let disk = disk_with_database();
        let (database, _) = mount(&disk);
        fill(&database, 0..10);
        disk.die_at(Death { from: DeathFrom::NextMount, after_operations, seed: 1 });
        lose_power(&disk, Survive::Nothing);
        drop(database);
        let recovery = open(disk.mount().open("db").unwrap().unwrap());
        deaths += u64::from(recovery.0.is_err());
        let survive = Survive::Sectors { sector_bytes: 512, keep_percent: 50 };
        let in_flight = InFlight::Dropped;
        disk.power_failure(PowerFailure { survive, in_flight, seed: after_operations });
        assert_eq!(rows(&mount(&disk).0), 10, "death after {after_operations} operations");
    }
    assert!(deaths >= 4, "only {deaths} of 8 deaths were inside the recovery");
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let mut noticed = 0;
    for seed in 0..20 {
        let disk = disk_with_database();
        disk.lie(Some(Lie { one_in: 1, seed }));
        let (database, _) = mount(&disk);
        fill(&database, 0..20);
        lose_power(&disk, Survive::Nothing);
        drop(database);
        let intact = std::panic::catch_unwind(|| {
            let file = disk.mount().open("db").unwrap().unwrap();
            open(file).0.is_ok_and(|database| rows(&database) == 20)
        });
        noticed += u64::from(!intact.unwrap_or(false));
    }
    assert!(noticed >= 15, "only {noticed} of 20 lying disks were noticed");
}

#[test]
fn a_full_disk_fails_the_transaction_and_keeps_what_was_acknowledged() {
    let disk = disk_with_database();
    let (database, _) = mount(&disk);
    fill(&database, 0..5);
    disk.fill(64 * 1024);
    let mut acknowledged = 5;
    let error = loop {
        match put(&database, acknowledged, Durability::Immediate) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk never gets full");
    };
    let redb::Error::Io(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    kill(&disk);
    drop(database);
    disk.set_capacity(None);
    let found = rows(&mount(&disk).0);
    assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} of {acknowledged}");
}

#[test]
fn an_io_error_poisons_the_handle_and_a_restart_finds_every_acknowledged_row() {
    for operation in [IoOperation::Write, IoOperation::Sync] {
        let disk = disk_with_database();
        let (database, _) = mount(&disk);
        fill(&database, 0..5);
        disk.fail_next(IoFault { operation, skip: 0, seed: 1 });
        put(&database, 5, Durability::Immediate).unwrap_err();
        put(&database, 5, Durability::Immediate).expect_err("redb stays poisoned");
        // A node whose disk failed must not reopen over its cache: the machine is power-cycled.
        lose_power(&disk, Survive::Nothing);
        drop(database);
        let found = rows(&mount(&disk).0);
        assert!((5..=6).contains(&found), "{operation}: {found}");
    }
}

#[test]
fn the_same_seeds_leave_the_same_bytes() {
    let image = |seed| {
        let disk = disk_with_database();
        let (database, _) = mount(&disk);
        disk.die_at(Death { from: DeathFrom::Now, after_operations: 40, seed });
        let mut at = 0;
        while put(&database, at, Durability::Immediate).is_ok() {
            at += 1;
        }
        let survive = Survive::Sectors { sector_bytes: 512, keep_percent: 50 };
        disk.power_failure(PowerFailure { survive, in_flight: InFlight::Dropped, seed });
        (disk.files(), disk.counters())
    };
    assert_eq!(image(3), image(3));
    assert_ne!(image(3), image(4));
}
