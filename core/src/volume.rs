//! The third seam: files, and the place where a storage transaction runs.
//!
//! redb, and the journal beside it, read and write through the [`StorageBackend`]s that a volume hands
//! out. The volume also decides **where** a transaction runs ([`Volume::run`]): production gives it to the storage
//! thread; the simulated disk holds it in flight for the time that its sync takes and then runs
//! it inline, so that a power failure can land in the middle of it. That is a property of the
//! disk, which is why it is here and not in `Runtime`.

use std::future::Future;
use std::io;

use redb::StorageBackend;

/// One storage transaction, ready to run. It reports its outcome through channels of its own.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a transaction asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The transaction ends with a sync.
    Synced,
    /// The transaction is visible at once and becomes durable with the next synced one.
    Visible,
}

/// A folder on a disk. One node owns it; every name in it is the node's.
pub trait Volume: Send + Sync + 'static {
    /// A file, as redb uses it.
    type Backend: StorageBackend;

    /// Opens a file, or says that there is none of that name.
    ///
    /// # Errors
    /// The disk's own.
    fn open(&self, name: &str) -> io::Result<Option<Self::Backend>>;

    /// Creates an empty file, in place of an older one of that name.
    ///
    /// # Errors
    /// The disk's own.
    fn create(&self, name: &str) -> io::Result<Self::Backend>;

    /// Gives a file another name, in place of an older one of that name. Atomic; durable after
    /// [`sync_folder`](Volume::sync_folder).
    ///
    /// # Errors
    /// The disk's own.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, if there is one of that name. Durable after
    /// [`sync_folder`](Volume::sync_folder).
    ///
    /// # Errors
    /// The disk's own.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The disk's own.
    fn sync_folder(&self) -> io::Result<()>;

    /// Runs one transaction to its end. Transactions run one at a time, in the order of the calls.
    fn run(&self, durability: Durability, job: Job) -> impl Future<Output = ()> + Send;
}
