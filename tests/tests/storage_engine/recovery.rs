//! What is there after a restart, orderly or not.

use aspen_core::command::Command;
use aspen_core::types::Vote;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, RaftLogReader};

use crate::bench::{Bench, blanks, log_id, normal, set, simulate, text};

#[test]
fn an_orderly_restart_finds_everything() {
    simulate(|| async {
        let mut bench = Bench::new();
        assert!(!bench.store.repaired(), "a new database needs no repair");
        let vote = Vote::new(3, 7.into());
        bench.log.save_vote(&vote).await.unwrap();
        let open = normal(2, None, Command::OpenSession { ttl_ms: 1000 });
        let stamped = Command::Set { key: text("k"), value: text("v") };
        let entries = vec![set(1, "a", "1"), open, normal(3, Some((2, 1)), stamped)];
        bench.append(entries.clone()).await.unwrap();
        bench.apply(entries).await.unwrap();
        bench.log.save_committed(Some(log_id(1, 3))).await.unwrap();
        bench.log.purge(log_id(1, 1)).await.unwrap();
        let digests = bench.digests();

        let mut bench = bench.restart().await;
        assert!(!bench.store.repaired(), "it was closed");
        assert_eq!(bench.log.read_vote().await.unwrap(), Some(vote));
        assert_eq!(bench.log.read_committed().await.unwrap(), Some(log_id(1, 3)));
        assert_eq!(bench.read_log().await, [(2, 1), (3, 1)]);
        let state = bench.log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 1)));
        assert_eq!(state.last_log_id, Some(log_id(1, 3)));
        assert_eq!(bench.machine.applied_state().await.unwrap().0, Some(log_id(1, 3)));
        assert_eq!((bench.value("a"), bench.value("k")), (Some("1".into()), Some("v".into())));
        assert_eq!((bench.store.sessions(), bench.store.log_time().ms), (1, 3));
        assert_eq!(bench.digests(), digests);
        bench.store.verify().unwrap();
    });
}

#[test]
fn a_kill_loses_no_durable_operation_and_goes_through_recovery() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.append(vec![set(1, "a", "1"), set(2, "b", "2")]).await.unwrap();
        let mut killed = bench.crash();
        assert!(killed.store.repaired(), "redb notices that nobody closed the file");
        assert_eq!(killed.read_log().await, [(1, 1), (2, 1)]);
        assert_eq!(killed.store.applied(), None);

        bench.apply(vec![set(1, "a", "1")]).await.unwrap();
        let killed = bench.crash();
        assert_eq!(killed.store.applied(), None, "an apply is visible, not durable");

        bench.log.purge(log_id(1, 1)).await.unwrap();
        let mut killed = bench.crash();
        assert_eq!(killed.store.applied(), Some(log_id(1, 1)), "nothing else holds the entry now");
        assert_eq!(killed.read_log().await, [(2, 1)]);
        assert_eq!(killed.value("a"), Some("1".into()));
        killed.store.verify().unwrap();
    });
}

/// A restart re-applies the log up to the committed id, and must find those entries: a committed
/// id that reached the disk before them would keep the node from starting.
#[test]
fn the_committed_id_never_reaches_the_disk_before_the_log_does() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.control.lock().unwrap().allowed = Some(0);
        let mut log = bench.log.clone();
        let vote = async move { log.save_vote(&Vote::new(1, 1.into())).await.unwrap() };
        let script = async {
            bench.idle().await;
            let (sender, flushed) = crate::bench::flushed();
            bench.log.append(blanks(1, 1..4), sender).await.unwrap();
            bench.log.save_committed(Some(log_id(1, 3))).await.unwrap();
            bench.control.lock().unwrap().allowed = Some(1);
            bench.idle().await;
            let mut killed = bench.crash();
            assert!(killed.log.read_vote().await.unwrap().is_some(), "the vote was written");
            assert_eq!(killed.read_log().await, [], "the entries were not");
            assert_eq!(killed.log.read_committed().await.unwrap(), None);

            bench.control.lock().unwrap().allowed = None;
            flushed.await.unwrap().unwrap();
            bench.log.save_vote(&Vote::new(2, 1.into())).await.unwrap();
            let mut killed = bench.crash();
            assert_eq!(killed.log.read_committed().await.unwrap(), Some(log_id(1, 3)));
        };
        futures_util::join!(vote, script);
    });
}

#[test]
fn an_unfinished_creation_is_begun_anew() {
    simulate(|| async {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = folder.path().join(aspen_core::storage::UNFINISHED);
        std::fs::write(&unfinished, b"half a database").unwrap();
        let mut bench = Bench::open(folder);
        assert!(!unfinished.exists());
        bench.append(blanks(1, 0..2)).await.unwrap();
        assert_eq!(bench.read_log().await, [(0, 1), (1, 1)]);
    });
}

/// A file that lost its bytes must not be taken for a new storage: the node would forget its vote.
#[test]
fn an_emptied_file_is_refused() {
    use aspen_core::storage::{self, OpenError};
    simulate(|| async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(storage::DATABASE), b"").unwrap();
        let volume = aspen_tests::file_volume::FileVolume::new(folder.path());
        let opened = storage::open::<aspen_transport_sim::SimRuntime, _>(
            std::sync::Arc::new(volume),
            &storage::StorageConfig::default(),
        );
        assert!(matches!(opened.err(), Some(OpenError::Foreign { .. })));
    });
}

#[test]
fn a_membership_survives_and_is_part_of_the_snapshot() {
    simulate(|| async {
        let mut bench = Bench::new();
        let voters = std::collections::BTreeSet::from([1.into(), 2.into()]);
        let membership = openraft::Membership::new_with_defaults(vec![voters], []);
        let payload = EntryPayload::Membership(membership.clone());
        let entry = aspen_core::types::Entry { log_id: log_id(1, 1), payload };
        bench.append(vec![entry.clone()]).await.unwrap();
        bench.apply(vec![entry]).await.unwrap();
        let mut bench = bench.restart().await;
        let (_, stored) = bench.machine.applied_state().await.unwrap();
        assert_eq!((stored.log_id(), stored.membership()), (&Some(log_id(1, 1)), &membership));
        let snapshot = bench.machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(snapshot.meta.last_membership, stored);
    });
}
