//! One file: the cache that everyone reads, and a log of what a power failure may take back.
//!
//! The bytes exist once, as the cache shows them. Each unsynced change keeps what it overwrote;
//! a sync only forgets that log. A power failure walks the log backwards, swapping old bytes in
//! and new bytes out, and stands before the durable content; then it walks forwards and applies
//! what survives. So a write costs two copies of its bytes, a sync none, and the price of a power
//! failure is paid by power failures.
//!
//! Pages that a failed or lying sync forgot are clean in the cache and old on the platter; they
//! stand beside the log until a later sync writes them again or a power failure shows the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::power::Survive;

/// The cache's page, and the unit in which space is taken.
pub(super) const PAGE_BYTES: usize = 4096;
/// The unit in which a death cuts a write.
pub(super) const SECTOR_BYTES: usize = 512;

/// One unsynced change. `saved` points into the log's arena, at what the change overwrote (or,
/// while the log is unwound, at what it wrote).
#[derive(Clone, Copy, Debug)]
enum Change {
    Write { offset: usize, len: usize, saved: usize },
    Resize { from: usize, to: usize, saved: usize },
}

/// What a power failure took from one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) lost_writes: u64,
    pub(super) torn_writes: u64,
    pub(super) lost_sectors: u64,
    pub(super) lost_resizes: u64,
}

/// What a failed sync did to one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageFate {
    /// It reached the platter.
    Written,
    /// The cache shows the new content, the platter holds the old, and no sync will write it.
    Forgotten,
    /// The same, and the cache has already dropped the page.
    Evicted,
}

/// A file: its cache and its log of unsynced changes.
#[derive(Debug, Default)]
pub(super) struct FileImage {
    cache: Vec<u8>,
    log: Vec<Change>,
    arena: Vec<u8>,
    forgotten: BTreeMap<usize, Vec<u8>>,
    /// Which pages take space, one bit each: now, and after the last sync.
    used: Vec<u64>,
    used_durable: Vec<u64>,
    /// Handles hold clones, so that a removed file lives as long as its last handle.
    handles: Arc<()>,
}

