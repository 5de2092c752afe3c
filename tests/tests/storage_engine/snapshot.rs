//! Snapshots from one storage to another, and what becomes of generations.

use aspen_core::command::Command;
use aspen_core::limits;
use aspen_core::storage::SnapshotError;
use aspen_core::volume::Durability::{Synced, Visible};
use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;

use crate::bench::{Bench, Config, blank, log_id, normal, set, simulate, text};

/// A storage with more rows than a slice of a dropped generation, two sessions, and large values.
async fn filled() -> Bench {
    let mut bench = Bench::new();
    let rows = 2 * limits::DROP_SLICE_ROWS as u64 + 10;
    let mut entries: Vec<_> =
        (1..=rows).map(|index| set(index, &format!("key {index:06}"), "value")).collect();
    let large = "l".repeat(limits::VALUE_BYTES_MAX);
    entries.push(set(rows + 1, "large", &large));
    entries.push(normal(rows + 2, None, Command::OpenSession { ttl_ms: 1000 }));
    entries.push(normal(rows + 3, None, Command::OpenSession { ttl_ms: 2000 }));
    let delete = Command::Delete { key: text("large") };
    entries.push(normal(rows + 4, Some((rows + 2, 1)), delete));
    entries.push(set(rows + 5, "large", &large));
    bench.apply(entries).await.unwrap();
    bench
}

/// All chunks of a storage's current snapshot.
pub(crate) async fn chunks(bench: &mut Bench) -> (aspen_core::types::SnapshotMeta, Vec<Bytes>) {
    let mut snapshot = bench.machine.get_current_snapshot().await.unwrap().unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = snapshot.snapshot.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    (snapshot.meta, chunks)
}

fn generations(bench: &Bench) -> Vec<String> {
    bench.tables().into_iter().filter(|name| name.starts_with("rows.")).collect()
}

#[test]
fn a_snapshot_carries_the_whole_state_machine() {
    simulate(|| async {
        let mut leader = filled().await;
        let (meta, chunks) = chunks(&mut leader).await;
        let small = chunks.iter().filter(|chunk| chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES);
        assert_eq!(chunks.len() - small.count(), 2, "one large value, one large stored reply");
        assert!(chunks.len() > 4, "rows of more than one chunk, sessions, the end");

        let mut follower = Bench::new();
        follower.apply(vec![set(1, "old", "gone after the install")]).await.unwrap();
        let mut receiver = follower.store.receive_snapshot();
        for chunk in chunks {
            receiver.write(chunk).await.unwrap();
            assert!(follower.value("old").is_some(), "nothing shows before the install");
        }
        let data = receiver.finish().unwrap();
        follower.machine.install_snapshot(&meta, data).await.unwrap();

        assert_eq!(follower.value("old"), None);
        assert_eq!(follower.value("key 000017"), Some("value".into()));
        assert_eq!(follower.store.applied(), meta.last_log_id);
        assert_eq!(follower.store.log_time(), leader.store.log_time());
        assert_eq!((follower.store.sessions(), leader.store.sessions()), (2, 2));
        assert_eq!(follower.digests(), leader.digests());
        follower.store.verify().unwrap();

        let killed = follower.crash();
        assert_eq!(killed.digests(), leader.digests(), "the install was durable");
        killed.store.verify().unwrap();

        // Both go on, from the same state: a retried request gets its stored reply on either.
        let index = meta.last_log_id.unwrap().index;
        let retry = normal(index + 1, Some((index - 3, 1)), Command::Delete { key: text("large") });
        for bench in [&mut leader, &mut follower] {
            bench.apply(vec![retry.clone(), set(index + 2, "after", "v")]).await.unwrap();
            assert!(bench.value("large").is_some());
        }
        assert_eq!(follower.digests(), leader.digests());
    });
}

#[test]
fn a_replaced_generation_goes_slice_by_slice_while_others_write() {
    simulate(|| async {
        let mut bench = filled().await;
        // Taking a view of it moves every row into the database.
        drop(bench.machine.get_current_snapshot().await.unwrap());
        let mut small = Bench::new();
        let index = bench.store.applied().unwrap().index;
        small.apply(vec![set(index + 1, "k", "v")]).await.unwrap();
        let snapshot = small.machine.get_current_snapshot().await.unwrap().unwrap();
        bench.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
        assert!(generations(&bench).len() > 1, "the install waits for no clearing away");
        bench.append(vec![blank(1, index + 2)]).await.unwrap();
        bench.idle().await;
        let ran = bench.ran();
        let install = ran.iter().position(|durability| *durability == Synced).unwrap();
        // Two full slices and the rest, and the append did not wait for the last of them.
        assert_eq!(ran[install..], [Synced, Visible, Synced, Visible, Visible]);
        bench.sync_database().await;
        assert_eq!(generations(&bench).len(), 1);
        assert_eq!(bench.value("k"), Some("v".into()));
        bench.store.verify().unwrap();
    });
}

