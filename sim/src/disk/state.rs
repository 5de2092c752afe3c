//! The disk behind its lock: who may use it, what the next operation meets, and how a life ends.
//!
//! Every operation passes [`DiskState::admit_read`] or [`DiskState::admit_change`] first: fence,
//! death, injected error, in that order. What it then does to bytes is `file`'s business, what it
//! does to names `folder`'s.

use std::collections::BTreeMap;
use std::task::Waker;

use aspen_core::volume::{Durability, Job};
use aspen_transport_sim::streams::stream;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::counters::DiskCounters;
use super::failure::DiskFailure;
use super::fault::{Death, DeathFrom, DiskConfig, IoFault, IoOperation, Lie, SlowSync};
use super::file::{FileImage, PAGE_BYTES, PageFate, SECTOR_BYTES};
use super::folder::{FileId, Folder};
use super::jobs::{JobQueue, Ticket};
use super::power::{PowerFailure, Survive};

/// How many changing operations still succeed, and how the one after them is cut.
#[derive(Clone, Copy, Debug)]
struct Countdown {
    left: u64,
    seed: u64,
}

/// What an admitted operation has to know.
pub(super) enum Step {
    /// It happens as a whole.
    Whole,
    /// The disk dies in it; the stream says how much of it happens.
    Dying(Box<ChaCha8Rng>),
}

/// Everything that a disk is.
pub(super) struct DiskState {
    config: DiskConfig,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) slow: Option<SlowSync>,
    pub(super) io_faults: Vec<IoFault>,
    lie: Option<(Lie, ChaCha8Rng)>,
    pub(super) counters: DiskCounters,
    pub(super) jobs: JobQueue,
    pub(super) folder: Folder,
    files: BTreeMap<FileId, FileImage>,
    last_file: u64,
    last_incarnation: u64,
    /// Who may use the disk: nobody between the end of one incarnation and the next mount.
    mounted: Option<u64>,
    recovering: bool,
    dead: bool,
    countdown: Option<Countdown>,
    countdown_from_mount: Option<Countdown>,
    death_wakers: Vec<Waker>,
    sync_times: ChaCha8Rng,
}

impl DiskState {
    pub(super) fn new(config: DiskConfig) -> Self {
        Self {
            config,
            capacity_bytes: config.capacity_bytes,
            slow: None,
            io_faults: Vec::new(),
            lie: None,
            counters: DiskCounters::default(),
            jobs: JobQueue::default(),
            folder: Folder::default(),
            files: BTreeMap::new(),
            last_file: 0,
            last_incarnation: 0,
            mounted: None,
            recovering: false,
            dead: false,
            countdown: None,
            countdown_from_mount: None,
            death_wakers: Vec::new(),
            sync_times: stream(config.seed, "disk sync", &[]),
        }
    }

    pub(super) fn heal(&mut self) {
        self.capacity_bytes = self.config.capacity_bytes;
        self.slow = None;
        self.lie = None;
        self.io_faults.clear();
        self.countdown = None;
        self.countdown_from_mount = None;
    }

    // How lives begin and end.

    pub(super) fn mount(&mut self) -> (u64, Vec<Job>) {
        let unfinished = self.fence();
        self.last_incarnation += 1;
        self.mounted = Some(self.last_incarnation);
        if let Some(countdown) = self.countdown_from_mount.take() {
            self.countdown = Some(countdown);
        }
        self.counters.mounts += 1;
        self.counters.recoveries += u64::from(std::mem::take(&mut self.recovering));
        self.drop_unreachable(false);
        (self.last_incarnation, unfinished)
    }

    #[must_use]
    fn fence(&mut self) -> Vec<Job> {
        self.mounted = None;
        let unfinished = self.jobs.drain();
        self.counters.jobs_dropped += unfinished.len() as u64;
        unfinished
    }

    #[must_use]
    pub(super) fn end_by_kill(&mut self) -> Vec<Job> {
        self.counters.kills += 1;
        self.end()
    }

