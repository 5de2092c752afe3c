//! One incarnation's handle on a disk: what the core knows as a volume.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aspen_core::Volume;
use aspen_core::volume::{Durability, Job};
use redb::StorageBackend;

use super::SimDisk;
use super::failure::DiskFailure;
use super::folder::FileId;
use super::jobs::Ticket;

/// A mounted disk. It fails every operation once it is fenced, see [`SimDisk::mount`].
#[derive(Clone, Debug)]
pub struct SimVolume {
    disk: SimDisk,
    incarnation: u64,
}

/// An open file of a [`SimVolume`], as redb uses it.
pub struct SimFile {
    disk: SimDisk,
    incarnation: u64,
    file: FileId,
    _alive: Arc<()>,
}

impl SimVolume {
    pub(super) fn new(disk: SimDisk, incarnation: u64) -> Self {
        Self { disk, incarnation }
    }

    /// The disk itself.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn handle(&self, file: FileId) -> SimFile {
        let alive = self.disk.lock().file(file).handle();
        SimFile { disk: self.disk.clone(), incarnation: self.incarnation, file, _alive: alive }
    }
}

impl Volume for SimVolume {
    type Backend = SimFile;

    fn open(&self, name: &str) -> io::Result<Option<SimFile>> {
        let file = {
            let mut state = self.disk.lock();
            state.admit_read(self.incarnation)?;
            state.folder.get(name)
        };
        Ok(file.map(|file| self.handle(file)))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let file = self.disk.lock().create(self.incarnation, name)?;
        Ok(self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(self.disk.lock().rename(self.incarnation, from, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(self.disk.lock().remove(self.incarnation, name)?)
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(self.disk.lock().sync_folder(self.incarnation)?)
    }

    /// Holds a synced transaction in flight for its drawn time, then runs it inline; runs a
    /// visible one inline as soon as its turn has come. Must be awaited inside the simulation.
    ///
    /// A kill or a power failure takes the transaction away; the future is then ready. So does
    /// dropping the future. On a fenced volume the transaction runs at once, and fails.
    fn run(&self, durability: Durability, job: Job) -> impl Future<Output = ()> + Send {
        let admitted = Admitted::new(self, job);
        async move {
            match admitted {
                Ok(admitted) => admitted.run(durability).await,
                Err(job) => job(),
            }
        }
    }
}

/// A transaction in the disk's queue; dropping it takes the transaction out.
struct Admitted {
    disk: SimDisk,
    ticket: Ticket,
}

impl Admitted {
    fn new(volume: &SimVolume, job: Job) -> Result<Self, Job> {
        let mut state = volume.disk.lock();
        if state.check_alive(volume.incarnation).is_err() {
            return Err(job);
        }
        let ticket = state.jobs.push(job);
        Ok(Self { disk: volume.disk.clone(), ticket })
    }

    async fn run(self, durability: Durability) {
        std::future::poll_fn(|context| self.disk.lock().jobs.poll_turn(self.ticket, context)).await;
        if durability == Durability::Synced
            && let Some(us) = self.begin_sync()
        {
            sleep_us(us).await;
        }
        let job = self.disk.lock().begin_job(self.ticket, durability);
        if let Some(job) = job {
            job();
        }
    }

    fn begin_sync(&self) -> Option<u64> {
        let mut state = self.disk.lock();
        if !state.jobs.set_in_flight(self.ticket) {
            return None;
        }
        Some(state.draw_sync_us())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let unfinished = self.disk.lock().jobs.leave(self.ticket);
        drop(unfinished);
    }
}

/// Sleeps in virtual time; madsim's own sleep rounds up to a millisecond, a sync is shorter.
async fn sleep_us(us: u64) {
    let rounded = Duration::from_millis(1);
    let mut sleep = pin!(madsim::time::sleep(rounded));
    let now = sleep.deadline() - rounded;
    sleep.as_mut().reset(now + Duration::from_micros(us));
    sleep.await;
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.check_alive(self.incarnation)?;
        Ok(state.file(self.file).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.admit_read(self.incarnation)?;
        Ok(state.read(self.file, offset, out)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = to_memory(len)?;
        Ok(self.disk.lock().resize(self.incarnation, self.file, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.disk.lock().sync(self.incarnation, self.file)?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = to_memory(offset)?;
        Ok(self.disk.lock().write(self.incarnation, self.file, offset, data)?)
    }
}

fn to_memory(bytes: u64) -> io::Result<usize> {
    // The simulated files are in memory; what memory cannot address does not fit the disk either.
    let full = DiskFailure::Full { needed_bytes: bytes, free_bytes: u64::MAX };
    usize::try_from(bytes).map_err(|_| full.into())
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({}, incarnation {})", self.file.0, self.incarnation)
    }
}
