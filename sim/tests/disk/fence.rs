//! The fence: the handle of an incarnation that has ended fails at once, whatever it is asked.

use aspen_core::Volume;
use aspen_core::volume::Durability;
use aspen_sim::disk::{DiskFailure, Survive};
use futures_util::FutureExt;
use redb::StorageBackend;

use super::{content, disk_with, kill, lose_power, reason};

#[test]
fn every_operation_of_an_old_handle_fails_after_each_kind_of_end() {
    for end in ["kill", "power failure", "mount"] {
        let (disk, _) = disk_with(b"old");
        let volume = disk.mount();
        let file = volume.open("f").unwrap().unwrap();
        let newer = match end {
            "kill" => {
                kill(&disk);
                None
            }
            "power failure" => {
                lose_power(&disk, Survive::Everything);
                None
            }
            _ => Some(disk.mount()),
        };
        let fenced = DiskFailure::Fenced;
        assert_eq!(reason(file.len()), fenced, "{end}");
        assert_eq!(reason(file.read(0, &mut [0])), fenced, "{end}");
        assert_eq!(reason(file.write(0, b"new")), fenced, "{end}");
        assert_eq!(reason(file.set_len(0)), fenced, "{end}");
        assert_eq!(reason(file.sync_data()), fenced, "{end}");
        assert_eq!(reason(volume.open("f")), fenced, "{end}");
        assert_eq!(reason(volume.create("f")), fenced, "{end}");
        assert_eq!(reason(volume.rename("f", "g")), fenced, "{end}");
        assert_eq!(reason(volume.remove("f")), fenced, "{end}");
        assert_eq!(reason(volume.sync_folder()), fenced, "{end}");
        assert_eq!(disk.counters().fenced_operations, 10, "{end}");
        drop(newer);
        assert_eq!(content(&disk), b"old", "{end}");
    }
}

#[test]
fn a_transaction_on_a_fenced_volume_runs_at_once_and_fails() {
    let (disk, _) = disk_with(b"old");
    let volume = disk.mount();
    let file = volume.open("f").unwrap().unwrap();
    kill(&disk);
    let (report, outcome) = std::sync::mpsc::channel();
    let job = Box::new(move || report.send(file.write(0, b"new")).unwrap());
    volume.run(Durability::Synced, job).now_or_never().expect("there is nothing to wait for");
    assert_eq!(reason(outcome.recv().unwrap()), DiskFailure::Fenced);
}

#[test]
fn the_cache_outlives_a_kill_and_is_still_not_durable() {
    let (disk, file) = disk_with(b"old");
    file.write(0, b"new").unwrap();
    kill(&disk);
    assert_eq!(content(&disk), b"new");
    disk.mount();
    lose_power(&disk, Survive::Nothing);
    assert_eq!(content(&disk), b"old");
}

#[test]
fn a_mount_after_an_end_counts_as_a_recovery_and_a_first_mount_does_not() {
    let (disk, _) = disk_with(b"old");
    assert_eq!((disk.counters().mounts, disk.counters().recoveries), (1, 0));
    kill(&disk);
    disk.mount();
    lose_power(&disk, Survive::Nothing);
    disk.mount();
    let counters = disk.counters();
    assert_eq!((counters.mounts, counters.recoveries), (3, 2));
    assert_eq!((counters.kills, counters.power_failures), (1, 1));
}