impl FileImage {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn handle(&self) -> Arc<()> {
        Arc::clone(&self.handles)
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.handles) > 1
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let pages: u32 = self.used.iter().map(|word| word.count_ones()).sum();
        u64::from(pages) * PAGE_BYTES as u64
    }

    /// How many bytes a write would take from the free space: the pages never written before.
    pub(super) fn new_bytes(&self, offset: usize, len: usize) -> u64 {
        let new = pages(offset, len).filter(|page| !self.is_used(*page)).count();
        (new * PAGE_BYTES) as u64
    }

    /// How many changes wait for a sync.
    #[cfg(test)]
    pub(super) fn unsynced(&self) -> usize {
        self.log.len()
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        if end > self.cache.len() {
            self.resize(end);
        }
        let saved = self.arena.len();
        self.arena.extend_from_slice(&self.cache[offset..end]);
        self.cache[offset..end].copy_from_slice(data);
        self.log.push(Change::Write { offset, len: data.len(), saved });
        self.mark_used(offset, data.len());
    }

    pub(super) fn resize(&mut self, to: usize) {
        let (from, saved) = (self.cache.len(), self.arena.len());
        if to < from {
            self.arena.extend_from_slice(&self.cache[to..]);
        }
        self.set_len(to);
        self.log.push(Change::Resize { from, to, saved });
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) {
        if !self.forgotten.is_empty() {
            for page in self.dirty_pages() {
                self.forgotten.remove(&page);
            }
        }
        self.clear_log();
    }

    /// Cleans every dirty page without making all of them durable; `fate` says which. Lengths,
    /// which a file system journals, become durable. Returns how many pages were forgotten.
    pub(super) fn forget(&mut self, mut fate: impl FnMut(usize) -> PageFate) -> u64 {
        let mut forgotten = 0;
        let fates: Vec<(usize, PageFate)> =
            self.dirty_pages().into_iter().map(|page| (page, fate(page))).collect();
        let used = self.used.clone();
        self.unwind();
        for (page, fate) in &fates {
            if *fate == PageFate::Written {
                self.forgotten.remove(page);
                continue;
            }
            forgotten += 1;
            if !self.forgotten.contains_key(page) {
                let platter = self.page(*page);
                self.forgotten.insert(*page, platter);
            }
        }
        self.rewind();
        self.used = used;
        for (page, _) in fates.iter().filter(|(_, fate)| *fate == PageFate::Evicted) {
            self.show_platter(*page);
        }
        self.clear_log();
        forgotten
    }

    /// Every page that an unsynced write touched.
    pub(super) fn dirty_pages(&self) -> BTreeSet<usize> {
        let writes = self.log.iter().filter_map(|change| match *change {
            Change::Write { offset, len, .. } => Some(pages(offset, len)),
            Change::Resize { .. } => None,
        });
        writes.flatten().collect()
    }

    /// Loses power: what is left afterwards is durable.
    pub(super) fn settle(&mut self, survive: Survive, random: &mut ChaCha8Rng) -> Losses {
        let changes = self.unwind();
        for page in self.forgotten.keys().copied().collect::<Vec<_>>() {
            self.show_platter(page);
        }
        self.forgotten.clear();
        self.used.clone_from(&self.used_durable);
        let prefix = match survive {
            Survive::Prefix => random.random_range(0..=changes.len()),
            Survive::Nothing => 0,
            Survive::Everything | Survive::Writes { .. } | Survive::Sectors { .. } => changes.len(),
        };
        let mut losses = Losses::default();
        for (at, change) in changes.iter().enumerate() {
            let lottery = if at < prefix { Lottery::of(survive) } else { Lottery::NOTHING };
            self.redo_some(*change, lottery, random, &mut losses);
        }
        self.clear_log();
        losses
    }

    /// Walks the log backwards: afterwards the cache holds what was there before it, and the
    /// arena what the log wrote. Returns the log, oldest change first.
    fn unwind(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut self.log);
        for change in changes.iter().rev() {
            match *change {
                Change::Write { offset, len, saved } => self.swap(offset, len, saved),
                Change::Resize { from, to, saved } => {
                    self.set_len(from);
                    if to < from {
                        self.cache[to..].copy_from_slice(&self.arena[saved..saved + from - to]);
                    }
                }
            }
        }
        self.log.clone_from(&changes);
        changes
    }

    /// Walks the log forwards again after [`unwind`](Self::unwind).
    fn rewind(&mut self) {
        for change in std::mem::take(&mut self.log) {
            match change {
                Change::Write { offset, len, saved } => self.swap(offset, len, saved),
                Change::Resize { to, .. } => self.set_len(to),
            }
        }
    }

    /// Applies what survives of one change. The log must be unwound.
    fn redo_some(
        &mut self,
        change: Change,
        lottery: Lottery,
        random: &mut ChaCha8Rng,
        losses: &mut Losses,
    ) {
        match change {
            Change::Resize { to, .. } if lottery.draw(random) => self.set_len(to),
            Change::Resize { .. } => losses.lost_resizes += 1,
            Change::Write { offset, len, saved } => {
                let (mut kept, mut lost) = (0, 0);
                for piece in pieces(offset, len, lottery.unit_bytes) {
                    if lottery.draw(random) {
                        kept += 1;
                        let from = saved + piece.start - offset;
                        self.put(piece.start, from, piece.len());
                    } else {
                        lost += 1;
                        losses.lost_sectors += piece.len().div_ceil(SECTOR_BYTES) as u64;
                    }
                }
                losses.lost_writes += u64::from(kept == 0 && lost > 0);
                losses.torn_writes += u64::from(kept > 0 && lost > 0);
            }
        }
    }

    fn put(&mut self, offset: usize, from: usize, len: usize) {
        if offset + len > self.cache.len() {
            // A sector past the end survives together with the length that holds it.
            self.set_len(offset + len);
        }
        self.cache[offset..offset + len].copy_from_slice(&self.arena[from..from + len]);
        self.mark_used(offset, len);
    }

    fn swap(&mut self, offset: usize, len: usize, saved: usize) {
        self.cache[offset..offset + len].swap_with_slice(&mut self.arena[saved..saved + len]);
    }

    fn set_len(&mut self, to: usize) {
        if self.cache.is_empty() {
            // Zeroed by the allocator, which costs less than writing zeros.
            self.cache = vec![0; to];
        } else {
            self.cache.resize(to, 0);
        }
        let kept = to.div_ceil(PAGE_BYTES);
        self.used.truncate(kept.div_ceil(64));
        if let Some(word) = self.used.get_mut(kept / 64) {
            *word &= (1 << (kept % 64)) - 1;
        }
    }

    fn clear_log(&mut self) {
        self.log.clear();
        self.arena.clear();
        self.used_durable.clone_from(&self.used);
        let len = self.cache.len();
        self.forgotten.retain(|page, _| page * PAGE_BYTES < len);
    }

    fn page(&self, page: usize) -> Vec<u8> {
        let start = (page * PAGE_BYTES).min(self.cache.len());
        let end = (start + PAGE_BYTES).min(self.cache.len());
        let mut bytes = self.cache[start..end].to_vec();
        bytes.resize(PAGE_BYTES, 0);
        bytes
    }

    fn show_platter(&mut self, page: usize) {
        let Some(platter) = self.forgotten.get(&page) else { return };
        let start = page * PAGE_BYTES;
        let end = (start + PAGE_BYTES).min(self.cache.len());
        if start < end {
            self.cache[start..end].copy_from_slice(&platter[..end - start]);
        }
    }

    fn is_used(&self, page: usize) -> bool {
        self.used.get(page / 64).is_some_and(|word| word & (1 << (page % 64)) != 0)
    }

    fn mark_used(&mut self, offset: usize, len: usize) {
        for page in pages(offset, len) {
            if self.used.len() <= page / 64 {
                self.used.resize(page / 64 + 1, 0);
            }
            self.used[page / 64] |= 1 << (page % 64);
        }
    }
}

