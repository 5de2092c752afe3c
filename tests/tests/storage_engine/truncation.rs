//! A truncation is seen at once, and reaches the disk with the operation that comes next.

use aspen_core::types::Vote;
use aspen_core::volume::Durability::Visible;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;

use crate::bench::{Bench, Config, FLUSH_AFTER, blanks, flushed, log_id, set, simulate};
use crate::snapshot::chunks;

/// A log of five entries of term 1, cut after the second. The disk still has all five.
async fn truncated() -> Bench {
    let mut bench = Bench::new();
    bench.append(blanks(1, 0..5)).await.unwrap();
    bench.log.truncate_after(Some(log_id(1, 1))).await.unwrap();
    bench.idle().await;
    assert_eq!(bench.read_log().await, [(0, 1), (1, 1)]);
    assert_eq!(on_disk(&bench).await.len(), 5);
    bench
}

async fn on_disk(bench: &Bench) -> Vec<(u64, u64)> {
    bench.crash().read_log().await
}

#[test]
fn an_append_takes_it_along() {
    simulate(|| async {
        let mut bench = truncated().await;
        bench.append(blanks(2, 2..4)).await.unwrap();
        assert_eq!(on_disk(&bench).await, [(0, 1), (1, 1), (2, 2), (3, 2)]);
    });
}

#[test]
fn a_vote_takes_it_along() {
    simulate(|| async {
        let mut bench = truncated().await;
        bench.log.save_vote(&Vote::new(2, 2.into())).await.unwrap();
        assert_eq!(on_disk(&bench).await, [(0, 1), (1, 1)]);
    });
}

/// openraft truncates in front of an install, and may cut what others count on.
#[test]
fn what_does_not_touch_the_log_leaves_it_until_the_install() {
    simulate(|| async {
        let mut leader = Bench::new();
        leader.apply((0..4).map(|index| set(index, "key", "value")).collect()).await.unwrap();
        let (meta, chunks) = chunks(&mut leader).await;

        let mut bench = truncated().await;
        let mut receiver = bench.store.receive_snapshot();
        for chunk in chunks {
            receiver.write(chunk).await.unwrap();
        }
        // Taking a snapshot flushes the state machine.
        bench.apply(blanks(1, 0..2)).await.unwrap();
        drop(bench.machine.get_current_snapshot().await.unwrap());
        assert_eq!(bench.ran().last(), Some(&Visible));
        assert_eq!(on_disk(&bench).await.len(), 5, "neither took it along");

        bench.machine.install_snapshot(&meta, receiver.finish().unwrap()).await.unwrap();
        let mut killed = bench.crash();
        assert_eq!(killed.read_log().await, [(0, 1), (1, 1)]);
        assert_eq!(killed.store.applied(), Some(log_id(1, 3)));
    });
}

#[test]
fn a_restart_finds_what_was_to_go() {
    simulate(|| async {
        let mut bench = truncated().await.restart().await;
        assert_eq!(bench.read_log().await.len(), 5);
    });
}

/// The disk's log is the longer one while the truncation waits, and holds other entries.
#[test]
fn what_is_applied_meanwhile_is_not_taken_for_what_the_disk_holds() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(blanks(1, 0..4 * FLUSH_AFTER)).await.unwrap();
        bench.control.lock().unwrap().allowed = Some(0);
        let mut log = bench.log.clone();
        let vote = Config::spawn(async move { log.save_vote(&Vote::new(2, 2.into())).await });
        // The writer holds the vote now; what follows waits in the queue.
        bench.idle().await;
        bench.log.truncate_after(Some(log_id(1, 0))).await.unwrap();
        let (callback, appended) = flushed();
        let entries = blanks(2, 1..2 * FLUSH_AFTER);
        bench.log.append(entries.clone(), callback).await.unwrap();
        bench.apply(blanks(1, 0..1)).await.unwrap();
        bench.apply(entries).await.unwrap();
        bench.log.save_committed(Some(log_id(2, 2 * FLUSH_AFTER - 1))).await.unwrap();
        bench.control.lock().unwrap().allowed = Some(1);
        vote.await.unwrap().unwrap();
        let mut killed = bench.crash();
        assert_eq!(killed.store.applied(), None);
        assert_eq!(killed.log.read_committed().await.unwrap(), None);

        bench.control.lock().unwrap().allowed = None;
        appended.await.unwrap().unwrap();
        let mut killed = bench.crash();
        assert_eq!(killed.store.applied(), Some(log_id(2, 2 * FLUSH_AFTER - 1)));
        assert_eq!(killed.log.read_committed().await.unwrap(), killed.store.applied());
    });
}
