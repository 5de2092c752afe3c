//! Where an append goes, and what a kill finds of it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use aspen_core::storage::{self, OpenError};
use aspen_tests::file_volume::FileVolume;
use aspen_transport_sim::SimRuntime;
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::bench::{Bench, CONFIG, blank, blanks, log_id, set, simulate};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The indexes that the database itself holds, as a kill at this moment leaves it.
fn in_database(bench: &Bench) -> BTreeSet<u64> {
    let (_copy, database) = bench.copied_database();
    let log = database.begin_read().unwrap().open_table(LOG).unwrap();
    log.range::<u64>(..).unwrap().map(|row| row.unwrap().0.value()).collect()
}

/// Why its folder cannot be opened.
fn refused(bench: &Bench) -> OpenError {
    let volume = Arc::new(FileVolume::new(bench.folder.path()));
    storage::open::<SimRuntime, _>(volume, &CONFIG).err().expect("it is refused")
}

#[test]
fn a_small_append_goes_to_the_journal_and_the_database_takes_it_along() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..3)).await.unwrap();
        bench.append(blanks(1, 3..4)).await.unwrap();
        assert_eq!(in_database(&bench), BTreeSet::new());
        assert_eq!(bench.crash().read_log().await, [(1, 1), (2, 1), (3, 1)]);
        bench.sync_database().await;
        assert_eq!(in_database(&bench), BTreeSet::from([1, 2, 3]));
        bench.append(blanks(1, 4..5)).await.unwrap();
        assert_eq!(in_database(&bench), BTreeSet::from([1, 2, 3]), "the next epoch has begun");
        assert_eq!(bench.crash().read_log().await, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    });
}

#[test]
fn a_large_append_goes_to_the_database_at_once() {
    simulate(|| async {
        let mut bench = Bench::new();
        let value = "v".repeat(aspen_core::limits::JOURNAL_GROUP_BYTES_MAX);
        bench.append(vec![blank(1, 1)]).await.unwrap();
        bench.append(vec![set(2, "k", &value)]).await.unwrap();
        assert_eq!(in_database(&bench), BTreeSet::from([1, 2]), "and the one before it, too");
    });
}

/// The journal is full again and again; a kill at any time finds every entry once.
#[test]
fn a_kill_in_any_epoch_finds_every_entry() {
    simulate(|| async {
        let mut bench = Bench::new();
        let mut expected = Vec::new();
        for index in 1..60 {
            bench.append(vec![blank(1, index)]).await.unwrap();
            expected.push((index, 1));
            if index % 3 == 0 {
                let mut killed = bench.crash();
                assert_eq!(killed.read_log().await, expected);
                killed.append(vec![blank(2, index + 1)]).await.unwrap();
                let again = killed.crash().read_log().await;
                assert_eq!(
                    (again.len(), again.last()),
                    (expected.len() + 1, Some(&(index + 1, 2)))
                );
            }
        }
        assert!(in_database(&bench).len() > 40, "the journal holds a few entries alone");
    });
}

#[test]
fn what_was_truncated_does_not_come_back_from_the_journal() {
    use openraft::storage::RaftLogStorage;
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..6)).await.unwrap();
        bench.log.truncate_after(Some(log_id(1, 2))).await.unwrap();
        bench.append(blanks(2, 3..4)).await.unwrap();
        bench.append(blanks(2, 4..5)).await.unwrap();
        let expected = [(1, 1), (2, 1), (3, 2), (4, 2)];
        assert_eq!(bench.read_log().await, expected);
        assert_eq!(bench.crash().read_log().await, expected);
    });
}

/// Without it entries that were acknowledged would be missing, and nobody would know.
#[test]
fn a_journal_that_is_gone_is_refused() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..6)).await.unwrap();
        bench.store.close().await.unwrap();
        fs::remove_file(bench.folder.path().join(storage::JOURNAL)).unwrap();
        assert!(matches!(refused(&bench), OpenError::JournalLost { .. }));
        assert!(!bench.folder.path().join(storage::JOURNAL).exists(), "nothing was written");

        fs::write(bench.folder.path().join(storage::JOURNAL), b"").unwrap();
        let error = refused(&bench).to_string();
        assert!(error.contains("aspen.journal is 0 bytes long, expected the one of 4096 bytes"));
    });
}

#[test]
fn a_journal_without_its_database_is_kept() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..6)).await.unwrap();
        bench.store.close().await.unwrap();
        fs::remove_file(bench.folder.path().join(storage::DATABASE)).unwrap();
        assert!(matches!(refused(&bench), OpenError::DatabaseLost));
        assert!(!bench.folder.path().join(storage::DATABASE).exists(), "nothing was written");
    });
}

#[test]
fn a_database_of_a_build_without_a_journal_gets_one() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..6)).await.unwrap();
        bench.store.close().await.unwrap();
        let folder = bench.folder;
        fs::remove_file(folder.path().join(storage::JOURNAL)).unwrap();
        let database = Database::open(folder.path().join(storage::DATABASE)).unwrap();
        let txn = database.begin_write().unwrap();
        assert!(txn.open_table(META).unwrap().remove("journal").unwrap().is_some());
        txn.commit().unwrap();
        drop(database);

        let mut bench = Bench::open(folder);
        bench.append(blanks(1, 6..7)).await.unwrap();
        let expected = [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)];
        assert_eq!(bench.crash().read_log().await, expected);
    });
}
