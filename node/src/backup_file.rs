//! A backup as a file.
//!
//! ```text
//! one line of JSON     what it is and what it covers: Header
//! length, chunk        as often as there are chunks: four bytes, little-endian, and a snapshot's chunk
//! 0, hash              four zero bytes, and BLAKE3 over everything in front of it
//! ```
//!
//! Each chunk carries its own checksum over its bytes and its place, and the last one the counts and
//! digests of all rows; the hash covers the line and the lengths as well. Whoever reads a backup
//! checks all of it before anything is made of it.
//!
//! A file is written under a temporary name, synced and renamed: under its own name it is whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aspen_core::NodeId;
use aspen_core::limits::MESSAGE_BYTES_MAX;
use aspen_core::storage::SnapshotCheck;
use aspen_core::types::SnapshotMeta;
use aspen_transport_iroh::ClientSecret;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// Longest first line.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const HASH_BYTES: usize = 32;

/// The first line of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The format of the file.
    #[serde(rename = "aspen-backup")]
    pub format: u32,
    /// Which cluster it is of: [`cluster_mark`].
    pub cluster: String,
    /// The node that sent it.
    pub node: NodeId,
    /// What it covers: the last entry, and the membership by then.
    pub snapshot: SnapshotMeta,
}

/// What tells the cluster of a backup from others; nothing of the secret can be had from it.
pub fn cluster_mark(secret: &ClientSecret) -> String {
    HEXLOWER.encode(&blake3::derive_key("aspen 2026-11 cluster of a backup", &secret.0)[..16])
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct BackupFileError {
    path: PathBuf,
    problem: String,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Keys.
    pub keys: u64,
    /// Sessions.
    pub sessions: u64,
    /// The file's length.
    pub bytes: u64,
}

/// A backup that is being written.
pub struct BackupWriter {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    check: SnapshotCheck,
    bytes: u64,
    renamed: bool,
}

impl BackupWriter {
    /// Begins a backup that will have this name.
    ///
    /// # Errors
    /// When something else than a file has the name, or another backup is writing it; the system's,
    /// when no file can be made there.
    pub fn create(path: &Path) -> Result<Self, BackupFileError> {
        let error = |problem: String| BackupFileError { path: path.to_owned(), problem };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        for name in [path, &unfinished] {
            if !is_free_or_file(name).map_err(|failed| error(failed.to_string()))? {
                let of = if name == path { "it" } else { "its FILE.new" };
                return Err(error(format!("{of} is no regular file")));
            }
        }
        let file = open_alone(&unfinished).map_err(error)?;
        let (hasher, check) = (blake3::Hasher::new(), SnapshotCheck::default());
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        Ok(Self { path, unfinished, file, hasher, check, bytes: 0, renamed: false })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Writes the first line.
    ///
    /// # Errors
    /// The system's.
    pub fn header(
        &mut self,
        cluster: String,
        node: NodeId,
        snapshot: SnapshotMeta,
    ) -> io::Result<()> {
        let header = Header { format: FORMAT, cluster, node, snapshot };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// Writes the next chunk, once it is checked.
    ///
    /// # Errors
    /// What is wrong with the chunk, and the system's.
    pub fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.check.take(chunk)?;
        self.write(&(chunk.len() as u32).to_le_bytes())?;
        self.write(chunk)
    }

    /// Ends the file, makes it durable, and gives it its name.
    ///
    /// # Errors
    /// When the last chunk did not come, and the system's.
    pub fn finish(mut self) -> io::Result<Counts> {
        if !self.check.is_whole() {
            return Err(io::Error::other("the node ended before the last chunk"));
        }
        self.write(&0_u32.to_le_bytes())?;
        let hash = self.hasher.finalize();
        self.write(hash.as_bytes())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.unfinished, &self.path)?;
        self.renamed = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        let (keys, sessions) = self.check.counts();
        Ok(Counts { keys, sessions, bytes: self.bytes })
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.renamed {
            // Where it cannot be removed, its name says that it is not finished.
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

/// Whether a file can have this name: nothing has it yet, or a file that the next one replaces.
fn is_free_or_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(failed) if failed.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(failed) => Err(failed),
    }
}

/// Opens the file for this process alone, and empties it.
fn open_alone(path: &Path) -> Result<File, String> {
    let system = |failed: io::Error| failed.to_string();
    let mut options = OpenOptions::new();
    // What is in it may be another backup's; and nobody else may read it: it holds every key.
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(system)?;
    lock(&file, path)?;
    file.set_len(0).map_err(system)?;
    Ok(file)
}

/// Locks an open file that still has this name.
fn lock(file: &File, path: &Path) -> Result<(), String> {
    let taken = || "another backup is writing it".to_owned();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken()),
        Err(TryLockError::Error(failed)) => return Err(failed.to_string()),
    }
    // The other one may have ended since the file was opened: then it is that one's whole backup.
    let inode = |of: &fs::Metadata| (of.dev(), of.ino());
    let locked = file.metadata().map_err(|failed| failed.to_string())?;
    let named = fs::symlink_metadata(path);
    if named.is_ok_and(|named| inode(&named) == inode(&locked)) { Ok(()) } else { Err(taken()) }
}