    #[must_use]
    pub(super) fn end_by_power_failure(&mut self, failure: PowerFailure) -> Vec<Job> {
        self.counters.power_failures += 1;
        let unfinished = self.end();
        let mut random = stream(failure.seed, "disk power failure", &[]);
        let pending = self.folder.pending();
        let kept = match failure.survive {
            Survive::Nothing => 0,
            Survive::Everything => pending,
            Survive::Prefix | Survive::Writes { .. } | Survive::Sectors { .. } => {
                random.random_range(0..=pending)
            }
        };
        self.counters.lost_folder_changes += (pending - kept) as u64;
        self.folder.settle(kept);
        for file in self.files.values_mut() {
            let losses = file.settle(failure.survive, &mut random);
            self.counters.lost_writes += losses.lost_writes;
            self.counters.torn_writes += losses.torn_writes;
            self.counters.lost_sectors += losses.lost_sectors;
            self.counters.lost_resizes += losses.lost_resizes;
        }
        self.drop_unreachable(false);
        unfinished
    }

    #[must_use]
    fn end(&mut self) -> Vec<Job> {
        self.recovering |= self.mounted.is_some();
        self.dead = false;
        self.countdown = None;
        self.fence()
    }

    pub(super) fn take_in_flight(&mut self, after_operations: u64, seed: u64) -> Option<Job> {
        if self.dead {
            return None;
        }
        let job = self.jobs.take_in_flight()?;
        self.countdown = Some(Countdown { left: after_operations, seed });
        self.counters.jobs_cut += 1;
        Some(job)
    }

    /// Hands out the transaction whose turn and time have come, unless it was taken away.
    pub(super) fn begin_job(&mut self, ticket: Ticket, durability: Durability) -> Option<Job> {
        let job = self.jobs.take(ticket)?;
        match durability {
            Durability::Synced => self.counters.jobs_synced += 1,
            Durability::Visible => self.counters.jobs_visible += 1,
        }
        Some(job)
    }

    // Death.

