//! The simulated disk as its users see it: the nemesis, the volume's contract, and redb.

#![allow(clippy::unwrap_used, reason = "what helps a test may panic as the test does")]

mod creation;
mod deaths;
mod faults;
mod fence;
mod jobs;
mod names;
mod tables;

use aspen_core::Volume;
use aspen_sim::disk::{
    DiskConfig, DiskFailure, InFlight, Kill, PowerFailure, SimDisk, SimFile, Survive,
};
use redb::StorageBackend;

/// A disk whose one file, `f`, holds `content`, durably, under a durable name.
fn disk_with(content: &[u8]) -> (SimDisk, SimFile) {
    let disk = SimDisk::new(DiskConfig::default());
    let volume = disk.mount();
    let file = volume.create("f").expect("the disk is healthy");
    file.write(0, content).expect("the disk is healthy");
    file.sync_data().expect("the disk is healthy");
    volume.sync_folder().expect("the disk is healthy");
    (disk, file)
}

/// What a fresh look at the file `f` shows.
fn content(disk: &SimDisk) -> Vec<u8> {
    disk.files().into_iter().find(|(name, _)| name == "f").expect("f has a durable name").1
}

fn lose_power(disk: &SimDisk, survive: Survive) {
    disk.power_failure(PowerFailure { survive, in_flight: InFlight::Dropped, seed: 1 });
}

fn kill(disk: &SimDisk) {
    disk.kill(Kill { in_flight: InFlight::Dropped, seed: 1 });
}

/// The disk's own reason for a failure.
fn reason<T>(result: std::io::Result<T>) -> DiskFailure {
    let error = result.map(|_| ()).expect_err("the disk must refuse");
    DiskFailure::of(&error).expect("only the disk fails here")
}
