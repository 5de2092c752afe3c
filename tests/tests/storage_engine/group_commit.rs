//! How many transactions the writer makes of what it is asked.

use aspen_core::volume::Durability::{Synced, Visible};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use crate::bench::{Bench, blank, blanks, flushed, log_id, set, simulate};

#[test]
fn appends_that_wait_together_share_one_sync() {
    simulate(|| async {
        let mut bench = Bench::new();
        let mut waiting = Vec::new();
        for index in 0..100 {
            let (callback, receiver) = flushed();
            bench.log.append([blank(1, index)], callback).await.unwrap();
            waiting.push(receiver);
        }
        for receiver in waiting {
            receiver.await.unwrap().unwrap();
        }
        let ran = bench.ran();
        assert!(ran.len() <= 2, "100 appends took {} transactions", ran.len());
        assert!(ran.iter().all(|durability| *durability == Synced));
    });
}

#[test]
fn entries_are_readable_before_they_are_durable() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().allowed = Some(0);
        let (callback, receiver) = flushed();
        bench.log.append(blanks(1, 5..8), callback).await.unwrap();
        assert_eq!(bench.read_log().await, [(5, 1), (6, 1), (7, 1)]);
        assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 7)));
        assert_eq!(bench.crash().read_log().await, []);
        bench.control.lock().unwrap().allowed = None;
        receiver.await.unwrap().unwrap();
        assert_eq!(bench.crash().read_log().await, [(5, 1), (6, 1), (7, 1)]);
    });
}

#[test]
fn an_apply_costs_no_sync() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.apply(vec![set(1, "a", "1"), set(2, "a", "2")]).await.unwrap();
        assert_eq!(bench.ran(), [Visible]);
        assert_eq!(bench.value("a"), Some("2".into()));
    });
}

#[test]
fn an_apply_behind_a_sync_rides_along() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().allowed = Some(0);
        let (first, first_flushed) = flushed();
        bench.log.append([blank(1, 1)], first).await.unwrap();
        // The writer holds the first append now; what follows waits in the queue.
        bench.idle().await;
        let (second, second_flushed) = flushed();
        bench.log.append([set(2, "a", "1")], second).await.unwrap();
        let mut applier = Bench { ..bench };
        applier.control.lock().unwrap().allowed = None;
        applier.apply(vec![blank(1, 1)]).await.unwrap();
        first_flushed.await.unwrap().unwrap();
        second_flushed.await.unwrap().unwrap();
        assert_eq!(applier.ran(), [Synced, Synced]);
    });
}

/// Reads of a length that no cache holds: older entries come from the database, newer ones from
/// memory, and the seam does not show.
#[test]
fn a_log_longer_than_the_cache_reads_without_a_seam() {
    simulate(|| async {
        let count = aspen_core::limits::LOG_CACHE_ENTRIES_MAX as u64 + 1500;
        let mut bench = Bench::new();
        for start in (0..count).step_by(500) {
            bench.append(blanks(1, start..(start + 500).min(count))).await.unwrap();
        }
        let read: Vec<u64> = bench.read_log().await.into_iter().map(|(index, _)| index).collect();
        assert!(read.into_iter().eq(0..count));
        let page = bench.log.limited_get_log_entries(1000, count).await.unwrap();
        assert_eq!(page.len(), aspen_core::limits::APPEND_ENTRIES_MAX);
        assert_eq!(page[0].log_id, log_id(1, 1000));
        use futures_util::TryStreamExt;
        let stream = bench.log.entries_stream(10..count - 1).await;
        let indexes: Vec<u64> =
            stream.map_ok(|entry| entry.log_id.index).try_collect().await.unwrap();
        assert!(indexes.into_iter().eq(10..count - 1));
    });
}

#[test]
fn a_replication_message_is_bounded_in_bytes_too() {
    simulate(|| async {
        let mut bench = Bench::new();
        let value = "v".repeat(aspen_core::limits::VALUE_BYTES_MAX);
        bench.append((0..10).map(|index| set(index, "k", &value)).collect()).await.unwrap();
        // Once from memory, once from the database.
        for mut bench in [bench.crash(), bench] {
            let page = bench.log.limited_get_log_entries(0, 10).await.unwrap();
            assert_eq!(page.len(), 3, "the fourth would pass 4 MiB");
        }
    });
}
