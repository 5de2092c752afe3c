//! Nodes on small disks that fill up under load.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::running::Running;
use crate::harness::secluded::{secluded, shell};
use crate::harness::{Cluster, Place};

/// Whether disks can be made at all.
const DISKS: &str = "mount -t tmpfs -o size=1m tmpfs /mnt; umount /mnt; ip link set lo up";
const DISK_BYTES: u64 = 64 << 20;

/// Every node has a disk of its own.
async fn start() -> Cluster {
    let place = |id: u64, folder: &Path| {
        let disk = folder.join(id.to_string());
        fs::create_dir(&disk).unwrap();
        shell(&format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs {}", disk.display()));
        let stderr = Some(folder.join(format!("stderr-{id}")));
        Place { stderr, ..Place::on_loopback(disk.join("data")) }
    };
    Cluster::start_in(place).await
}

/// Takes what is left of the disk.
fn fill(cluster: &mut Cluster, id: u64) -> PathBuf {
    let path = cluster.node(id).place.folder.with_file_name("ballast");
    let mut ballast = fs::File::create(&path).unwrap();
    let block = vec![1; 64 << 10];
    while ballast.write_all(&block).is_ok() {}
    path
}

/// The last line says which disk is full. No sync has failed, so it takes no reboot.
fn assert_says_why(place: &Place) {
    let said = fs::read_to_string(place.stderr.as_ref().unwrap()).unwrap();
    let last = said.lines().last().unwrap_or_default();
    let begin =
        format!("aspen-node: data folder {}: the node has stopped: ", place.folder.display());
    assert!(last.starts_with(&begin) && last.contains("No space left on device"), "{said}");
    assert!(!place.folder.join("sync-failed").exists());
}

#[test]
fn a_node_on_a_full_disk_stops_and_comes_back_when_there_is_room() {
    let name = "disk_full::a_node_on_a_full_disk_stops_and_comes_back_when_there_is_room";
    secluded(name, DISKS, || async {
        let mut cluster = start().await;
        let running = Running::start_heavy(&cluster).await;
        for is_leader in [false, true] {
            let leader = cluster.leader().await;
            let id = if is_leader { leader } else { (1..=3).find(|id| *id != leader).unwrap() };
            let ballast = fill(&mut cluster, id);
            let ended = cluster.node(id).ended().await;
            assert_eq!(ended.code(), Some(1));
            assert_says_why(&cluster.node(id).place);
            running.answers(100).await;
            fs::remove_file(ballast).unwrap();
            cluster.node(id).restart();
            cluster.caught_up().await;
        }
        running.answers(100).await;
        running.stop().await;
        cluster.assert_same_data().await;
    });
}
