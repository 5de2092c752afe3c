//! I/O errors, full disks and lying disks.

use std::io::ErrorKind;

use aspen_core::Volume;
use aspen_sim::disk::{
    Death, DeathFrom, DiskFailure, IoFault, IoOperation, Lie, SimDisk, SlowSync, Survive,
};
use redb::StorageBackend;

use super::{content, disk_with, lose_power, reason};

const PAGE: usize = 4096;

fn fail(disk: &SimDisk, operation: IoOperation, skip: u64) {
    disk.fail_next(IoFault { operation, skip, seed: 1 });
}

#[test]
fn one_operation_of_the_kind_fails_and_the_next_succeeds() {
    let (disk, file) = disk_with(b"old");
    fail(&disk, IoOperation::Read, 0);
    fail(&disk, IoOperation::Write, 1);
    fail(&disk, IoOperation::Sync, 0);
    assert_eq!(reason(file.read(0, &mut [0])), DiskFailure::Io(IoOperation::Read));
    file.read(0, &mut [0]).unwrap();
    file.write(0, b"1").unwrap();
    assert_eq!(reason(file.write(0, b"2")), DiskFailure::Io(IoOperation::Write));
    file.write(1, b"3").unwrap();
    assert_eq!(reason(file.sync_data()), DiskFailure::Io(IoOperation::Sync));
    file.sync_data().unwrap();
    let counters = disk.counters();
    assert_eq!((counters.read_errors, counters.write_errors, counters.sync_errors), (1, 1, 1));
}

#[test]
fn a_failed_write_changes_nothing() {
    let (disk, file) = disk_with(b"old");
    fail(&disk, IoOperation::Write, 0);
    file.write(0, b"new").unwrap_err();
    fail(&disk, IoOperation::Write, 0);
    file.set_len(0).unwrap_err();
    assert_eq!(content(&disk), b"old");
}

#[test]
fn what_a_failed_sync_forgot_is_not_brought_back_by_a_sync_that_succeeds() {
    let (disk, file) = disk_with(&[b'a'; 64 * PAGE]);
    file.write(0, &[b'b'; 64 * PAGE]).unwrap();
    fail(&disk, IoOperation::Sync, 0);
    file.sync_data().unwrap_err();
    let cached = content(&disk);
    file.sync_data().expect("the second sync has nothing to do and says so");
    lose_power(&disk, Survive::Everything);
    let platter = content(&disk);
    let new = |bytes: &[u8]| bytes.chunks(PAGE).filter(|page| page[0] == b'b').count();
    // Each page was written, forgotten or evicted: three fates, none of them rare.
    assert!((1..64).contains(&new(&platter)), "{} pages reached the platter", new(&platter));
    assert!((new(&platter) + 1..64).contains(&new(&cached)), "{} are cached", new(&cached));
    assert_eq!(disk.counters().forgotten_pages, 64 - new(&platter) as u64);
}

#[test]
fn a_full_disk_refuses_new_pages_and_growth_and_takes_overwrites() {
    let (disk, file) = disk_with(&[b'a'; PAGE]);
    file.set_len(10 * PAGE as u64).unwrap();
    disk.fill(PAGE as u64);
    assert_eq!(disk.free_space(), PAGE as u64);
    file.write(PAGE as u64, b"takes the last page").unwrap();
    assert_eq!(disk.free_space(), 0);
    let refused = file.write(2 * PAGE as u64, b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(11 * PAGE as u64).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write(0, &[b'b'; PAGE]).unwrap();
    file.sync_data().unwrap();
    file.set_len(PAGE as u64).unwrap();
    assert_eq!(disk.free_space(), PAGE as u64);
    disk.set_capacity(None);
    file.write(8 * PAGE as u64, b"x").unwrap();
    assert_eq!((disk.counters().full_hits, disk.free_space()), (2, u64::MAX));
}

#[test]
fn a_lying_sync_loses_exactly_one_page_and_only_with_the_power() {
    let (disk, file) = disk_with(&[b'a'; 16 * PAGE]);
    disk.lie(Some(Lie { one_in: 1, seed: 1 }));
    file.write(0, &[b'b'; 16 * PAGE]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&disk), [b'b'; 16 * PAGE]);
    lose_power(&disk, Survive::Everything);
    let old = content(&disk).chunks(PAGE).filter(|page| page[0] == b'a').count();
    assert_eq!(old, 1);
    disk.lie(None);
    let file = disk.mount().open("f").unwrap().unwrap();
    file.write(0, &[b'c'; 16 * PAGE]).unwrap();
    file.sync_data().unwrap();
    lose_power(&disk, Survive::Nothing);
    assert_eq!(content(&disk), [b'c'; 16 * PAGE]);
}

#[test]
fn a_read_past_the_end_fails() {
    let (_, file) = disk_with(b"old");
    assert_eq!(file.read(1, &mut [0; 3]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(file.read(u64::MAX, &mut [0]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn healing_takes_back_every_fault_that_is_still_to_come() {
    let (disk, file) = disk_with(b"old");
    disk.die_at(Death { from: DeathFrom::Now, after_operations: 0, seed: 1 });
    disk.die_at(Death { from: DeathFrom::NextMount, after_operations: 0, seed: 1 });
    for operation in [IoOperation::Read, IoOperation::Write, IoOperation::Sync] {
        fail(&disk, operation, 0);
    }
    disk.lie(Some(Lie { one_in: 1, seed: 1 }));
    disk.set_slow(Some(SlowSync { factor: 1, extra_us: 1 }));
    disk.fill(0);
    disk.heal();
    file.read(0, &mut [0]).unwrap();
    file.write(PAGE as u64, b"new").unwrap();
    file.sync_data().unwrap();
    lose_power(&disk, Survive::Nothing);
    assert_eq!(content(&disk)[PAGE..], *b"new");
    disk.mount().sync_folder().unwrap();
    assert_eq!(disk.free_space(), u64::MAX);
}
