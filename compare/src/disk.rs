//! What a sync costs here.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

const SYNCS: u32 = 1000;
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// How long `fdatasync` takes after 4 KiB were appended.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SyncLatency {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

pub(crate) fn sync_latency(folder: &Path) -> Result<SyncLatency> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut histogram = Histogram::<u64>::new(3)?;
    for _ in 0..SYNCS {
        file.write_all(&BLOCK)?;
        let begun = Instant::now();
        file.sync_data()?;
        histogram.record(begun.elapsed().as_micros() as u64)?;
    }
    std::fs::remove_file(path)?;
    let at = |quantile| histogram.value_at_quantile(quantile);
    Ok(SyncLatency { p50_us: at(0.5), p99_us: at(0.99) })
}
