//! The folder that a node lives in: its lock, its identity, and whether it may come up on it.
//!
//! ```text
//! lock            held by the running process
//! identity.json   who lives here: node, cluster, secret key, and the format of the folder
//! aspen.redb      the storage's database
//! aspen.journal   its last small appends
//! found.json      where other nodes were found, if not where the membership says
//! sync-failed     there after a sync failed: in which boot of the machine
//! recovering      there while `aspen-node recover` changes the folder
//! ```
//!
//! The identity is what makes a folder a node's. A folder that is filled from a backup gets it last,
//! so that no node comes up on half of one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use aspen_core::NodeId;
use aspen_transport_iroh::SecretKey;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The format of the folder that this build writes, and the newest that it reads. In 2 the log's last
/// entries may be in a journal; a folder of format 1 gets one.
const FORMAT: u32 = 2;
const LOCK: &str = "lock";
pub(crate) const IDENTITY: &str = "identity.json";
/// What a first start that is cut short leaves.
pub(crate) const UNFINISHED_IDENTITY: &str = "identity.json.new";
const SYNC_FAILED: &str = "sync-failed";
const RECOVERING: &str = "recovering";
/// Linux tells here which boot of the machine this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the node may not come up on a folder.
#[derive(Debug, thiserror::Error)]
#[error("data folder {}: {problem}", folder.display())]
pub struct DataFolderError {
    folder: PathBuf,
    problem: String,
}

/// A folder that this process alone has.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    secret_key: SecretKey,
    /// Unlocked when the process ends, however it does.
    _lock: File,
}

/// Who lives in a folder.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The node.
    pub node: NodeId,
    /// The name of its cluster.
    pub cluster: String,
    /// Whether a recovery of it was cut short.
    pub recovering: bool,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    node_id: NodeId,
    cluster: String,
    secret_key: String,
}

/// The name of the cluster that has a cookie. It tells nothing of the cookie.
pub fn cluster_name(cookie: &[u8]) -> String {
    HEXLOWER.encode(&blake3::derive_key("aspen 2026-11 name of a cluster", cookie)[..16])
}

impl DataFolder {
    /// Takes the folder for a node of a cluster. An empty one, or none, becomes that node's.
    ///
    /// # Errors
    /// [`DataFolderError`] when another process has it, when it belongs to another node or cluster,
    /// when its format is newer than this build, or when a sync failed since the machine booted.
    pub fn take(path: &Path, node: NodeId, cluster: &str) -> Result<Self, DataFolderError> {
        let error = |problem: String| DataFolderError { folder: path.to_owned(), problem };
        let system = |failed: io::Error| error(failed.to_string());
        let has_identity = path.join(IDENTITY).exists();
        let lock = if has_identity { lock(path) } else { lock_empty(path) }.map_err(error)?;
        if !has_identity {
            let key = SecretKey::generate();
            Identity::new(node, cluster, &key).write(path).map_err(system)?;
        }
        let identity = Identity::read(path).map_err(error)?;
        let secret_key = identity.check(node, cluster).map_err(error)?;
        if path.join(RECOVERING).exists() {
            let half = "a recovery of it was cut short; run `aspen-node recover` on it once more";
            return Err(error(half.to_owned()));
        }
        let folder = Self { path: path.to_owned(), secret_key, _lock: lock };
        folder.check_syncs().map_err(error)?;
        folder.raise_format(&identity).map_err(system)?;
        Ok(folder)
    }

    /// Takes an empty folder, or makes one, to fill it for a new node. Until
    /// [`give_to`](DataFolder::give_to) it is nobody's.
    ///
    /// # Errors
    /// [`DataFolderError`] when there is anything in it.
    pub fn take_empty(path: &Path) -> Result<Self, DataFolderError> {
        let error = |problem: String| DataFolderError { folder: path.to_owned(), problem };
        if path.join(IDENTITY).exists() {
            let node = Identity::read(path).map_err(error)?.node_id;
            return Err(error(format!("it belongs to node {node}; expected an empty folder")));
        }
        let lock = lock_empty(path).map_err(error)?;
        Ok(Self { path: path.to_owned(), secret_key: SecretKey::generate(), _lock: lock })
    }

    /// Makes a filled folder a node's.
    ///
    /// # Errors
    /// The system's own.
    pub fn give_to(&self, node: NodeId, cluster: &str) -> io::Result<()> {
        Identity::new(node, cluster, &self.secret_key).write(&self.path)
    }