    pub(super) fn plan_death(&mut self, death: Death) {
        let countdown = Some(Countdown { left: death.after_operations, seed: death.seed });
        match death.from {
            DeathFrom::Now => self.countdown = countdown,
            DeathFrom::NextMount => self.countdown_from_mount = countdown,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(super) fn wake_at_death(&mut self, waker: &Waker) {
        if !self.death_wakers.iter().any(|known| known.will_wake(waker)) {
            self.death_wakers.push(waker.clone());
        }
    }

    fn die(&mut self) {
        self.dead = true;
        self.countdown = None;
        self.counters.deaths += 1;
        for waker in self.death_wakers.drain(..) {
            waker.wake();
        }
    }

    // What an operation meets before it happens.

    pub(super) fn admit_read(&mut self, incarnation: u64) -> Result<(), DiskFailure> {
        self.check_alive(incarnation)?;
        self.meet_io_fault(IoOperation::Read).map_or(Ok(()), |_| {
            self.counters.read_errors += 1;
            Err(DiskFailure::Io(IoOperation::Read))
        })
    }

    /// Admits an operation that changes something, and counts it towards a planned death.
    pub(super) fn admit_change(&mut self, incarnation: u64) -> Result<Step, DiskFailure> {
        self.check_alive(incarnation)?;
        let Some(countdown) = &mut self.countdown else { return Ok(Step::Whole) };
        if countdown.left > 0 {
            countdown.left -= 1;
            return Ok(Step::Whole);
        }
        let random = stream(countdown.seed, "disk death", &[]);
        self.die();
        Ok(Step::Dying(Box::new(random)))
    }

    pub(super) fn check_alive(&mut self, incarnation: u64) -> Result<(), DiskFailure> {
        if self.mounted != Some(incarnation) {
            self.counters.fenced_operations += 1;
            return Err(DiskFailure::Fenced);
        }
        if self.dead { Err(DiskFailure::Dead) } else { Ok(()) }
    }

    fn meet_io_fault(&mut self, operation: IoOperation) -> Option<IoFault> {
        let at = self.io_faults.iter().position(|fault| fault.operation == operation)?;
        if self.io_faults[at].skip > 0 {
            self.io_faults[at].skip -= 1;
            return None;
        }
        Some(self.io_faults.remove(at))
    }

    // Bytes.

    pub(super) fn file(&self, file: FileId) -> &FileImage {
        self.files.get(&file).expect("a file lives as long as it has a name or a handle")
    }

    fn file_mut(&mut self, file: FileId) -> &mut FileImage {
        self.files.get_mut(&file).expect("a file lives as long as it has a name or a handle")
    }

    pub(super) fn read(
        &mut self,
        file: FileId,
        at: u64,
        out: &mut [u8],
    ) -> Result<(), DiskFailure> {
        let bytes = self.file(file).bytes();
        let past_end =
            DiskFailure::PastEnd { offset: at, bytes: out.len() as u64, len: bytes.len() as u64 };
        let start = usize::try_from(at).map_err(|_| past_end)?;
        let found = start.checked_add(out.len()).and_then(|end| bytes.get(start..end));
        out.copy_from_slice(found.ok_or(past_end)?);
        self.counters.reads += 1;
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        incarnation: u64,
        file: FileId,
        offset: usize,
        data: &[u8],
    ) -> Result<(), DiskFailure> {
        let step = self.admit_change(incarnation)?;
        self.meet_write_fault()?;
        self.check_space(self.file(file).new_bytes(offset, data.len()))?;
        let done = match &step {
            Step::Whole => data.len(),
            Step::Dying(random) => {
                let sectors = data.len().div_ceil(SECTOR_BYTES);
                (random.clone().random_range(0..=sectors) * SECTOR_BYTES).min(data.len())
            }
        };
        self.counters.writes += 1;
        self.counters.write_bytes += done as u64;
        self.counters.torn_writes += u64::from(done > 0 && done < data.len());
        self.file_mut(file).write(offset, &data[..done]);
        step.finish()
    }

    pub(super) fn resize(
        &mut self,
        incarnation: u64,
        file: FileId,
        to: usize,
    ) -> Result<(), DiskFailure> {
        let step = self.admit_change(incarnation)?;
        self.meet_write_fault()?;
        if to > self.file(file).len() {
            // New bytes are a hole and take no space, but a full disk has none for the hole either.
            self.check_space(if self.free_bytes() == 0 { PAGE_BYTES as u64 } else { 0 })?;
        }
        if step.happens() {
            self.counters.resizes += 1;
            self.file_mut(file).resize(to);
        }
        step.finish()
    }

    pub(super) fn sync(&mut self, incarnation: u64, file: FileId) -> Result<(), DiskFailure> {
        self.admit_change(incarnation)?.finish()?;
        if let Some(fault) = self.meet_io_fault(IoOperation::Sync) {
            let mut random = stream(fault.seed, "disk failed sync", &[]);
            let fates = [PageFate::Written, PageFate::Forgotten, PageFate::Evicted];
            let forgotten = self.file_mut(file).forget(|_| fates[random.random_range(0..3)]);
            self.counters.forgotten_pages += forgotten;
            self.counters.sync_errors += 1;
            return Err(DiskFailure::Io(IoOperation::Sync));
        }
        self.counters.syncs += 1;
        if self.lies_about(file) {
            return Ok(());
        }
        self.file_mut(file).sync();
        Ok(())
    }

    fn meet_write_fault(&mut self) -> Result<(), DiskFailure> {
        if self.meet_io_fault(IoOperation::Write).is_none() {
            return Ok(());
        }
        self.counters.write_errors += 1;
        Err(DiskFailure::Io(IoOperation::Write))
    }

    pub(super) fn set_lie(&mut self, lie: Option<Lie>) {
        self.lie = lie.map(|lie| (lie, stream(lie.seed, "disk lie", &[])));
    }

    /// Syncs a file but for one page, if the disk lies this time.
    fn lies_about(&mut self, file: FileId) -> bool {
        let Some((lie, random)) = &mut self.lie else { return false };
        if random.random_range(0..lie.one_in.max(1)) != 0 {
            return false;
        }
        let image = self.files.get_mut(&file).expect("the caller holds a handle");
        let dirty: Vec<usize> = image.dirty_pages().into_iter().collect();
        if dirty.is_empty() {
            return false;
        }
        let victim = dirty[random.random_range(0..dirty.len())];
        self.counters.forgotten_pages += image
            .forget(|page| if page == victim { PageFate::Forgotten } else { PageFate::Written });
        true
    }

    // Space.

    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().map(FileImage::used_bytes).sum()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.capacity_bytes else { return u64::MAX };
        let page = PAGE_BYTES as u64;
        capacity.saturating_sub(self.used_bytes()) / page * page
    }

    fn check_space(&mut self, needed_bytes: u64) -> Result<(), DiskFailure> {
        if self.capacity_bytes.is_none() || needed_bytes == 0 {
            return Ok(());
        }
        let free_bytes = self.free_bytes();
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        self.counters.full_hits += 1;
        Err(DiskFailure::Full { needed_bytes, free_bytes })
    }

    // Names.

    pub(super) fn create(&mut self, incarnation: u64, name: &str) -> Result<FileId, DiskFailure> {
        let step = self.admit_change(incarnation)?;
        self.last_file += 1;
        let file = FileId(self.last_file);
        if step.happens() {
            self.files.insert(file, FileImage::default());
            self.folder.create(name, file);
        }
        step.finish().map(|()| file)
    }

    pub(super) fn rename(
        &mut self,
        incarnation: u64,
        from: &str,
        to: &str,
    ) -> Result<(), DiskFailure> {
        self.check_alive(incarnation)?;
        self.folder.get(from).ok_or(DiskFailure::NoSuchFile)?;
        let step = self.admit_change(incarnation)?;
        if step.happens() {
            self.folder.rename(from, to);
        }
        step.finish()
    }

    pub(super) fn remove(&mut self, incarnation: u64, name: &str) -> Result<(), DiskFailure> {
        let step = self.admit_change(incarnation)?;
        if step.happens() {
            self.folder.remove(name);
        }
        step.finish()
    }

    pub(super) fn sync_folder(&mut self, incarnation: u64) -> Result<(), DiskFailure> {
        self.admit_change(incarnation)?.finish()?;
        if self.meet_io_fault(IoOperation::Sync).is_some() {
            self.counters.sync_errors += 1;
            return Err(DiskFailure::Io(IoOperation::Sync));
        }
        self.counters.folder_syncs += 1;
        self.folder.sync();
        self.drop_unreachable(true);
        Ok(())
    }

    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let read = |(name, file): (&str, FileId)| (name.to_owned(), self.file(file).bytes().into());
        self.folder.names().map(read).collect()
    }

