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

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    /// The system's, when no file can be made there.
    pub fn create(path: &Path) -> Result<Self, BackupFileError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let mut options = OpenOptions::new();
        // It holds every key and value: nobody else may read it.
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|failed| BackupFileError {
            path: path.to_owned(),
            problem: failed.to_string(),
        })?;
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
