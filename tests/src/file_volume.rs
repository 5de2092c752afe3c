//! A [`Volume`] on a real folder: redb's own file backend, real renames and syncs.
//!
//! Transactions run inline, in the order in which they come; the tests over it are about what is
//! written, not about who waits.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use aspen_core::Volume;
use aspen_core::volume::{Durability, Job};
use redb::backends::FileBackend;

/// A folder on the machine's own disk.
#[derive(Debug)]
pub struct FileVolume {
    folder: PathBuf,
}

impl FileVolume {
    /// The volume in an existing folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn backend(file: File) -> io::Result<FileBackend> {
        FileBackend::new(file).map_err(io::Error::other)
    }
}

impl Volume for FileVolume {
    type Backend = FileBackend;

    fn open(&self, name: &str) -> io::Result<Option<FileBackend>> {
        match OpenOptions::new().read(true).write(true).open(self.folder.join(name)) {
            Ok(file) => Self::backend(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<FileBackend> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Self::backend(options.open(self.folder.join(name))?)
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
        File::open(&self.folder)?.sync_all()
    }

    async fn run(&self, _durability: Durability, job: Job) {
        job();
    }
}
