//! Names: creations, renames and removals are durable after a sync of the folder, not before.

use aspen_core::Volume;
use aspen_sim::disk::{DiskConfig, InFlight, PowerFailure, SimDisk, Survive};
use redb::StorageBackend;

use super::lose_power;

fn names(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().map(|(name, _)| name).collect()
}

/// Durable: `a`, `b`. Pending: `c` created, `a` renamed to `b`, `c` removed.
fn renamed() -> SimDisk {
    let disk = SimDisk::new(DiskConfig::default());
    let volume = disk.mount();
    for name in ["a", "b"] {
        let file = volume.create(name).unwrap();
        file.write(0, name.as_bytes()).unwrap();
        file.sync_data().unwrap();
    }
    volume.sync_folder().unwrap();
    volume.create("c").unwrap();
    volume.rename("a", "b").unwrap();
    volume.remove("c").unwrap();
    disk
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.files().into_iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn a_rename_replaces_at_once() {
    let disk = renamed();
    assert_eq!(names(&disk), ["b"]);
    assert_eq!(content(&disk, "b"), b"a");
}

#[test]
fn unsynced_changes_of_names_are_lost_together_with_the_power() {
    let disk = renamed();
    lose_power(&disk, Survive::Nothing);
    assert_eq!(names(&disk), ["a", "b"]);
    assert_eq!(content(&disk, "b"), b"b");
    assert_eq!(disk.counters().lost_folder_changes, 3);
}

#[test]
fn unsynced_changes_of_names_survive_when_everything_does() {
    let disk = renamed();
    lose_power(&disk, Survive::Everything);
    assert_eq!(names(&disk), ["b"]);
    assert_eq!(content(&disk, "b"), b"a");
}

#[test]
fn every_prefix_of_changes_of_names_occurs_and_nothing_else() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = renamed();
        let in_flight = InFlight::Dropped;
        disk.power_failure(PowerFailure { survive: Survive::Prefix, in_flight, seed });
        seen.insert(names(&disk).join(" "));
    }
    assert_eq!(seen, ["a b", "a b c", "b c", "b"].map(str::to_owned).into());
}

#[test]
fn synced_names_survive_and_a_second_sync_is_not_needed() {
    let disk = renamed();
    disk.mount().sync_folder().unwrap();
    lose_power(&disk, Survive::Nothing);
    assert_eq!(names(&disk), ["b"]);
}

#[test]
fn a_synced_file_without_a_durable_name_is_gone() {
    let disk = SimDisk::new(DiskConfig::default());
    let file = disk.mount().create("f").unwrap();
    file.write(0, b"synced").unwrap();
    file.sync_data().unwrap();
    lose_power(&disk, Survive::Nothing);
    assert!(disk.mount().open("f").unwrap().is_none());
    assert_eq!(disk.used_space(), 0);
}

#[test]
fn a_removed_file_lives_and_takes_space_until_its_last_handle_is_gone() {
    let disk = SimDisk::new(DiskConfig::default());
    let volume = disk.mount();
    let file = volume.create("f").unwrap();
    file.write(0, b"x").unwrap();
    volume.remove("f").unwrap();
    volume.sync_folder().unwrap();
    let mut byte = [0];
    file.read(0, &mut byte).unwrap();
    assert_eq!((byte[0], disk.used_space()), (b'x', 4096));
    drop(file);
    volume.sync_folder().unwrap();
    assert_eq!(disk.used_space(), 0);
}

#[test]
fn a_rename_of_nothing_fails() {
    let volume = SimDisk::new(DiskConfig::default()).mount();
    assert_eq!(volume.rename("a", "b").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    volume.remove("a").unwrap();
}
