//! What the tests say to a storage, in few words.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use aspen_core::command::{Command, Proposal, SessionId, SessionStamp};
use aspen_core::storage::{
    self, LogStore, StateMachine, Storage, StorageConfig, StorageError, Store,
};
use aspen_core::types::{CommittedLeaderId, Entry, LogId, Vote};
use aspen_core::volume::{Durability, Job};
use aspen_core::{LogTime, RaftConfig, Volume};
use aspen_tests::file_volume::FileVolume;
use aspen_transport_sim::SimRuntime;
use bytes::Bytes;
use openraft::alias::OneshotReceiverOf;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader};
use redb::backends::FileBackend;
use tempfile::TempDir;

pub(crate) type Config = RaftConfig<SimRuntime>;

/// How many applied entries a storage of these tests gathers before an append takes them along.
pub(crate) const FLUSH_AFTER: u64 = 10;
pub(crate) const CONFIG: StorageConfig =
    StorageConfig { flush_after_entries: FLUSH_AFTER, journal_bytes: 4 << 10 };

/// A file volume that writes down what it ran, and that can be held and made to refuse.
pub(crate) struct Watched {
    inner: FileVolume,
    pub(crate) control: Arc<Mutex<Control>>,
}

#[derive(Default)]
pub(crate) struct Control {
    /// What ran so far.
    pub(crate) ran: Vec<Durability>,
    /// How many transactions may still run; `None`: all.
    pub(crate) allowed: Option<usize>,
    /// Drop transactions instead of running them.
    pub(crate) refuse: bool,
}

impl Volume for Watched {
    type Backend = FileBackend;

    fn open(&self, name: &str) -> std::io::Result<Option<FileBackend>> {
        self.inner.open(name)
    }
    fn create(&self, name: &str) -> std::io::Result<FileBackend> {
        self.inner.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_folder(&self) -> std::io::Result<()> {
        self.inner.sync_folder()
    }

    async fn run(&self, durability: Durability, job: Job) {
        while !self.may_run() {
            Config::sleep(Duration::from_millis(1)).await;
        }
        if self.control.lock().unwrap().refuse {
            return drop(job);
        }
        self.inner.run(durability, job).await;
        self.control.lock().unwrap().ran.push(durability);
    }
}

impl Watched {
    fn may_run(&self) -> bool {
        match &mut self.control.lock().unwrap().allowed {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// A storage in a folder of its own.
pub(crate) struct Bench {
    pub(crate) log: LogStore<SimRuntime>,
    pub(crate) machine: StateMachine<SimRuntime>,
    pub(crate) store: Store<SimRuntime>,
    pub(crate) control: Arc<Mutex<Control>>,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    pub(crate) fn open(folder: TempDir) -> Self {
        let control = Arc::new(Mutex::new(Control::default()));
        let inner = FileVolume::new(folder.path());
        let volume = Watched { inner, control: control.clone() };
        let storage = storage::open::<SimRuntime, _>(Arc::new(volume), &CONFIG).unwrap();
        let Storage { log, machine, store } = storage;
        Self { log, machine, store, control, folder }
    }

    /// The storage after a kill: opened from a copy of the folder as it is at this moment.
    pub(crate) fn crash(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        Self::open(folder)
    }

    /// The storage after an orderly restart.
    pub(crate) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        Self::open(self.folder)
    }

    /// Appends and waits until it is durable.
    pub(crate) async fn append(&mut self, entries: Vec<Entry>) -> std::io::Result<()> {
        let (callback, receiver) = flushed();
        self.log.append(entries, callback).await?;
        receiver.await.unwrap()
    }

    /// Makes durable what is only visible yet: a vote goes to the database, not to the journal.
    pub(crate) async fn sync_database(&mut self) {
        self.log.save_vote(&Vote::new(1, 1.into())).await.unwrap();
    }

    /// Applies, and waits until it is visible.
    pub(crate) async fn apply(&mut self, entries: Vec<Entry>) -> std::io::Result<()> {
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        self.machine.apply(futures_util::stream::iter(entries)).await
    }

    /// The indexes and terms that the log holds.
    pub(crate) async fn read_log(&mut self) -> Vec<(u64, u64)> {
        let entries = self.log.try_get_log_entries(..).await.unwrap();
        entries.iter().map(|entry| (entry.log_id.index, entry.log_id.leader_id.term)).collect()
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let value = self.store.get(key.as_bytes()).unwrap()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    pub(crate) fn ran(&self) -> Vec<Durability> {
        self.control.lock().unwrap().ran.clone()
    }

    /// The digest of content and state after the last entry applied.
    pub(crate) fn digests(&self) -> (u64, u64) {
        let last = self.store.applied().unwrap().index;
        let digests = self.store.digests(last..=last);
        let (_, digests) = digests.last().expect("the current digest is always there");
        (digests.content, digests.state)
    }

    /// Lets the writer do what it does when nobody asks for anything.
    pub(crate) async fn idle(&self) {
        Config::sleep(Duration::from_secs(1)).await;
    }

    /// The database without its journal, as a crash at this moment would leave it, and where the
    /// copy is.
    pub(crate) fn copied_database(&self) -> (TempDir, redb::Database) {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let database = redb::Database::open(folder.path().join(storage::DATABASE)).unwrap();
        (folder, database)
    }

    /// The names of the tables in the file, as a crash at this moment would leave them.
    pub(crate) fn tables(&self) -> Vec<String> {
        use redb::{ReadableDatabase, TableHandle};
        let (_copy, database) = self.copied_database();
        let txn = database.begin_read().unwrap();
        txn.list_tables().unwrap().map(|table| table.name().to_owned()).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Runs a test's future in a simulation of its own.
pub(crate) fn simulate<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    if let Err(panic) = aspen_transport_sim::run_isolated(1, test) {
        panic!("{panic}");
    }
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId { term }, index)
}

pub(crate) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

pub(crate) fn blanks(term: u64, indexes: std::ops::Range<u64>) -> Vec<Entry> {
    indexes.map(|index| blank(term, index)).collect()
}

/// An entry of term 1 whose proposal carries its index as its time.
pub(crate) fn normal(index: u64, stamp: Option<(u64, u64)>, command: Command) -> Entry {
    let stamp =
        stamp.map(|(session, sequence)| SessionStamp { session: SessionId(session), sequence });
    let proposal = Proposal { time: LogTime::from_ms(index), stamp, command };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(proposal) }
}

pub(crate) fn set(index: u64, key: &str, value: &str) -> Entry {
    let (key, value) = (text(key), text(value));
    normal(index, None, Command::Set { key, value })
}

pub(crate) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The storage error inside an I/O error.
pub(crate) fn storage_error(error: &std::io::Error) -> &StorageError {
    let inner = error.get_ref().expect("an error of the storage");
    inner.downcast_ref().expect("an error of the storage")
}

/// A callback for an append, and where its result arrives.
pub(crate) fn flushed() -> (IOFlushed<Config>, OneshotReceiverOf<Config, std::io::Result<()>>) {
    let (sender, receiver) = Config::oneshot();
    (IOFlushed::signal(sender), receiver)
}