    /// Takes the folder of a node that does not run, for a recovery.
    ///
    /// # Errors
    /// [`DataFolderError`] when it is no node's, when another process has it, or when a sync failed
    /// since the machine booted.
    pub fn take_stopped(path: &Path) -> Result<(Self, Resident), DataFolderError> {
        let error = |problem: String| DataFolderError { folder: path.to_owned(), problem };
        // First, so that no lock is left in a folder that is no node's.
        Identity::read(path).map_err(error)?;
        let lock = lock(path).map_err(error)?;
        let identity = Identity::read(path).map_err(error)?;
        let secret_key = identity.check(identity.node_id, &identity.cluster).map_err(error)?;
        let recovering = path.join(RECOVERING).exists();
        let resident = Resident { node: identity.node_id, cluster: identity.cluster, recovering };
        let folder = Self { path: path.to_owned(), secret_key, _lock: lock };
        folder.check_syncs().map_err(error)?;
        Ok((folder, resident))
    }

    /// Notes that the folder is being changed: no node comes up on it before
    /// [`end_recovery`](DataFolder::end_recovery).
    ///
    /// # Errors
    /// The system's own.
    pub fn begin_recovery(&self) -> io::Result<()> {
        write_whole(&self.path, RECOVERING, &"by `aspen-node recover`")
    }

    /// Gives the node that lives here to another cluster, and lets it come up again.
    ///
    /// # Errors
    /// The system's own.
    pub fn end_recovery(&self, node: NodeId, cluster: &str) -> io::Result<()> {
        self.give_to(node, cluster)?;
        fs::remove_file(self.path.join(RECOVERING))?;
        File::open(&self.path)?.sync_all()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's identity in the network.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// Notes whether a sync failed, as well as that is possible on a disk that fails.
    ///
    /// # Errors
    /// The system's own.
    pub fn note_syncs(&self, failed: &AtomicBool) -> io::Result<()> {
        if failed.load(Ordering::Relaxed) {
            write_whole(&self.path, SYNC_FAILED, &boot())?;
        }
        Ok(())
    }

    /// Keeps older builds away from what this one is about to write.
    fn raise_format(&self, identity: &Identity) -> io::Result<()> {
        if identity.format == FORMAT {
            return Ok(());
        }
        self.give_to(identity.node_id, &identity.cluster)
    }

    fn check_syncs(&self) -> Result<(), String> {
        let marker = self.path.join(SYNC_FAILED);
        match fs::read(&marker) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!("{SYNC_FAILED}: {error}")),
            Ok(bytes) if serde_json::from_slice::<String>(&bytes).is_ok_and(|it| it != boot()) => {
                fs::remove_file(&marker).map_err(|error| format!("{SYNC_FAILED}: {error}"))
            }
            Ok(_) => Err("a sync of it failed since the machine booted, so what the system has \
                          cached of it may be on no disk; reboot the machine, or replace the node"
                .to_owned()),
        }
    }
}

/// What tells this boot of the machine from the others; the same for all where nothing tells.
fn boot() -> String {
    fs::read_to_string(BOOT_ID).map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// Makes the folder if there is none, and locks it if there is nothing in it but what a first start
/// that was cut short has left.
fn lock_empty(path: &Path) -> Result<File, String> {
    let system = |failed: io::Error| failed.to_string();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(system)?;
    if let Some(name) = something_in(path).map_err(system)? {
        return Err(format!(
            "there is a `{name}` and no {IDENTITY}; expected a node's folder or an empty one"
        ));
    }
    let lock = lock(path)?;
    // Who had the lock meanwhile may have filled it.
    match something_in(path).map_err(system)? {
        Some(name) => Err(format!("another process has just made a `{name}` in it")),
        None => Ok(lock),
    }
}

/// A file in the folder that no first start leaves when it is cut short.
fn something_in(path: &Path) -> io::Result<Option<String>> {
    let left = |name: &OsStr| name == LOCK || name == UNFINISHED_IDENTITY;
    let mut names = fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.file_name());
    Ok(names.find(|name| !left(name)).map(|name| name.to_string_lossy().into_owned()))
}

fn lock(path: &Path) -> Result<File, String> {
    let lock = File::create(path.join(LOCK)).map_err(|failed| failed.to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err("another process is using it".to_owned()),
        Err(TryLockError::Error(failed)) => Err(failed.to_string()),
    }
}

fn read_identity(text: &[u8]) -> Result<Identity, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |error: serde_json::Error| format!("{IDENTITY}: {error}");
    let Format { format } = serde_json::from_slice(text).map_err(unreadable)?;
    if format > FORMAT {
        return Err(format!(
            "its format is {format}, and this build reads formats up to {FORMAT}; a newer \
             aspen-node wrote it"
        ));
    }
    serde_json::from_slice(text).map_err(unreadable)
}

impl Identity {
    fn new(node: NodeId, cluster: &str, key: &SecretKey) -> Self {
        let (cluster, secret_key) = (cluster.to_owned(), HEXLOWER.encode(&key.to_bytes()));
        Self { format: FORMAT, node_id: node, cluster, secret_key }
    }

