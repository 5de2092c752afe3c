//! The first error is the answer to everything that follows.

use aspen_core::storage::StorageError;
use aspen_core::types::Vote;
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftStateMachine};

use crate::bench::{Bench, blanks, log_id, set, simulate, storage_error};

/// Asks for everything that there is to ask, and expects the same error each time.
async fn everything_fails(bench: &mut Bench, expected: fn(&StorageError) -> bool) {
    let check = |error: std::io::Error| {
        let error = storage_error(&error);
        assert!(expected(error), "{error}");
    };
    check(bench.log.save_vote(&Vote::new(9, 9.into())).await.unwrap_err());
    check(bench.append(blanks(9, 100..101)).await.unwrap_err());
    check(bench.log.truncate_after(None).await.unwrap_err());
    check(bench.log.read_vote().await.unwrap_err());
    check(bench.log.get_log_state().await.unwrap_err());
    check(bench.log.try_get_log_entries(0..9).await.unwrap_err());
    check(bench.apply(vec![set(100, "k", "v")]).await.unwrap_err());
    check(bench.machine.applied_state().await.unwrap_err());
    check(bench.machine.get_current_snapshot().await.err().expect("a failure"));
    assert!(expected(&bench.store.get(b"k").unwrap_err()));
    assert!(expected(&bench.store.scan(b"", None, 1).unwrap_err()));
    assert!(bench.store.failure().is_some_and(|failure| expected(&failure)));
}

#[test]
fn a_purge_past_the_applied_index_is_refused() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..10)).await.unwrap();
        bench.apply(blanks(1, 1..4)).await.unwrap();
        bench.log.purge(log_id(1, 3)).await.unwrap();
        let refused = bench.log.purge(log_id(1, 4)).await.unwrap_err();
        let refused = storage_error(&refused);
        assert!(matches!(refused, StorageError::PurgePastApplied { upto: 4, applied: 3 }));
        everything_fails(&mut bench, |error| {
            matches!(error, StorageError::PurgePastApplied { upto: 4, applied: 3 })
        })
        .await;
        assert_eq!(bench.crash().read_log().await.first(), Some(&(4, 1)), "nothing was purged");
    });
}

#[test]
fn a_transaction_that_the_volume_dropped_is_an_error() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().refuse = true;
        let refused = bench.append(blanks(1, 1..2)).await.unwrap_err();
        assert!(matches!(storage_error(&refused), StorageError::NotRun));
        bench.control.lock().unwrap().refuse = false;
        everything_fails(&mut bench, |error| matches!(error, StorageError::NotRun)).await;
        assert_eq!(bench.ran(), [], "nothing runs after the first error");
    });
}

#[test]
fn a_gap_in_the_log_is_refused() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 1..4)).await.unwrap();
        let refused = bench.append(blanks(1, 5..6)).await.unwrap_err();
        assert!(matches!(storage_error(&refused), StorageError::Gap { index: 5, last: 3 }));
        everything_fails(&mut bench, |error| matches!(error, StorageError::Gap { .. })).await;
    });
}

#[test]
fn a_closed_storage_answers_that_it_is_closed() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.apply(vec![set(1, "k", "v")]).await.unwrap();
        bench.store.close().await.unwrap();
        everything_fails(&mut bench, |error| matches!(error, StorageError::Closed)).await;
        assert_eq!(bench.crash().value("k"), Some("v".into()), "closing made it durable");
    });
}

/// redb reads a rotten page without a word; the row's own checksum speaks.
#[test]
fn a_rotten_row_is_an_error_that_names_it() {
    simulate(|| async {
        let mut bench = Bench::new();
        let value = "a value that is easy to find in the file";
        bench.apply(vec![set(1, "rotten", value), set(2, "sound", "v")]).await.unwrap();
        bench.store.close().await.unwrap();
        let path = bench.folder.path().join(aspen_core::storage::DATABASE);
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<usize> = bytes
            .windows(value.len())
            .enumerate()
            .filter(|(_, window)| *window == value.as_bytes())
            .map(|(place, _)| place)
            .collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|place| bytes[place] ^= 1);
        std::fs::write(&path, bytes).unwrap();

        let mut bench = Bench::open(bench.folder);
        assert_eq!(bench.value("sound"), Some("v".into()));
        let error = bench.store.get(b"rotten").unwrap_err();
        assert!(error.to_string().contains("`rotten`"), "{error}");
        everything_fails(&mut bench, |error| matches!(error, StorageError::Damaged { .. })).await;
    });
}