/// The chance of each unit of a write.
#[derive(Clone, Copy, Debug)]
struct Lottery {
    unit_bytes: usize,
    keep_percent: u32,
}

impl Lottery {
    const NOTHING: Self = Self { unit_bytes: usize::MAX, keep_percent: 0 };

    fn of(survive: Survive) -> Self {
        match survive {
            Survive::Nothing => Self::NOTHING,
            Survive::Everything | Survive::Prefix => Self { keep_percent: 100, ..Self::NOTHING },
            Survive::Writes { keep_percent } => Self { keep_percent, ..Self::NOTHING },
            Survive::Sectors { sector_bytes, keep_percent } => {
                Self { unit_bytes: (sector_bytes as usize).max(1), keep_percent }
            }
        }
    }

    fn draw(self, random: &mut ChaCha8Rng) -> bool {
        match self.keep_percent {
            0 => false,
            100.. => true,
            percent => random.random_range(0..100) < percent,
        }
    }
}

/// The pages that a range of bytes touches.
fn pages(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / PAGE_BYTES..(offset + len).div_ceil(PAGE_BYTES)
}

/// A range of bytes, cut where units begin.
fn pieces(
    offset: usize,
    len: usize,
    unit_bytes: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = offset + len;
    let mut start = offset;
    std::iter::from_fn(move || {
        if start >= end {
            return None;
        }
        let unit_end = (start / unit_bytes).saturating_add(1).saturating_mul(unit_bytes);
        let piece = start..unit_end.min(end);
        start = piece.end;
        Some(piece)
    })
}
