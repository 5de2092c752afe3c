//! The node's folder as a [`Volume`]: real files, and one thread on which transactions run.
//!
//! The thread takes transactions in the order in which they were asked for. A file that could not
//! be synced once is remembered: what the page cache lost then, no later sync brings back, so the
//! node must not come up again on this folder before the machine has rebooted.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use aspen_core::Volume;
use aspen_core::volume::{Durability, Job};
use redb::StorageBackend;
use redb::backends::FileBackend;
use tokio::sync::oneshot;

/// A folder of the machine's own file system.
pub struct FolderVolume {
    folder: PathBuf,
    transactions: Sender<(Job, oneshot::Sender<()>)>,
    sync_failed: Arc<AtomicBool>,
    observer: SyncObserver,
}

/// Hears how long each sync of the storage took: of its database, and of its journal.
pub type SyncObserver = Arc<dyn Fn(Duration) + Send + Sync>;

impl FolderVolume {
    /// The volume in an existing folder, with its thread.
    ///
    /// # Errors
    /// The system's, when it has no thread to give.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let (transactions, asked) = channel::<(Job, oneshot::Sender<()>)>();
        std::thread::Builder::new().name("storage".to_owned()).spawn(move || {
            for (job, done) in asked {
                job();
                // Whoever asked may be gone with its runtime.
                let _ = done.send(());
            }
        })?;
        let (sync_failed, observer): (_, SyncObserver) = (Arc::default(), Arc::new(|_| {}));
        Ok(Self { folder: folder.to_owned(), transactions, sync_failed, observer })
    }

    /// Tells how long each sync of the storage takes.
    #[must_use]
    pub fn observed_by(self, observer: SyncObserver) -> Self {
        Self { observer, ..self }
    }

    /// Tells, also after the volume is gone, whether a sync has failed.
    pub fn sync_failed(&self) -> Arc<AtomicBool> {
        self.sync_failed.clone()
    }

    fn backend(&self, file: File) -> io::Result<Backend> {
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        let (sync_failed, observer) = (self.sync_failed.clone(), self.observer.clone());
        Ok(Backend { file, sync_failed, observer })
    }
}

impl Volume for FolderVolume {
    type Backend = Backend;

    fn open(&self, name: &str) -> io::Result<Option<Backend>> {
        match OpenOptions::new().read(true).write(true).open(self.folder.join(name)) {
            Ok(file) => self.backend(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Backend> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        self.backend(options.open(self.folder.join(name))?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.inspect_err(|_| self.sync_failed.store(true, Ordering::Relaxed))
    }

    async fn run(&self, _durability: Durability, job: Job) {
        let (done, finished) = oneshot::channel();
        // Neither fails before the thread has panicked, and then the job's own channels tell.
        let _ = self.transactions.send((job, done));
        let _ = finished.await;
    }
}

/// A file that remembers that it could not be synced.
pub struct Backend {
    file: FileBackend,
    sync_failed: Arc<AtomicBool>,
    observer: SyncObserver,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        let synced = self.file.sync_data();
        (self.observer)(begun.elapsed());
        synced.inspect_err(|_| self.sync_failed.store(true, Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