    /// Drops the files that no name leads to. An open handle keeps its file only while its
    /// incarnation lives: a fenced handle may linger, and shows nothing any more.
    fn drop_unreachable(&mut self, handles_live: bool) {
        let reachable = self.folder.reachable();
        let is_kept = |image: &FileImage| handles_live && image.is_open();
        self.files.retain(|file, image| reachable.contains(file) || is_kept(image));
    }

    // Time.

    /// Draws how long the sync of the transaction that begins now takes, in microseconds.
    pub(super) fn draw_sync_us(&mut self) -> u64 {
        let DiskConfig { sync_us_min, sync_us_max, .. } = self.config;
        let drawn = self.sync_times.random_range(sync_us_min..=sync_us_max.max(sync_us_min));
        let Some(slow) = self.slow else { return drawn };
        self.counters.slow_syncs += 1;
        drawn.saturating_mul(slow.factor).saturating_add(slow.extra_us)
    }
}

impl Step {
    /// Whether an operation that cannot be cut happens: a dying disk tosses a coin.
    fn happens(&self) -> bool {
        match self {
            Step::Whole => true,
            Step::Dying(random) => random.clone().random_range(0..2) == 1,
        }
    }

    fn finish(self) -> Result<(), DiskFailure> {
        match self {
            Step::Whole => Ok(()),
            Step::Dying(_) => Err(DiskFailure::Dead),
        }
    }
}
