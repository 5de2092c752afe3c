//! A cluster of one, made of what a storage holds.

use std::collections::BTreeSet;

use aspen_core::NodeId;
use aspen_core::storage::{Holdings, SnapshotCheck, SnapshotError, Storage};
use aspen_core::types::{Entry, Vote};
use aspen_transport_sim::SimRuntime;
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, EntryPayload, Membership, RaftLogReader};

use crate::bench::{Bench, blank, log_id, set, simulate};
use crate::snapshot::chunks;

const NODE: NodeId = NodeId(7);

fn membership(term: u64, index: u64, voters: &[u64]) -> Entry {
    let voters: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
    let nodes = voters.iter().map(|id| (*id, BasicNode::new(format!("at {id}"))));
    let membership =
        Membership::new(vec![voters.clone()], nodes.collect::<std::collections::BTreeMap<_, _>>());
    Entry { log_id: log_id(term, index), payload: EntryPayload::Membership(membership.unwrap()) }
}

/// Hands the storage of a bench over, and gives the bench back with what came of it.
async fn with_storage<V>(
    bench: Bench,
    work: impl AsyncFnOnce(&mut Storage<SimRuntime>) -> V,
) -> (Bench, V) {
    let Bench { log, machine, store, control, folder } = bench;
    let mut storage = Storage { log, machine, store };
    let value = work(&mut storage).await;
    let Storage { log, machine, store } = storage;
    (Bench { log, machine, store, control, folder }, value)
}

fn voters(holdings: &Holdings) -> Vec<BTreeSet<NodeId>> {
    holdings.membership.membership().get_joint_config().clone()
}

#[test]
fn the_log_is_kept_and_the_membership_is_its_last_entry() {
    simulate(|| async {
        let mut bench = Bench::new();
        let entries = vec![membership(1, 0, &[1, 7]), set(1, "a", "1"), set(2, "b", "2")];
        bench.append(entries.clone()).await.unwrap();
        bench.apply(entries[..2].to_vec()).await.unwrap();
        // Neither entry 2 nor the membership after it is known to be committed.
        bench.append(vec![membership(3, 3, &[1, 2, 7])]).await.unwrap();
        bench.log.save_vote(&Vote::new(5, 1.into())).await.unwrap();

        let (bench, holdings) =
            with_storage(bench, async |storage| storage.holdings().await.unwrap()).await;
        assert_eq!((holdings.term, holdings.last), (5, Some(log_id(3, 3))));
        assert_eq!((holdings.committed, holdings.undecided()), (Some(log_id(1, 1)), 2));
        assert_eq!(voters(&holdings), [[1, 2, 7].map(NodeId).into()]);

        let (bench, entry) = with_storage(bench, async |storage| {
            storage.make_sole_voter(NODE, "here").await.unwrap()
        })
        .await;
        assert_eq!(entry, log_id(6, 4), "later than the log's last term and the last vote");
        let mut killed = bench.crash();
        assert_eq!(killed.read_log().await, [(0, 1), (1, 1), (2, 1), (3, 3), (4, 6)]);
        assert_eq!(killed.log.read_vote().await.unwrap(), Some(Vote::new_committed(6, NODE)));
        let (killed, holdings) =
            with_storage(killed, async |storage| storage.holdings().await.unwrap()).await;
        assert_eq!(voters(&holdings), [[NODE].into()]);
        let members: Vec<_> = holdings.membership.membership().nodes().collect();
        assert_eq!(members, [(&NODE, &BasicNode::new("here"))]);
        assert_eq!(killed.value("a"), None, "what was applied in memory is applied again");
    });
}

#[test]
fn a_new_storage_is_filled_from_a_snapshot_and_its_log_begins_after_it() {
    simulate(|| async {
        let mut old = Bench::new();
        let mut entries = vec![membership(1, 0, &[1, 2, 3])];
        entries.extend((1..=40).map(|index| set(index, &format!("key {index}"), "value")));
        old.apply(entries).await.unwrap();
        let (meta, chunks) = chunks(&mut old).await;

        let mut left = chunks.clone().into_iter();
        let (new, entry) = with_storage(Bench::new(), async |storage| {
            storage.restore(&meta, || Ok(left.next())).await.unwrap();
            storage.make_sole_voter(NODE, "here").await.unwrap()
        })
        .await;
        assert_eq!(entry, log_id(2, 41));
        let mut killed = new.crash();
        assert_eq!(killed.read_log().await, [(41, 2)]);
        let state = killed.log.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(log_id(1, 40)));
        assert_eq!(killed.digests(), old.digests());
        killed.store.verify().unwrap();
        let (_, holdings) =
            with_storage(killed, async |storage| storage.holdings().await.unwrap()).await;
        assert_eq!(voters(&holdings), [[NODE].into()]);

        // A snapshot that is not whole is not installed.
        let mut left = chunks[..chunks.len() - 1].iter().cloned();
        let (new, _) = with_storage(Bench::new(), async |storage| {
            storage.restore(&meta, || Ok(left.next())).await.unwrap_err()
        })
        .await;
        assert_eq!((new.store.applied(), new.value("key 1")), (None, None));
    });
}

/// A node that stopped right after an install has the state machine in front of its log.
#[test]
fn a_log_behind_the_state_machine_is_left_behind() {
    simulate(|| async {
        let mut leader = Bench::new();
        leader
            .apply(vec![membership(1, 0, &[1, 7]), set(1, "a", "1"), set(2, "b", "2")])
            .await
            .unwrap();
        let (meta, chunks) = chunks(&mut leader).await;
        let mut bench = Bench::new();
        bench.append(vec![blank(1, 0)]).await.unwrap();
        let mut receiver = bench.store.receive_snapshot();
        for chunk in chunks {
            receiver.write(chunk).await.unwrap();
        }
        let data = receiver.finish().unwrap();
        openraft::storage::RaftStateMachine::install_snapshot(&mut bench.machine, &meta, data)
            .await
            .unwrap();
        let (bench, entry) = with_storage(bench, async |storage| {
            storage.make_sole_voter(NODE, "here").await.unwrap()
        })
        .await;
        assert_eq!(entry, log_id(2, 3));
        assert_eq!(bench.crash().read_log().await, [(3, 2)]);
    });
}

#[test]
fn a_check_takes_a_whole_snapshot_and_nothing_else() {
    simulate(|| async {
        let mut bench = Bench::new();
        bench.apply((1..=9).map(|index| set(index, "key", "value")).collect()).await.unwrap();
        let (_, chunks) = chunks(&mut bench).await;
        let mut check = SnapshotCheck::default();
        for chunk in &chunks {
            assert!(!check.is_whole());
            check.take(chunk).unwrap();
        }
        assert_eq!((check.is_whole(), check.counts()), (true, (1, 0)));
        let more = check.take(&chunks[0]);
        assert!(matches!(more, Err(SnapshotError::Order { ordinal: 2 })), "{more:?}");

        let mut check = SnapshotCheck::default();
        check.take(&chunks[0]).unwrap();
        let again = check.take(&chunks[0]);
        assert!(matches!(again, Err(SnapshotError::Chunk { ordinal: 1, .. })), "{again:?}");
        let mut check = SnapshotCheck::default();
        check.take(&chunks[0]).unwrap();
        let cut = check.finish();
        assert!(matches!(cut, Err(SnapshotError::Incomplete { chunks: 1 })), "{cut:?}");
    });
}
