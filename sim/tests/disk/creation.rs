//! Creating a database: redb's own way is not crash-safe, and the disk shows it; under a temporary
//! name, renamed when it is complete, it is.

use aspen_core::Volume;
use aspen_sim::disk::{
    Death, DeathFrom, DiskConfig, InFlight, PowerFailure, SimDisk, SimVolume, Survive,
};

use super::tables::open;

fn create_in_place(volume: &SimVolume) -> bool {
    let file = match volume.open("db") {
        Ok(Some(file)) => Ok(file),
        Ok(None) => volume.create("db"),
        Err(error) => Err(error),
    };
    file.is_ok_and(|file| open(file).0.is_ok()) && volume.sync_folder().is_ok()
}

fn create_by_rename(volume: &SimVolume) -> bool {
    match volume.open("db") {
        // The name may be a killed creation's, and not yet durable.
        Ok(Some(file)) => return volume.sync_folder().is_ok() && open(file).0.is_ok(),
        Ok(None) => {}
        Err(_) => return false,
    }
    volume.create("db.new").is_ok_and(|file| open(file).0.is_ok())
        && volume.rename("db.new", "db").is_ok()
        && volume.sync_folder().is_ok()
}

/// Crashes a creation at many points and tells how often the next start could not open or create
/// the database, and how often the first creation was cut.
fn crashes(create: fn(&SimVolume) -> bool) -> (u64, u64) {
    let (mut unusable, mut cut) = (0, 0);
    for seed in 0..400 {
        let disk = SimDisk::new(DiskConfig::default());
        let after_operations = seed % 16;
        disk.die_at(Death { from: DeathFrom::NextMount, after_operations, seed });
        cut += u64::from(!create(&disk.mount()));
        let survive = Survive::Sectors { sector_bytes: 512, keep_percent: 50 };
        disk.power_failure(PowerFailure { survive, in_flight: InFlight::Dropped, seed });
        unusable += u64::from(!create(&disk.mount()));
    }
    (unusable, cut)
}

#[test]
fn creation_in_place_is_not_crash_safe_and_the_disk_shows_it() {
    let (unusable, _) = crashes(create_in_place);
    assert!(unusable > 0, "the disk is too kind to notice a known weakness");
}

#[test]
fn creation_by_rename_is_crash_safe() {
    let (unusable, cut) = crashes(create_by_rename);
    assert_eq!(unusable, 0);
    assert!(cut > 100, "only {cut} of 400 creations were cut");
}