#[test]
fn what_was_received_and_not_installed_is_cleared_away() {
    simulate(|| async {
        let mut leader = filled().await;
        let (_, chunks) = chunks(&mut leader).await;
        let mut bench = Bench::new();
        let mut receiver = bench.store.receive_snapshot();
        receiver.write(chunks[0].clone()).await.unwrap();
        bench.sync_database().await;
        assert_eq!(generations(&bench).len(), 2);

        // A kill in the middle of the transfer: the next start clears away.
        let mut killed = bench.crash();
        killed.idle().await;
        killed.sync_database().await;
        assert_eq!(generations(&killed).len(), 1);

        // A transfer that was given up: the writer clears away at its next turn.
        let incomplete = receiver.finish().err().unwrap();
        assert!(matches!(incomplete, SnapshotError::Incomplete { chunks: 1 }));
        bench.append(vec![blank(1, 1)]).await.unwrap();
        bench.idle().await;
        bench.sync_database().await;
        assert_eq!(generations(&bench).len(), 1);
    });
}

#[test]
fn a_bad_transfer_is_refused_and_harms_nobody() {
    simulate(|| async {
        let mut leader = filled().await;
        let (_, chunks) = chunks(&mut leader).await;
        let mut bench = Bench::new();
        bench.apply(vec![set(1, "k", "v")]).await.unwrap();

        let mut rotten = chunks[0].to_vec();
        rotten[1000] ^= 1;
        let first = bench.store.receive_snapshot().write(rotten.into()).await;
        assert!(matches!(first, Err(SnapshotError::Chunk { ordinal: 0, .. })));

        let skipped = bench.store.receive_snapshot().write(chunks[1].clone()).await;
        assert!(matches!(skipped, Err(SnapshotError::Chunk { ordinal: 0, .. })));

        let mut receiver = bench.store.receive_snapshot();
        for chunk in &chunks {
            receiver.write(chunk.clone()).await.unwrap();
        }
        let after_the_end = receiver.write(chunks[0].clone()).await;
        assert!(matches!(after_the_end, Err(SnapshotError::Order { .. })));

        assert_eq!(bench.value("k"), Some("v".into()));
        bench.apply(vec![set(2, "k", "w")]).await.unwrap();
        bench.store.verify().unwrap();
    });
}

#[test]
fn a_builder_keeps_the_moment_at_which_it_was_made() {
    simulate(|| async {
        let mut bench = Bench::new();
        assert!(bench.machine.get_current_snapshot().await.unwrap().is_none());
        bench.apply(vec![set(1, "k", "then")]).await.unwrap();
        let mut builder = bench.machine.get_snapshot_builder().await;
        bench.apply(vec![set(2, "k", "now")]).await.unwrap();
        let snapshot = RaftSnapshotBuilder::<Config>::build_snapshot(&mut builder).await.unwrap();
        assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 1)));
        let mut other = Bench::new();
        other.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
        assert_eq!(other.value("k"), Some("then".into()));
    });
}

#[test]
fn scans_are_cut_into_pages() {
    simulate(|| async {
        let bench = filled().await;
        let scan = |prefix: &str, after: Option<&str>, limit| {
            let page =
                bench.store.scan(prefix.as_bytes(), after.map(text).as_ref(), limit).unwrap();
            let keys = page.rows.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap());
            (keys.collect::<Vec<_>>(), page.more)
        };
        let (keys, more) = scan("key 00001", None, 3);
        assert_eq!(
            (keys, more),
            (vec!["key 000010".into(), "key 000011".into(), "key 000012".into()], true)
        );
        let (keys, more) = scan("key 00001", Some("key 000017"), 100);
        assert_eq!((keys, more), (vec!["key 000018".into(), "key 000019".into()], false));
        assert_eq!(scan("key 00001", Some("a"), 1).0, ["key 000010"]);
        assert_eq!(scan("nothing", None, 10), (vec![], false));
        assert_eq!(scan("", None, 0), (vec![], true));
        let (keys, more) = scan("", None, usize::MAX);
        assert_eq!((keys.len(), more), (2 * limits::DROP_SLICE_ROWS + 11, false));
    });
}