/// A backup that is being read.
pub struct BackupReader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    bytes: u64,
    header: Header,
}

impl BackupReader {
    /// Opens a backup.
    ///
    /// # Errors
    /// The system's; a file that is no backup, or one of a newer format.
    pub fn open(path: &Path) -> Result<Self, BackupFileError> {
        let error = |problem: String| BackupFileError { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|failed| error(failed.to_string()))?;
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        let read = file.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|failed| error(failed.to_string()))?;
        let header = header(&line).map_err(error)?;
        let (path, bytes) = (path.to_owned(), line.len() as u64);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&line);
        Ok(Self { path, file, hasher, bytes, header })
    }

    /// Its first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Checks every byte of a backup.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(mut self) -> Result<(Header, Counts), BackupFileError> {
        let mut check = SnapshotCheck::default();
        let checked = loop {
            match self.read_chunk() {
                Ok(Some(chunk)) => {
                    if let Err(wrong) = check.take(&chunk) {
                        break Err(wrong.to_string());
                    }
                }
                Ok(None) => break Ok(()),
                Err(problem) => break Err(problem),
            }
        };
        let (keys, sessions) = check.counts();
        let whole = checked.and_then(|()| check.finish().map_err(|wrong| wrong.to_string()));
        whole.map_err(|problem| BackupFileError { path: self.path.clone(), problem })?;
        Ok((self.header, Counts { keys, sessions, bytes: self.bytes }))
    }

    /// The next chunk, or `None` after the last.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.read_chunk().map_err(|problem| {
            io::Error::other(BackupFileError { path: self.path.clone(), problem })
        })
    }

    fn read_chunk(&mut self) -> Result<Option<Bytes>, String> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MESSAGE_BYTES_MAX {
            let at = self.bytes - 4;
            return Err(format!("damaged at byte {at}: no chunk has {length} bytes"));
        }
        if length > 0 {
            let mut chunk = vec![0; length];
            self.read(&mut chunk)?;
            return Ok(Some(chunk.into()));
        }
        let computed = self.hasher.finalize();
        let mut stored = [0; HASH_BYTES];
        self.read(&mut stored)?;
        if computed != blake3::Hash::from_bytes(stored) {
            return Err("damaged: its hash does not fit its bytes".to_owned());
        }
        match self.file.fill_buf() {
            Ok([]) => Ok(None),
            Ok(_) => Err(format!("damaged: something follows its end at byte {}", self.bytes)),
            Err(failed) => Err(failed.to_string()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), String> {
        self.file.read_exact(into).map_err(|failed| {
            if failed.kind() == io::ErrorKind::UnexpectedEof {
                return format!("cut off: it ends before its hash, after byte {}", self.bytes);
            }
            failed.to_string()
        })?;
        self.hasher.update(into);
        self.bytes += into.len() as u64;
        Ok(())
    }
}

fn header(line: &[u8]) -> Result<Header, String> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(rename = "aspen-backup")]
        format: u32,
    }
    let no_backup = |error: serde_json::Error| {
        format!("no backup: its first line is not what `aspen-node backup` writes: {error}")
    };
    let Format { format } = serde_json::from_slice(line).map_err(no_backup)?;
    if format > FORMAT {
        return Err(format!(
            "its format is {format}, and this build reads formats up to {FORMAT}; a newer \
             aspen-node wrote it"
        ));
    }
    serde_json::from_slice(line).map_err(no_backup)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused(path: &Path) -> String {
        BackupWriter::create(path).err().unwrap().to_string()
    }

    #[test]
    fn only_a_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "the one of yesterday").unwrap();
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["link", "folder"] {
            let said = refused(&at(name));
            assert!(said.ends_with(&format!("/{name}: it is no regular file")), "{said}");
        }
        symlink(at("file"), at("other.new")).unwrap();
        assert!(refused(&at("other")).contains("its FILE.new is no regular file"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing was written");
        drop(BackupWriter::create(&at("file")).unwrap());
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "the one of yesterday");
    }

    #[test]
    fn one_backup_at_a_time_writes_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, unfinished) = (folder.path().join("file"), folder.path().join("file.new"));
        fs::write(&unfinished, "left by one that was killed").unwrap();
        let mut first = BackupWriter::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&unfinished).unwrap(), "");
        first.write(b"first").unwrap();
        first.file.flush().unwrap();
        assert!(refused(&path).contains("/file: another backup is writing it"));
        assert_eq!(fs::read_to_string(&unfinished).unwrap(), "first");
        drop(first);
        assert!(!unfinished.exists());
        drop(BackupWriter::create(&path).unwrap());
    }

    /// The other one ends between the opening of its file and the lock.
    #[test]
    fn a_file_that_has_its_name_by_now_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, unfinished) = (folder.path().join("file"), folder.path().join("file.new"));
        let opened = File::create(&unfinished).unwrap();
        fs::rename(&unfinished, &path).unwrap();
        let taken = "another backup is writing it";
        assert_eq!(lock(&opened, &unfinished).unwrap_err(), taken);
        fs::write(&unfinished, "a third one").unwrap();
        assert_eq!(lock(&opened, &unfinished).unwrap_err(), taken);
        assert_eq!(lock(&opened, &path), Ok(()));
    }
}
