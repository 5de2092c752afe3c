//! How many transactions the writer makes of what it is asked.

use aspen_core::command::Command;
use aspen_core::volume::Durability::{Synced, Visible};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use crate::bench::{
    Bench, FLUSH_AFTER, blank, blanks, flushed, log_id, normal, set, simulate, text,
};

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
fn an_apply_costs_no_transaction() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.apply(vec![set(1, "a", "1"), set(2, "a", "2")]).await.unwrap();
        assert_eq!(bench.ran(), []);
        assert_eq!(bench.value("a"), Some("2".into()));
    });
}

#[test]
fn an_apply_does_not_wait_for_a_sync() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().allowed = Some(0);
        let (callback, flushed) = flushed();
        bench.log.append([set(1, "a", "1")], callback).await.unwrap();
        bench.apply(vec![set(1, "a", "1")]).await.unwrap();
        assert_eq!(bench.value("a"), Some("1".into()));
        bench.control.lock().unwrap().allowed = None;
        flushed.await.unwrap().unwrap();
        assert_eq!(bench.ran(), [Synced]);
    });
}

#[test]
fn an_append_takes_along_what_was_applied_when_enough_has_gathered() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 0..FLUSH_AFTER + 5)).await.unwrap();
        bench.apply(blanks(1, 0..FLUSH_AFTER - 1)).await.unwrap();
        bench.append(blanks(1, FLUSH_AFTER + 5..FLUSH_AFTER + 6)).await.unwrap();
        assert_eq!(bench.crash().store.applied(), None);
        bench.apply(blanks(1, FLUSH_AFTER - 1..FLUSH_AFTER + 2)).await.unwrap();
        assert_eq!(bench.crash().store.applied(), None);
        bench.append(blanks(1, FLUSH_AFTER + 6..FLUSH_AFTER + 7)).await.unwrap();
        assert_eq!(bench.crash().store.applied(), Some(log_id(1, FLUSH_AFTER + 1)));
        assert_eq!(bench.ran(), [Synced; 3]);
    });
}

/// A quorum may have an entry before this disk has it, and then it is applied here, too.
#[test]
fn what_is_applied_never_passes_the_log_on_the_disk() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().allowed = Some(0);
        let (first, first_flushed) = flushed();
        bench.log.append([blank(1, 0)], first).await.unwrap();
        // The writer holds the first append now; what follows waits in the queue.
        bench.idle().await;
        let (second, second_flushed) = flushed();
        bench.log.append(blanks(1, 1..2 * FLUSH_AFTER), second).await.unwrap();
        bench.apply(blanks(1, 0..2 * FLUSH_AFTER)).await.unwrap();
        bench.control.lock().unwrap().allowed = Some(1);
        first_flushed.await.unwrap().unwrap();
        let mut killed = bench.crash();
        assert_eq!((killed.read_log().await, killed.store.applied()), (vec![(0, 1)], None));

        bench.control.lock().unwrap().allowed = None;
        second_flushed.await.unwrap().unwrap();
        assert_eq!(bench.crash().store.applied(), Some(log_id(1, 2 * FLUSH_AFTER - 1)));
    });
}

#[test]
fn large_rows_are_taken_along_sooner() {
    simulate(|| async {
        let mut bench = Bench::new();
        let value = "v".repeat(aspen_core::limits::VALUE_BYTES_MAX);
        for index in 0..5 {
            let entry = set(index, &format!("key {index}"), &value);
            bench.append(vec![entry.clone()]).await.unwrap();
            bench.apply(vec![entry]).await.unwrap();
        }
        assert_eq!(bench.crash().store.applied(), Some(log_id(1, 3)), "four of a MiB are enough");
    });
}

/// A session keeps its last reply, which may be as large as a value.
#[test]
fn large_replies_are_taken_along_sooner() {
    simulate(|| async {
        let mut bench = Bench::new();
        let value = "v".repeat(aspen_core::limits::VALUE_BYTES_MAX);
        let entries = vec![
            normal(1, None, Command::OpenSession { ttl_ms: 1000 }),
            normal(2, None, Command::OpenSession { ttl_ms: 1000 }),
            set(3, "a", &value),
            set(4, "b", &value),
            normal(5, Some((1, 1)), Command::Delete { key: text("a") }),
            normal(6, Some((2, 1)), Command::Delete { key: text("b") }),
            set(7, "c", &value),
            set(8, "d", &value),
        ];
        bench.append(entries.clone()).await.unwrap();
        let (most, last) = entries.split_at(7);
        bench.apply(most.to_vec()).await.unwrap();
        bench.append(blanks(1, 9..10)).await.unwrap();
        assert_eq!(bench.crash().store.applied(), None, "two replies and a row are not enough");
        bench.apply(last.to_vec()).await.unwrap();
        bench.append(blanks(1, 10..11)).await.unwrap();
        assert_eq!(bench.crash().store.applied(), Some(log_id(1, 8)));
    });
}

/// A node that catches up appends everything first and applies it afterwards.
#[test]
fn an_apply_flushes_by_itself_when_nothing_is_appended_for_long() {
    simulate(|| async {
        let mut bench = Bench::new();
        let entries: Vec<_> =
            (0..10 * FLUSH_AFTER).map(|index| set(index, "a", &index.to_string())).collect();
        bench.append(entries.clone()).await.unwrap();
        for entry in entries {
            bench.apply(vec![entry]).await.unwrap();
        }
        assert_eq!(bench.ran(), [Synced, Visible, Visible]);
        bench.append(blanks(1, 10 * FLUSH_AFTER..10 * FLUSH_AFTER + 1)).await.unwrap();
        let killed = bench.crash();
        assert_eq!(killed.store.applied(), Some(log_id(1, 10 * FLUSH_AFTER - 1)));
        assert_eq!(killed.value("a"), bench.value("a"));
        killed.store.verify().unwrap();
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