    fn read(folder: &Path) -> Result<Self, String> {
        let text = fs::read(folder.join(IDENTITY));
        read_identity(&text.map_err(|failed| format!("{IDENTITY}: {failed}"))?)
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        write_whole(folder, IDENTITY, self)
    }

    fn check(&self, node: NodeId, cluster: &str) -> Result<SecretKey, String> {
        if self.node_id != node {
            return Err(format!("it belongs to node {}, not to node {node}", self.node_id));
        }
        if self.cluster != cluster {
            return Err("it belongs to another cluster, which has another cookie".to_owned());
        }
        let key = HEXLOWER.decode(self.secret_key.as_bytes()).ok();
        let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
        let key = key.ok_or_else(|| format!("{IDENTITY}: `secret_key` is no key"))?;
        Ok(SecretKey::from_bytes(&key))
    }
}

/// A file is there whole or not at all, and nobody else may read it.
pub(crate) fn write_whole(folder: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "c0ffee";

    fn refused(path: &Path, node: u64, cluster: &str) -> String {
        DataFolder::take(path, NodeId(node), cluster).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_one_nodes_and_one_clusters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let taken = DataFolder::take(&path, NodeId(1), CLUSTER).unwrap();
        assert!(refused(&path, 1, CLUSTER).contains("another process is using it"));
        let key = taken.secret_key().to_bytes();
        drop(taken);
        assert!(refused(&path, 2, CLUSTER).contains("it belongs to node 1, not to node 2"));
        assert!(refused(&path, 1, "decaf").contains("another cluster"));
        let again = DataFolder::take(&path, NodeId(1), CLUSTER).unwrap();
        assert_eq!(again.secret_key().to_bytes(), key);
    }

    #[test]
    fn what_is_no_nodes_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letters.txt"), "dear").unwrap();
        assert!(refused(folder.path(), 1, CLUSTER).contains("there is a `letters.txt`"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_made_once_more() {
        for left in [&[UNFINISHED_IDENTITY][..], &[UNFINISHED_IDENTITY, LOCK]] {
            let folder = tempfile::tempdir().unwrap();
            for name in left {
                fs::write(folder.path().join(name), "{").unwrap();
            }
            let taken = DataFolder::take(folder.path(), NodeId(1), CLUSTER).unwrap();
            assert!(!folder.path().join(UNFINISHED_IDENTITY).exists());
            drop(taken);
            DataFolder::take(folder.path(), NodeId(1), CLUSTER).unwrap();
        }
    }

    #[test]
    fn a_restore_that_was_cut_short_stays_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["aspen.redb", LOCK, UNFINISHED_IDENTITY] {
            fs::write(folder.path().join(name), "{").unwrap();
        }
        assert!(refused(folder.path(), 1, CLUSTER).contains("there is a `aspen.redb`"));
        let empty = DataFolder::take_empty(folder.path()).unwrap_err().to_string();
        assert!(empty.contains("there is a `aspen.redb`"), "{empty}");
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(IDENTITY), r#"{"format": 3, "soul": true}"#).unwrap();
        assert!(refused(folder.path(), 1, CLUSTER).contains("its format is 3"));
        fs::write(folder.path().join(IDENTITY), "{").unwrap();
        assert!(refused(folder.path(), 1, CLUSTER).contains("identity.json: EOF"));
    }

    #[test]
    fn an_older_format_is_raised_and_stays_the_same_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::generate();
        let older = Identity { format: 1, ..Identity::new(NodeId(1), CLUSTER, &key) };
        older.write(folder.path()).unwrap();
        let taken = DataFolder::take(folder.path(), NodeId(1), CLUSTER).unwrap();
        assert_eq!(taken.secret_key().to_bytes(), key.to_bytes());
        assert_eq!(Identity::read(folder.path()).unwrap().format, FORMAT);
    }

    #[test]
    fn after_a_failed_sync_it_takes_a_reboot() {
        let folder = tempfile::tempdir().unwrap();
        let taken = DataFolder::take(folder.path(), NodeId(1), CLUSTER).unwrap();
        taken.note_syncs(&AtomicBool::new(false)).unwrap();
        assert!(!folder.path().join(SYNC_FAILED).exists());
        taken.note_syncs(&AtomicBool::new(true)).unwrap();
        drop(taken);
        assert!(refused(folder.path(), 1, CLUSTER).contains("reboot the machine"));
        fs::write(folder.path().join(SYNC_FAILED), "\"an earlier boot\"").unwrap();
        let taken = DataFolder::take(folder.path(), NodeId(1), CLUSTER).unwrap();
        assert!(!taken.path().join(SYNC_FAILED).exists());
    }
}
