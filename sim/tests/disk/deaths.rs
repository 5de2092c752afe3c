//! Death at an operation: the operation is cut, and nothing works until the machine is settled.

use std::collections::BTreeSet;

use aspen_core::Volume;
use aspen_sim::disk::{Death, DeathFrom, DiskFailure, SimDisk, Survive};
use futures_util::FutureExt;
use redb::StorageBackend;

use super::{content, disk_with, kill, lose_power, reason};

fn die_after(disk: &SimDisk, after_operations: u64, seed: u64) {
    disk.die_at(Death { from: DeathFrom::Now, after_operations, seed });
}

#[test]
fn operations_before_the_death_succeed_and_all_after_it_fail() {
    let (disk, file) = disk_with(&[b'a'; 1024]);
    die_after(&disk, 2, 1);
    file.write(0, b"b").unwrap();
    file.read(0, &mut [0]).expect("a read changes nothing, so it does not count");
    file.sync_data().unwrap();
    assert!(!disk.is_dead());
    assert_eq!(reason(file.sync_data()), DiskFailure::Dead);
    assert!(disk.is_dead());
    assert_eq!(reason(file.read(0, &mut [0])), DiskFailure::Dead);
    let volume = disk.mount();
    assert_eq!(reason(volume.open("f")), DiskFailure::Dead);
    assert_eq!(disk.counters().deaths, 1);
    lose_power(&disk, Survive::Nothing);
    assert!(disk.mount().open("f").unwrap().is_some());
}

#[test]
fn a_write_in_which_the_disk_dies_is_cut_at_a_sector() {
    let mut lengths = BTreeSet::new();
    for seed in 0..64 {
        let (disk, file) = disk_with(&[b'a'; 2048]);
        die_after(&disk, 0, seed);
        assert_eq!(reason(file.write(0, &[b'b'; 2048])), DiskFailure::Dead);
        lose_power(&disk, Survive::Everything);
        let after = content(&disk);
        let written = after.iter().take_while(|byte| **byte == b'b').count();
        assert!(after[written..].iter().all(|byte| *byte == b'a'));
        lengths.insert(written);
    }
    assert_eq!(lengths, [0, 512, 1024, 1536, 2048].into());
}

#[test]
fn a_sync_in_which_the_disk_dies_makes_nothing_durable_by_itself() {
    let (disk, file) = disk_with(b"old");
    file.write(0, b"new").unwrap();
    die_after(&disk, 0, 1);
    assert_eq!(reason(file.sync_data()), DiskFailure::Dead);
    lose_power(&disk, Survive::Nothing);
    assert_eq!(content(&disk), b"old");
}

#[test]
fn a_death_can_be_settled_by_a_kill_which_keeps_the_cache() {
    let (disk, file) = disk_with(b"old");
    file.write(0, b"new").unwrap();
    die_after(&disk, 0, 1);
    assert_eq!(reason(file.sync_data()), DiskFailure::Dead);
    kill(&disk);
    assert!(!disk.is_dead());
    assert_eq!(content(&disk), b"new");
}

#[test]
fn a_death_planned_for_the_next_mount_counts_from_there() {
    let (disk, file) = disk_with(b"old");
    disk.die_at(Death { from: DeathFrom::NextMount, after_operations: 1, seed: 1 });
    for _ in 0..10 {
        file.write(0, b"new").unwrap();
    }
    lose_power(&disk, Survive::Nothing);
    let file = disk.mount().open("f").unwrap().unwrap();
    file.write(0, b"x").unwrap();
    assert_eq!(reason(file.write(0, b"y")), DiskFailure::Dead);
}

#[test]
fn an_end_cancels_a_death_that_has_not_come() {
    let (disk, _) = disk_with(b"old");
    die_after(&disk, 0, 1);
    kill(&disk);
    disk.mount().sync_folder().unwrap();
    assert_eq!(disk.counters().deaths, 0);
}

#[test]
fn whoever_waits_for_the_death_is_told() {
    let (disk, file) = disk_with(b"old");
    let mut death = Box::pin(disk.death());
    assert!(death.as_mut().now_or_never().is_none());
    die_after(&disk, 0, 1);
    let _ = file.sync_data();
    assert!(death.now_or_never().is_some());
}

#[test]
fn names_happen_or_not_when_the_disk_dies_in_them() {
    let mut seen = BTreeSet::new();
    for seed in 0..32 {
        let (disk, _) = disk_with(b"old");
        die_after(&disk, 0, seed);
        assert_eq!(reason(disk.mount().rename("f", "g")), DiskFailure::Dead);
        lose_power(&disk, Survive::Everything);
        seen.insert(disk.files()[0].0.clone());
    }
    assert_eq!(seen, ["f", "g"].map(str::to_owned).into());
}
